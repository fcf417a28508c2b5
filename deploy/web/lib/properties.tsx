"use client";
// The live listings of one view: the snapshot's pages and the events, through the tab's socket.
import { createContext, useContext, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import type { ErrorCode, RefusalReason, SubscribeAck } from "./contract";
import { type Line, useLine } from "./socket";
import { PropertyStore, type Scope, type View } from "./store";

const PASSING = new Set<ErrorCode>(["not_ready", "rate_limited", "cursor_gone"]);
const AGAIN_MS = 1_000;

export class Feed {
  #scope: Scope | null = null;
  #hears: Scope | null = null; // what the session hears, and nothing else; null: who knows
  #turn = 0; // of the snapshot that is being read; the answers to others are of the past
  #error: RefusalReason | null = null;
  #listeners = new Set<() => void>();
  #leaving: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly line: Pick<Line, "socket" | "scope" | "offered">, readonly store: PropertyStore) {
    const { socket } = line;
    socket.on("property-created", (event, position) => store.hear(event, position));
    socket.on("property-updated", (event, position) => store.hear(event, position));
    socket.on("property-deleted", (event, position) => store.hear(event, position));
    socket.on("properties-batch", (event, position) => store.hear(event, position));
    socket.on("connect", () => {
      if (!socket.recovered) this.#hears = line.offered;
      // A recovered connection brings what was missed; only a reading that was cut short begins anew.
      if (!socket.recovered || !store.isReady()) this.#read();
    });
    socket.on("auth-status", ({ data }) => {
      if (data.state === "changed") this.#read(); // other rows and columns are ours to see
    });
  }

  /** Show this and nothing else, until the given function is called or something else is shown. */
  show(scope: Scope): () => void {
    clearTimeout(this.#leaving);
    if (scope !== this.#scope) {
      this.line.scope = this.#scope = scope;
      this.#read();
    }
    return () => {
      // Not at once: StrictMode and navigation show something again in the same breath.
      this.#leaving = setTimeout(() => this.#hide());
    };
  }

  #hide(): void {
    this.#scope = this.#hears = null;
    this.#turn += 1;
    this.store.begin({});
    if (this.line.socket.connected) this.line.socket.emit("unsubscribe", {}, () => {});
  }

  /** Read the scope from its first page. */
  #read(): void {
    const { socket } = this.line;
    const scope = this.#scope;
    if (!scope) return;
    const turn = ++this.#turn;
    this.store.begin(scope);
    this.#fail(null);
    if (!socket.connected) return; // `connect` comes here again
    if (this.#hears !== scope) {
      this.#hears = null;
      socket.emit("unsubscribe", {}, (ack) => {
        if (!ack.ok) this.#refused(turn, ack.error);
      });
    }
    this.#page(turn, scope);
  }

  #page(turn: number, scope: Scope, after?: string): void {
    const request = { ...scope, snapshot: true, ...(after ? { after } : {}) };
    this.line.socket.emit("subscribe", request, (ack: SubscribeAck) => {
      // All in here, not after an await: the next event may be told before a promise goes on.
      if (turn !== this.#turn) return;
      if (!ack.ok) return this.#refused(turn, ack.error);
      this.#hears = scope;
      this.store.page(ack.snapshot ?? [], ack.offset ?? "", !ack.more);
      if (ack.more) this.#page(turn, scope, ack.more);
    });
  }

  #refused(turn: number, error: RefusalReason): void {
    if (turn !== this.#turn) return;
    this.#turn += 1;
    if (PASSING.has(error.code)) setTimeout(() => turn + 1 === this.#turn && this.#read(), AGAIN_MS);
    else this.#fail(error);
  }

  #fail(error: RefusalReason | null): void {
    if (error === this.#error) return;
    this.#error = error;
    for (const listener of this.#listeners) listener();
  }

  onError = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };
  getError = (): RefusalReason | null => this.#error;
}

const feeds = new WeakMap<Line, Feed>();

export function feedOf(line: Line): Feed {
  const known = feeds.get(line) ?? new Feed(line, new PropertyStore(
    (run) => void requestAnimationFrame(run), (run, ms) => void setTimeout(run, ms), Date.now,
  ));
  feeds.set(line, known);
  return known;
}

export interface Properties extends View {
  store: PropertyStore;
  /** Why the bridge does not give this view. */
  error: RefusalReason | null;
}

const Context = createContext<Properties | null>(null);

/** Shows one view: these regions, these properties, or everything. One provider at a time. */
export function PropertyProvider(props: {
  regions?: readonly string[];
  properties?: readonly string[];
  children: React.ReactNode;
}) {
  const line = useLine();
  const [feed] = useState(() => feedOf(line));
  const { regions = [], properties = [] } = props;
  const text = JSON.stringify([regions, properties]);
  const scope = useMemo((): Scope => {
    const [regions, properties] = JSON.parse(text) as [string[], string[]];
    return { regions, properties };
  }, [text]);
  useEffect(() => feed.show(scope), [feed, scope]);
  const view = useSyncExternalStore(feed.store.subscribe, feed.store.getSnapshot, feed.store.getSnapshot);
  const error = useSyncExternalStore(feed.onError, feed.getError, () => null);
  const value = useMemo((): Properties => {
    // A view of the former scope is none of this one, however briefly.
    const mine = view.scope === scope ? view : { scope, listings: [], ready: false };
    return { ...mine, store: feed.store, error };
  }, [feed, scope, view, error]);
  return <Context value={value}>{props.children}</Context>;
}

export function useProperties(): Properties {
  const properties = useContext(Context);
  if (!properties) throw new Error("useProperties needs a <PropertyProvider> around it");
  return properties;
}
