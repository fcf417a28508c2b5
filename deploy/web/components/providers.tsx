"use client";
import { useEffect, useMemo, useState } from "react";
import type { Config } from "@/lib/config";
import { feedOf } from "@/lib/properties";
import { fixedSession, supabaseSession } from "@/lib/session";
import { lineTo, SocketProvider } from "@/lib/socket";
import { Header } from "./header";
import { Toasts } from "./toasts";

export function Providers({ config, children }: { config: Config; children: React.ReactNode }) {
  const { bridgeUrl, bridgePath, batch, supabase, token, theme } = config;
  const [signIn] = useState(() => (supabase ? supabaseSession(supabase.url, supabase.key) : null));
  const session = useMemo(() => signIn ?? (token ? fixedSession(token) : null), [signIn, token]);
  useEffect(() => {
    const line = lineTo(bridgeUrl, bridgePath);
    const { store } = feedOf(line);
    window.__bridge = {
      rows: store.rows,
      position: store.position,
      sockets: () => line.sockets,
      connects: () => line.connects,
    };
  }, [bridgeUrl, bridgePath]);
  return (
    <SocketProvider url={bridgeUrl} path={bridgePath} session={session} batch={batch}>
      <Header signIn={signIn} theme={theme} />
      {children}
      <Toasts theme={theme} />
    </SocketProvider>
  );
}
