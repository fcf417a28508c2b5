"use client";
import { useMemo, useState } from "react";
import { fixedSession, supabaseSession } from "@/features/auth/session";
import { ExposedState } from "@/features/connection/exposed-state";
import { HighlightsProvider } from "@/features/highlights/react";
import { NotificationsProvider } from "@/features/notifications/react";
import { Toasts } from "@/features/notifications/toasts";
import { SocketProvider } from "@/lib/bridge/react";
import { ColumnsProvider } from "@/lib/columns";
import type { Config } from "@/lib/config";
import { Header } from "./header";

/** Everything that outlives navigation: session, connection, header, toasts. */
export function Providers({ config, children }: { config: Config; children: React.ReactNode }) {
  const { bridgeUrl, bridgePath, batch, regionColumns, supabase, token, theme, exposeState } =
    config;
  const [supabaseAuth] = useState(() =>
    supabase ? supabaseSession(supabase.url, supabase.key) : null,
  );
  const session = useMemo(
    () => supabaseAuth ?? (token ? fixedSession(token) : null),
    [supabaseAuth, token],
  );
  return (
    <ColumnsProvider region={regionColumns}>
      <SocketProvider url={bridgeUrl} path={bridgePath} session={session} batch={batch}>
        <HighlightsProvider>
          <NotificationsProvider>
            {exposeState && <ExposedState />}
            <Header session={supabaseAuth} theme={theme} />
            {children}
            <Toasts theme={theme} />
          </NotificationsProvider>
        </HighlightsProvider>
      </SocketProvider>
    </ColumnsProvider>
  );
}
