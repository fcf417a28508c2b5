// Subscribes the socket to one view, reads its snapshot and applies its events. No React.
import type { BridgeClient } from "./client";
import type { ErrorCode, RefusalReason, SubscribeAck } from "./contract";
import { Observable } from "./observable";
import type { PropertyStore, Scope } from "./store";

/** Codes of temporary errors: the same request is repeated after `RETRY_MS`. */
const RETRYABLE = new Set<ErrorCode>(["not_ready", "rate_limited", "cursor_gone"]);
const RETRY_MS = 1_000;

/** One view at a time, because a socket has one subscription. */
export class PropertyFeed {
  /** Why the bridge rejected the current view. Temporary errors are not reported. */
  readonly error = new Observable<RefusalReason | null>(null);
  /** Whether a view is shown: only then there are rows to wait for. */
  readonly showing = new Observable(false);
  #scope: Scope | null = null;
  /** The session's subscription on the bridge, if it is known to be exactly this scope. */
  #subscribed: Scope | null = null;
  /** Number of the current snapshot. Acks that belong to an earlier one are ignored. */
  #snapshotId = 0;
  #leaveTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: Pick<BridgeClient, "socket" | "scope" | "handshakeScope">,
    readonly store: PropertyStore,
  ) {
    const { socket } = client;
    socket.on("property-created", (event, position) => store.applyEvent(event, position));
    socket.on("property-updated", (event, position) => store.applyEvent(event, position));
    socket.on("property-deleted", (event, position) => store.applyEvent(event, position));
    socket.on("properties-batch", (event, position) => store.applyEvent(event, position));
    socket.on("connect", () => {
      if (!socket.recovered) this.#subscribed = client.handshakeScope;
      // A recovered session receives the missed events; only an incomplete snapshot is restarted.
      if (!socket.recovered || !store.isReady()) this.#readSnapshot();
    });
    socket.on("disconnect", (reason) => {
      // The client itself disconnects when the user changes: drop the rows of the user before.
      if (reason === "io client disconnect") store.startSnapshot({});
    });
    socket.on("auth-status", ({ data }) => {
      if (data.state === "changed") this.#readSnapshot(); // other rows and columns are readable
    });
  }

  /** Show `scope` in place of the view before. The returned function ends the view, unless another
   * one has replaced it. */
  show(scope: Scope): () => void {
    if (this.#scope && !this.#leaveTimer) {
      console.error("expected one view at a time, got a second one: the first shows no rows");
    }
    this.#cancelLeave();
    this.showing.set(true);
    if (scope !== this.#scope) {
      this.client.scope = this.#scope = scope;
      this.#readSnapshot();
    }
    return () => {
      if (scope !== this.#scope) return;
      // Deferred: StrictMode and a change of scope show again synchronously.
      this.#cancelLeave();
      this.#leaveTimer = setTimeout(() => this.#leave());
    };
  }

  #cancelLeave(): void {
    clearTimeout(this.#leaveTimer);
    this.#leaveTimer = undefined;
  }

  #leave(): void {
    this.#cancelLeave();
    this.#scope = this.#subscribed = null;
    this.showing.set(false);
    this.#snapshotId += 1;
    this.store.startSnapshot({});
    if (this.client.socket.connected) this.client.socket.emit("unsubscribe", {}, () => {});
  }

  /** Read the current view from its first page. */
  #readSnapshot(): void {
    const { socket } = this.client;
    const scope = this.#scope;
    const snapshotId = ++this.#snapshotId;
    if (!scope) return;
    this.store.startSnapshot(scope);
    this.error.set(null);
    if (!socket.connected) return; // the `connect` handler calls this again
    if (this.#subscribed !== scope) {
      this.#subscribed = null;
      socket.emit("unsubscribe", {}, (ack) => {
        if (!ack.ok) this.#reject(snapshotId, ack.error);
      });
    }
    this.#requestPage(snapshotId, scope);
  }

  #requestPage(snapshotId: number, scope: Scope, after: string | null = null): void {
    const request = { ...scope, snapshot: true, after };
    this.client.socket.emit("subscribe", request, (ack: SubscribeAck) => {
      // Synchronous, not after an await: a promise may resume after the next event is dispatched.
      if (snapshotId !== this.#snapshotId) return;
      if (!ack.ok) return this.#reject(snapshotId, ack.error);
      this.#subscribed = scope;
      this.store.applyPage(ack.snapshot ?? [], ack.offset ?? "", !ack.more);
      if (ack.more) this.#requestPage(snapshotId, scope, ack.more);
    });
  }

  #reject(snapshotId: number, error: RefusalReason): void {
    if (snapshotId !== this.#snapshotId) return;
    const rejected = ++this.#snapshotId; // the acks that are still to be received are ignored
    if (RETRYABLE.has(error.code)) {
      setTimeout(() => {
        if (rejected === this.#snapshotId) this.#readSnapshot();
      }, RETRY_MS);
    } else this.error.set(error);
  }
}
