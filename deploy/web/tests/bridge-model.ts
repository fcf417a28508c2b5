// A model of the bridge and of socket.io-client, in which each step is made by the test: messages in
// transit can be lost, and steps of both sides interleave in any order.
import type { BridgeClient } from "@/lib/bridge/client";
import type { PropertyRow, SubscribeAck, SubscribeRequest } from "@/lib/bridge/contract";
import { PropertyFeed } from "@/lib/bridge/feed";
import { type PropertyEvent, PropertyStore, type Scope } from "@/lib/bridge/store";

interface LogEntry {
  position: number;
  event: PropertyEvent;
  id: string;
  regions: string[];
}

type Ack = (ack: SubscribeAck) => void;
type Listener = (...args: unknown[]) => void;

const PAGE_SIZE = 2;

/** A session's subscription; null regions: all rows. */
interface Subscription {
  regions: string[] | null;
  properties: string[];
}

const NOTHING: Subscription = { regions: [], properties: [] };
const ALL: Subscription = { regions: null, properties: [] };

export class BridgeModel {
  readonly table = new Map<string, PropertyRow>();
  readonly feed: PropertyFeed;
  /** Arguments of `subscribe` requests, undefined for each `unsubscribe`. */
  readonly requests: (SubscribeRequest | undefined)[] = [];
  connected = false;
  /** Codes with which the next requests are rejected. */
  rejections: ("rate_limited" | "not_ready" | "region_forbidden")[] = [];
  #client: Pick<BridgeClient, "socket" | "scope" | "handshakeScope">;
  #socket: { connected: boolean; recovered: boolean };
  #listeners = new Map<string, Listener[]>();
  #log: LogEntry[] = [];
  #head = 0;
  #history = "a";
  #subscription = NOTHING;
  /** The session's subscriptions with the log position of their start, for recovery. */
  #subscriptions: { from: number; subscription: Subscription }[] = [];
  #toBridge: (() => void)[] = [];
  #toClient: { position: number; run: () => void }[] = [];
  #offset = 0; // position of the last event that the client received
  #endView: (() => void) | undefined;

  constructor() {
    const socket = {
      connected: false,
      recovered: false,
      on: (name: string, listener: Listener) => {
        this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
      },
      emit: (name: string, request: SubscribeRequest, ack: Ack) => {
        this.#toBridge.push(() => this.#answer(name, request, ack));
      },
    };
    this.#socket = socket;
    const scope: Scope = {};
    this.#client = {
      socket: socket as unknown as BridgeClient["socket"],
      scope,
      handshakeScope: scope,
    };
    this.feed = new PropertyFeed(this.#client, new PropertyStore((run) => run()));
  }

  // -- steps ------------------------------------------------------------------------------------

  /** Show a view as React does: the view before is released first. Return its release function. */
  show(scope: Scope): () => void {
    this.#endView?.();
    return (this.#endView = this.feed.show(scope));
  }

  /** The bridge handles the client's next request. Return false if there is none. */
  handleRequest(): boolean {
    const next = this.#toBridge.shift();
    next?.();
    return next !== undefined;
  }

  /** The client receives the next ack or event. Return false if there is none. */
  deliver(): boolean {
    const next = this.#toClient.shift();
    next?.run();
    return next !== undefined;
  }

  /** The client sends the handshake, with the current scope. */
  handshake(): void {
    this.#client.handshakeScope = this.#client.scope;
  }

  /** The connection is established: recovered, or as a new session with the handshake's scope. */
  connect(recovered: boolean): void {
    this.connected = this.#socket.connected = true;
    this.#socket.recovered = recovered;
    this.#toBridge = [];
    this.#toClient = [];
    if (recovered) {
      for (const entry of this.#log) {
        if (entry.position > this.#offset && matches(this.#subscriptionAt(entry.position), entry))
          this.#send(entry);
      }
    } else {
      this.#subscriptions = [];
      this.#offset = this.#head;
      this.#subscribe(extend(ALL, this.#client.handshakeScope));
    }
    this.#emit("connect");
  }

  disconnect(reason = "transport close"): void {
    this.connected = this.#socket.connected = false;
    this.#toBridge = [];
    this.#toClient = [];
    this.#emit("disconnect", reason);
  }

  /** The log is lost: a new history starts. */
  loseLog(): void {
    this.#history += "a";
    this.#log = [];
    this.#head = 0;
  }

  /** Make steps until nothing is in transit. */
  settle(): void {
    while (this.handleRequest() || this.deliver());
  }

  // -- the table ----------------------------------------------------------------------------------

  create(row: PropertyRow): void {
    const id = String(row.property_id);
    this.table.set(id, row);
    this.#publish(id, [row.state ?? ""], { event: "property-created", data: row });
  }

  update(id: string, change: Partial<PropertyRow>): void {
    const before = this.table.get(id)!;
    const after = { ...before, ...change } as PropertyRow;
    this.table.set(id, after);
    const changes = Object.fromEntries(
      Object.keys(change).map((column) => [column, { old: before[column]!, new: after[column]! }]),
    );
    const data = { property_id: id, changes, updated_at: "2026-02-01T00:00:00Z" };
    const [from, to] = [before.state ?? "", after.state ?? ""];
    if (from === to) this.#publish(id, [from], { event: "property-updated", data });
    else {
      const moved = { from: [from], to: [to] };
      this.#publish(id, [from, to], {
        event: "property-updated",
        data: { ...data, moved, property: after },
      });
    }
  }

