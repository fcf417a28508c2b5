// A model of the bridge and of the client library, every step of which is taken by hand: what is on its
// way can be lost, and anything can happen in between.
import type { PropertyRow, SubscribeAck, SubscribeRequest } from "@/lib/bridge/contract";
import { PropertyFeed } from "@/lib/bridge/properties";
import type { BridgeClient } from "@/lib/bridge/socket";
import { type PropertyEvent, PropertyStore, type Scope } from "@/lib/bridge/store";

interface Told {
  position: number;
  event: PropertyEvent;
  id: string;
  regions: string[];
}

type Answer = (ack: SubscribeAck) => void;
type Listener = (...args: unknown[]) => void;

const PAGE = 2;

/** What a session hears; null regions: everything. */
interface Hears {
  regions: string[] | null;
  properties: string[];
}

export class Bridge {
  readonly table = new Map<string, PropertyRow>();
  readonly feed: PropertyFeed;
  readonly requests: (SubscribeRequest | undefined)[] = [];
  connected = false;
  /** Codes with which the next requests are refused. */
  refusals: ("rate_limited" | "not_ready" | "region_forbidden")[] = [];
  #client: { socket: BridgeClient["socket"]; scope: Scope; offered: Scope };
  #socket: { connected: boolean; recovered: boolean };
  #listeners = new Map<string, Listener[]>();
  #log: Told[] = [];
  #head = 0;
  #history = "a";
  #hears: Hears = { regions: [], properties: [] };
  #stretches: { from: number; hears: Hears }[] = [];
  #toBridge: (() => void)[] = [];
  #toClient: { position: number; run: () => void }[] = [];
  #heard = 0; // the client library's offset

  constructor() {
    const socket = {
      connected: false,
      recovered: false,
      on: (name: string, listener: Listener) => {
        this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
      },
      emit: (name: string, request: SubscribeRequest, answer: Answer) => {
        this.#toBridge.push(() => this.#answer(name, request, answer));
      },
    };
    this.#socket = socket;
    const scope: Scope = {};
    this.#client = { socket: socket as unknown as BridgeClient["socket"], scope, offered: scope };
    this.feed = new PropertyFeed(this.#client, new PropertyStore((run) => run()));
  }

  // -- steps ------------------------------------------------------------------------------------

  /** The bridge takes the client's next request. */
  take(): boolean {
    const next = this.#toBridge.shift();
    next?.();
    return next !== undefined;
  }

  /** The client hears the next thing that was said to it. */
  hear(): boolean {
    const next = this.#toClient.shift();
    next?.run();
    return next !== undefined;
  }

  /** The handshake's first half: what it names is what is shown now. */
  offer(): void {
    this.#client.offered = this.#client.scope;
  }

  /** The connection is there. What a session hears that can't be recovered is what was offered. */
  connect(recovered: boolean): void {
    this.connected = this.#socket.connected = true;
    this.#socket.recovered = recovered;
    this.#toBridge = [];
    this.#toClient = [];
    if (recovered) {
      for (const told of this.#log) {
        if (told.position > this.#heard && heard(told, this.#then(told.position))) this.#send(told);
      }
    } else {
      const { regions = [], properties = [] } = this.#client.offered;
      this.#stretches = [];
      this.#heard = this.#head;
      this.#set(plus({ regions: null, properties: [] }, { regions, properties }));
    }
    this.#emit("connect");
  }

  disconnect(reason = "transport close"): void {
    this.connected = this.#socket.connected = false;
    this.#toBridge = [];
    this.#toClient = [];
    this.#emit("disconnect", reason);
  }

  /** The log lost its past. */
  forget(): void {
    this.#history += "a";
    this.#log = [];
    this.#head = 0;
  }

  /** Everything that is under way arrives. */
  settle(): void {
    while (this.take() || this.hear());
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

  /** What a view of `scope` has to show. */
  rows(scope: Scope): PropertyRow[] {
    const hears = plus({ regions: null, properties: [] }, scope);
    return [...this.table]
      .filter(([id, row]) => within(hears, id, [row.state ?? ""]))
      .map(([, row]) => row);
  }

  // -- inside -------------------------------------------------------------------------------------

  #publish(id: string, regions: string[], event: PropertyEvent): void {
    const told = { position: ++this.#head, id, regions, event };
    this.#log.push(told);
    if (this.connected && heard(told, this.#hears)) this.#send(told);
  }

  #send({ position, event }: Told): void {
    const spelled = `${this.#history}-${position}`;
    this.#toClient.push({
      position,
      run: () => {
        this.#heard = position;
        this.#emit(event.event, event, spelled);
      },
    });
  }

  #answer(name: string, request: SubscribeRequest, answer: Answer): void {
    this.requests.push(name === "subscribe" ? request : undefined);
    const say = (ack: SubscribeAck) =>
      this.#toClient.push({ position: this.#head, run: () => answer(ack) });
    const code = this.refusals.shift();
    if (code) {
      say({ ok: false, error: { code, message: "refused" } });
      return;
    }
    if (name === "unsubscribe") {
      this.#set({ regions: [], properties: [] });
      say({ ok: true, regions: [], properties: [] });
      return;
    }
    const scope: Scope = { regions: request.regions ?? [], properties: request.properties ?? [] };
    const found = this.rows(scope)
      .sort((a, b) => (String(a.property_id) < String(b.property_id) ? -1 : 1))
      .filter(({ property_id }) => !request.after || String(property_id) > request.after);
    const page = found.slice(0, PAGE);
    this.#set(plus(this.#hears, scope));
    say({
      ok: true,
      regions: this.#hears.regions,
      properties: this.#hears.properties,
      offset: `${this.#history}-${this.#head}`,
      snapshot: structuredClone(page),
      ...(found.length > PAGE ? { more: String(page.at(-1)!.property_id) } : {}),
    });
  }

  #set(hears: Hears): void {
    this.#hears = hears;
    this.#stretches.push({ from: this.#head, hears });
  }

  #then(position: number): Hears {
    return (
      this.#stretches.findLast(({ from }) => from < position)?.hears ?? {
        regions: [],
        properties: [],
      }
    );
  }

  #emit(name: string, ...args: unknown[]): void {
    for (const listener of this.#listeners.get(name) ?? []) listener(...args);
  }
}

function plus(hears: Hears, { regions = [], properties = [] }: Scope): Hears {
  if (regions.length + properties.length === 0) return { regions: null, properties: [] };
  return {
    regions: [...new Set([...(hears.regions ?? []), ...regions])],
    properties: [...new Set([...hears.properties, ...properties.map(String)])],
  };
}

function within(hears: Hears, id: string, regions: string[]): boolean {
  return (
    hears.regions === null ||
    hears.properties.includes(id) ||
    regions.some((name) => hears.regions?.includes(name))
  );
}

function heard(told: Told, hears: Hears): boolean {
  return within(hears, told.id, told.regions);
}
