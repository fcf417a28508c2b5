import { expect, test } from "vitest";
import type { PropertyNotificationData } from "@/lib/bridge/contract";
import { Notifications } from "@/features/notifications/notifications";
import type { BridgeSocket } from "@/lib/bridge/socket";

function made() {
  const listeners = new Map<string, (argument: unknown) => void>();
  const socket = {
    on: (name: string, listener: (argument: unknown) => void) => listeners.set(name, listener),
  };
  const notifications = new Notifications(socket as unknown as BridgeSocket);
  return {
    notifications,
    tell: (name: string, argument: unknown) => listeners.get(name)?.(argument),
  };
}

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

test("notifications come alone and in batches, newest first, each once", () => {
  const { notifications, tell } = made();
  const arrived: number[] = [];
  notifications.onArrival(({ property_id }) => arrived.push(Number(property_id)));
  tell("property-notification", { event: "property-notification", data: data(1) });
  tell("properties-batch", {
    event: "properties-batch",
    data: {
      events: [
        { event: "property-notification", data: data(2) },
        { event: "property-notification", data: data(1) },
      ],
    },
  });
  expect(arrived).toEqual([1, 2]);
  expect(notifications.getSnapshot().list.map(({ property_id }) => property_id)).toEqual([2, 1]);
  expect(notifications.getSnapshot().unread).toBe(2);
});

test("who has read them has none unread, and still has the list", () => {
  const { notifications, tell } = made();
  tell("property-notification", { event: "property-notification", data: data(1) });
  notifications.read();
  expect(notifications.getSnapshot()).toMatchObject({ unread: 0, list: [{ property_id: 1 }] });
});

test("another user finds none of the former one's", () => {
  const { notifications, tell } = made();
  tell("property-notification", { event: "property-notification", data: data(1) });
  tell("disconnect", "transport close");
  expect(notifications.getSnapshot().list).toHaveLength(1);
  tell("disconnect", "io client disconnect");
  expect(notifications.getSnapshot()).toEqual({ list: [], unread: 0 });
});
