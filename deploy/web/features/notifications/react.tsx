"use client";
import { createContext, useContext, useEffect, useState } from "react";
import { useSocket } from "@/lib/bridge/react";
import { Notifications } from "./notifications";

const NotificationsContext = createContext<Notifications | null>(null);

/** Owns the notifications of the surrounding `SocketProvider`. */
export function NotificationsProvider({ children }: { children: React.ReactNode }) {
  const { socket } = useSocket();
  const [notifications] = useState(() => new Notifications());
  useEffect(() => notifications.attach(socket), [notifications, socket]);
  return <NotificationsContext value={notifications}>{children}</NotificationsContext>;
}

export function useNotifications(): Notifications {
  const notifications = useContext(NotificationsContext);
  if (!notifications) {
    throw new Error("expected a <NotificationsProvider> around this component, found none");
  }
  return notifications;
}
