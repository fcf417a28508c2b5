"use client";
// The live listings of one view: a snapshot's pages and the events, through the tab's socket.
import {
  createContext,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import type { ErrorCode, PropertyId, RefusalReason, SubscribeAck } from "./contract";
import { type BridgeClient, useSocket } from "./socket";
import { added, PropertyStore, type Scope, type View } from "./store";

const PASSING = new Set<ErrorCode>(["not_ready", "rate_limited", "cursor_gone"]);
const AGAIN_MS = 1_000;

export class PropertyFeed {
  #scope: Scope | null = null;
  #hears: Scope | null = null; // what the session hears, and nothing else; null: who knows
  #turn = 0; // of the snapshot that is being read; answers to others are of the past
  #error: RefusalReason | null = null;
  #listeners = new Set<() => void>();
  #leaving: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: Pick<BridgeClient, "socket" | "scope" | "offered">,
    readonly store: PropertyStore,
  ) {
    const { socket } = client;
    socket.on("property-created", (event, position) => store.hear(event, position));
    socket.on("property-updated", (event, position) => store.hear(event, position));
    socket.on("property-deleted", (event, position) => store.hear(event, position));
    socket.on("properties-batch", (event, position) => store.hear(event, position));
    socket.on("connect", () => {
      if (!socket.recovered) this.#hears = client.offered;
      // Who recovered is told what it missed; only a snapshot that was cut short begins anew.
      if (!socket.recovered || !store.isReady()) this.#read();
    });
    socket.on("disconnect", (reason) => {
      // By our own will: another user comes, and has no business with what this one saw.
      if (reason === "io client disconnect") store.begin({});
    });
    socket.on("auth-status", ({ data }) => {
      if (data.state === "changed") this.#read(); // other rows and columns are ours to see
    });
  }

  /** Show this and nothing else, until the given function is called or another is shown. */
  show(scope: Scope): () => void {
    clearTimeout(this.#leaving);
    if (scope !== this.#scope) {
      this.client.scope = this.#scope = scope;
      this.#read();
    }
    return () => {
      this.#leaving = setTimeout(() => this.#leave()); // StrictMode shows it again at once
    };
  }

  #leave(): void {
    this.#scope = this.#hears = null;
    this.#turn += 1;
    this.store.begin({});
    if (this.client.socket.connected) this.client.socket.emit("unsubscribe", {}, () => {});
  }

  /** Read what is shown from its first page. */
  #read(): void {
    const { socket } = this.client;
    const scope = this.#scope;
    const turn = ++this.#turn;
    if (!scope) return;
    this.store.begin(scope);
    this.#fail(null);
    if (!socket.connected) return; // `connect` leads here again
    if (this.#hears !== scope) {
      this.#hears = null;
      socket.emit("unsubscribe", {}, (ack) => {
        if (!ack.ok) this.#refused(turn, ack.error);
      });
    }
    this.#page(turn, scope);
  }

  #page(turn: number, scope: Scope, after: string | null = null): void {
    const request = { ...scope, snapshot: true, after };
    this.client.socket.emit("subscribe", request, (ack: SubscribeAck) => {
      // In here, not after an await: a promise may go on later than the next event is told.
      if (turn !== this.#turn) return;
      if (!ack.ok) return this.#refused(turn, ack.error);
      this.#hears = scope;
      this.store.page(ack.snapshot ?? [], ack.offset ?? "", !ack.more);
      if (ack.more) this.#page(turn, scope, ack.more);
    });
  }

  #refused(turn: number, error: RefusalReason): void {
    if (turn !== this.#turn) return;
    const now = ++this.#turn; // the answers that are still to come are of no use
    if (PASSING.has(error.code)) setTimeout(() => now === this.#turn && this.#read(), AGAIN_MS);
    else this.#fail(error);
  }

  #fail(error: RefusalReason | null): void {
    this.#error = error;
    for (const listener of this.#listeners) listener();
  }

  getError = (): RefusalReason | null => this.#error;
  onError = (listener: () => void): (() => void) => added(this.#listeners, listener);
}

const feeds = new WeakMap<BridgeClient, PropertyFeed>();

/** The one feed of a client: what its socket hears is one view. */
export function feedOf(client: BridgeClient): PropertyFeed {
  const soon = (run: () => void) => void requestAnimationFrame(run);
  const feed = feeds.get(client) ?? new PropertyFeed(client, new PropertyStore(soon));
  feeds.set(client, feed);
  return feed;
}

export interface Properties extends View {
  store: PropertyStore;
  /** Why the bridge does not give this view, or does not let us in. */
  error: RefusalReason | null;
}

const Context = createContext<Properties | null>(null);

/** Shows one view: these regions and properties, or everything. One provider at a time. */
export function PropertyProvider(props: {
  regions?: readonly string[];
  properties?: readonly PropertyId[];
  children: React.ReactNode;
}) {
  const { client, connected, error: refused } = useSocket();
  const [feed] = useState(() => feedOf(client));
  const text = JSON.stringify({ regions: props.regions ?? [], properties: props.properties ?? [] });
  const scope = useMemo(() => JSON.parse(text) as Scope, [text]);
  useEffect(() => feed.show(scope), [feed, scope]);
  const { subscribe, getSnapshot } = feed.store;
  const view = useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
  const denied = useSyncExternalStore(feed.onError, feed.getError, () => null);
  const error = denied ?? (connected ? null : refused);
  const value = useMemo((): Properties => {
    // What was shown before is none of this view, however briefly.
    const mine = view.scope === scope ? view : { scope, rows: [], ready: false };
    return { ...mine, store: feed.store, error };
  }, [feed, scope, view, error]);
  return <Context value={value}>{props.children}</Context>;
}

export function useProperties(): Properties {
  const properties = useContext(Context);
  if (!properties) throw new Error("expected a <PropertyProvider> around what uses properties");
  return properties;
}
