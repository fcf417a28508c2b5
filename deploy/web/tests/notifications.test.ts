import { afterEach, expect, test, vi } from "vitest";
import type { PropertyNotificationData } from "@/lib/bridge/contract";
import { Notifications } from "@/features/notifications/notifications";
import type { BridgeSocket } from "@/lib/bridge/client";

function createNotifications() {
  const socket = new Map<string, (argument: unknown) => void>();
  const notifications = new Notifications();
  const detach = notifications.attach({
    on: (name: string, listener: (argument: unknown) => void) => socket.set(name, listener),
    off: (name: string, listener: (argument: unknown) => void) => {
      if (socket.get(name) === listener) socket.delete(name);
    },
  } as unknown as BridgeSocket);
  return {
    notifications,
    detach,
    socket,
    receive: (name: string, argument: unknown) => socket.get(name)?.(argument),
  };
}

afterEach(() => void vi.unstubAllGlobals());

test("muting is kept in the browser, and the inbox receives all the same", () => {
  const items = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
  });
  const { notifications, receive } = createNotifications();
  expect(notifications.muted.getSnapshot()).toBe(false);
  notifications.mute(true);
  receive("property-notification", { event: "property-notification", data: data(1) });
  expect(notifications.inbox.getSnapshot().unread).toBe(1);
  expect(createNotifications().notifications.muted.getSnapshot()).toBe(true);
});

function data(id: number): PropertyNotificationData {
  return {
    property_id: id,
    kind: "price-dropped",
    severity: "important",
    title: `House ${id}`,
    body: "cheaper",
    changes: {},
    created_at: "2026-01-01T00:00:00Z",
  };
}

test("notifications are received singly and in batches, newest first, each once", () => {
  const { notifications, receive } = createNotifications();
  const arrived: number[] = [];
  notifications.arrivals.subscribe(({ property_id }) => arrived.push(Number(property_id)));
  receive("property-notification", { event: "property-notification", data: data(1) });
  receive("properties-batch", {
    event: "properties-batch",
    data: {
      events: [
        { event: "property-notification", data: data(2) },
        { event: "property-notification", data: data(1) },
      ],
    },
  });
  expect(arrived).toEqual([1, 2]);
  expect(notifications.inbox.getSnapshot().list.map(({ property_id }) => property_id)).toEqual([
    2, 1,
  ]);
  expect(notifications.inbox.getSnapshot().unread).toBe(2);
});

test("markRead sets unread to zero and keeps the list", () => {
  const { notifications, receive } = createNotifications();
  receive("property-notification", { event: "property-notification", data: data(1) });
  notifications.markRead();
  expect(notifications.inbox.getSnapshot()).toMatchObject({
    unread: 0,
    list: [{ property_id: 1 }],
  });
});

test("list is cleared when the user changes, not on other disconnects", () => {
  const { notifications, receive } = createNotifications();
  receive("property-notification", { event: "property-notification", data: data(1) });
  receive("disconnect", "transport close");
  expect(notifications.inbox.getSnapshot().list).toHaveLength(1);
  receive("disconnect", "io client disconnect");
  expect(notifications.inbox.getSnapshot()).toEqual({ list: [], unread: 0 });
});

test("detach removes all listeners", () => {
  const { detach, socket } = createNotifications();
  expect(socket.size).toBe(3);
  detach();
  expect(socket.size).toBe(0);
});
