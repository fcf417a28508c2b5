// Notifications of the signed-in user, newest first. No React.
import type { BridgeSocket } from "@/lib/bridge/client";
import type {
  PropertiesBatch,
  PropertyNotification,
  PropertyNotificationData,
} from "@/lib/bridge/contract";
import { Emitter, Observable } from "@/lib/bridge/observable";

export interface Notification extends PropertyNotificationData {
  key: string;
}

export interface Inbox {
  /** Newest first, at most `MAX_NOTIFICATIONS`. */
  list: readonly Notification[];
  unread: number;
}

const MAX_NOTIFICATIONS = 50;
const EMPTY: Inbox = { list: [], unread: 0 };
const MUTED = "toasts-muted"; // key in localStorage

export class Notifications {
  readonly inbox = new Observable<Inbox>(EMPTY);
  readonly arrivals = new Emitter<Notification>();
  /** Whether the user wants no toasts, kept in this browser. The inbox receives all the same. */
  readonly muted = new Observable(false);

  /** Receive the notifications of a socket until the returned function is called. */
  attach(socket: BridgeSocket): () => void {
    this.muted.set(storedMuted());
    const onNotification = ({ data }: PropertyNotification) => this.#add(data);
    const onBatch = ({ data }: PropertiesBatch) => {
      for (const event of data.events) {
        if (event.event === "property-notification") this.#add(event.data);
      }
    };
    const onDisconnect = (reason: string) => {
      if (reason === "io client disconnect") this.inbox.set(EMPTY); // the user changes
    };
    socket.on("property-notification", onNotification);
    socket.on("properties-batch", onBatch);
    socket.on("disconnect", onDisconnect);
    return () => {
      socket.off("property-notification", onNotification);
      socket.off("properties-batch", onBatch);
      socket.off("disconnect", onDisconnect);
    };
  }

  /** A notification that is already in the list, as after a recovery, is ignored. */
  #add(data: PropertyNotificationData): void {
    const key = JSON.stringify([data.property_id, data.kind, data.created_at]);
    const { list, unread } = this.inbox.getSnapshot();
    if (list.some((notification) => notification.key === key)) return;
    const notification = { ...data, key };
    this.inbox.set({
      list: [notification, ...list].slice(0, MAX_NOTIFICATIONS),
      unread: unread + 1,
    });
    this.arrivals.emit(notification);
  }

  mute(muted: boolean): void {
    this.muted.set(muted);
    try {
      localStorage.setItem(MUTED, String(muted));
    } catch {
      // Storage is blocked: the choice lasts as long as the page.
    }
  }

  markRead(): void {
    this.inbox.set({ ...this.inbox.getSnapshot(), unread: 0 });
  }
}

function storedMuted(): boolean {
  try {
    return localStorage.getItem(MUTED) === "true";
  } catch {
    return false;
  }
}