  delete(id: string): void {
    const { state } = this.table.get(id)!;
    this.table.delete(id);
    const data = { property_id: id, deleted_at: "2026-02-01T00:00:00Z" };
    this.#publish(id, [state ?? ""], { event: "property-deleted", data });
  }

  /** Return the table's rows that a view of `scope` has to show. */
  rows(scope: Scope): PropertyRow[] {
    const subscription = extend(ALL, scope);
    return [...this.table]
      .filter(([id, row]) => matches(subscription, { id, regions: [row.state ?? ""] }))
      .map(([, row]) => row);
  }

  // -- internals ----------------------------------------------------------------------------------

  #publish(id: string, regions: string[], event: PropertyEvent): void {
    const entry = { position: ++this.#head, id, regions, event };
    this.#log.push(entry);
    if (this.connected && matches(this.#subscription, entry)) this.#send(entry);
  }

  #send({ position, event }: LogEntry): void {
    const text = `${this.#history}-${position}`;
    this.#toClient.push({
      position,
      run: () => {
        this.#offset = position;
        this.#emit(event.event, event, text);
      },
    });
  }

  #answer(name: string, request: SubscribeRequest, callback: Ack): void {
    this.requests.push(name === "subscribe" ? request : undefined);
    const send = (ack: SubscribeAck) =>
      this.#toClient.push({ position: this.#head, run: () => callback(ack) });
    const code = this.rejections.shift();
    if (code) {
      send({ ok: false, error: { code, message: "rejected" } });
      return;
    }
    if (name === "unsubscribe") {
      this.#subscribe(NOTHING);
      send({ ok: true, regions: [], properties: [] });
      return;
    }
    const scope: Scope = { regions: request.regions ?? [], properties: request.properties ?? [] };
    const remaining = this.rows(scope)
      .sort((a, b) => (String(a.property_id) < String(b.property_id) ? -1 : 1))
      .filter(({ property_id }) => !request.after || String(property_id) > request.after);
    const page = remaining.slice(0, PAGE_SIZE);
    this.#subscribe(extend(this.#subscription, scope));
    send({
      ok: true,
      regions: this.#subscription.regions,
      properties: this.#subscription.properties,
      offset: `${this.#history}-${this.#head}`,
      snapshot: structuredClone(page),
      ...(remaining.length > PAGE_SIZE ? { more: String(page.at(-1)!.property_id) } : {}),
    });
  }

  #subscribe(subscription: Subscription): void {
    this.#subscription = subscription;
    this.#subscriptions.push({ from: this.#head, subscription });
  }

  #subscriptionAt(position: number): Subscription {
    return this.#subscriptions.findLast(({ from }) => from < position)?.subscription ?? NOTHING;
  }

  #emit(name: string, ...args: unknown[]): void {
    for (const listener of this.#listeners.get(name) ?? []) listener(...args);
  }
}

/** Add a scope to a subscription; an empty scope stands for all rows. */
function extend(before: Subscription, { regions = [], properties = [] }: Scope): Subscription {
  if (regions.length + properties.length === 0) return ALL;
  return {
    regions: [...new Set([...(before.regions ?? []), ...regions])],
    properties: [...new Set([...before.properties, ...properties.map(String)])],
  };
}

function matches(
  { regions, properties }: Subscription,
  entry: Pick<LogEntry, "id" | "regions">,
): boolean {
  return (
    regions === null ||
    properties.includes(entry.id) ||
    entry.regions.some((name) => regions.includes(name))
  );
}
