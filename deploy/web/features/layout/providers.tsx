"use client";
import { useEffect, useMemo, useState } from "react";
import type { Config } from "@/lib/config";
import { feedOf } from "@/lib/bridge/properties";
import { fixedSession, supabaseSession } from "@/features/auth/session";
import { clientOf, SocketProvider } from "@/lib/bridge/socket";
import { Header } from "./header";
import { Toasts } from "@/features/notifications/toasts";

export function Providers({ config, children }: { config: Config; children: React.ReactNode }) {
  const { bridgeUrl, bridgePath, batch, supabase, token, theme } = config;
  const [signIn] = useState(() => (supabase ? supabaseSession(supabase.url, supabase.key) : null));
  const session = useMemo(() => signIn ?? (token ? fixedSession(token) : null), [signIn, token]);
  useEffect(() => {
    if (window.__bridge) return; // StrictMode comes twice
    const client = clientOf(bridgeUrl, bridgePath);
    const { rows, position } = feedOf(client).store;
    let [sockets, connects] = [0, 0];
    client.socket.io.on("open", () => (sockets += 1));
    client.socket.on("connect", () => (connects += 1));
    window.__bridge = { rows, position, sockets: () => sockets, connects: () => connects };
  }, [bridgeUrl, bridgePath]);
  return (
    <SocketProvider url={bridgeUrl} path={bridgePath} session={session} batch={batch}>
      <Header signIn={signIn} theme={theme} />
      {children}
      <Toasts theme={theme} />
    </SocketProvider>
  );
}
