// What the bridge tells this user alone, newest first.
import type { PropertyNotificationData } from "@/lib/bridge/contract";
import type { BridgeSocket } from "@/lib/bridge/socket";

export interface Notification extends PropertyNotificationData {
  key: string;
}

const KEPT = 50;

export class Notifications {
  #list: readonly Notification[] = [];
  #unread = 0;
  #view = { list: this.#list, unread: 0 };
  #listeners = new Set<() => void>();
  #arrivals = new Set<(notification: Notification) => void>();

  constructor(socket: BridgeSocket) {
    socket.on("property-notification", ({ data }) => this.#add(data));
    socket.on("properties-batch", ({ data }) => {
      for (const event of data.events) {
        if (event.event === "property-notification") this.#add(event.data);
      }
    });
    socket.on("disconnect", (reason) => {
      if (reason === "io client disconnect") this.#clear(); // another user comes
    });
  }

  #add(data: PropertyNotificationData): void {
    const key = JSON.stringify([data.property_id, data.kind, data.created_at]);
    if (this.#list.some((known) => known.key === key)) return;
    const notification = { ...data, key };
    this.#list = [notification, ...this.#list].slice(0, KEPT);
    this.#unread += 1;
    this.#tell();
    for (const listener of this.#arrivals) listener(notification);
  }

  read = (): void => {
    this.#unread = 0;
    this.#tell();
  };

  #clear(): void {
    this.#list = [];
    this.read();
  }

  #tell(): void {
    this.#view = { list: this.#list, unread: this.#unread };
    for (const listener of this.#listeners) listener();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };
  onArrival = (listener: (notification: Notification) => void): (() => void) => {
    this.#arrivals.add(listener);
    return () => void this.#arrivals.delete(listener);
  };
  getSnapshot = () => this.#view;
}

const known = new WeakMap<BridgeSocket, Notifications>();

export function notificationsOf(socket: BridgeSocket): Notifications {
  const list = known.get(socket) ?? new Notifications(socket);
  known.set(socket, list);
  return list;
}
