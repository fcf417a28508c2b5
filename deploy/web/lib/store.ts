// The rows of one view, kept equal to the table. Knows neither React nor sockets.
import type {
  FieldChange, PropertiesBatch, PropertyCreated, PropertyDeleted, PropertyId, PropertyNotification,
  PropertyRow, PropertyUpdated,
} from "./contract";

/** What a view shows. Neither regions nor properties: everything that the client may hear. */
export interface Scope {
  regions?: string[];
  properties?: PropertyId[];
}

/** A field that has just changed; `at` is in milliseconds of the store's clock. */
export type Fresh = FieldChange & { at: number };

/** A row as it is shown. A new object whenever something of it changes, and only then. */
export interface Listing {
  id: string;
  row: PropertyRow;
  fresh: Readonly<Record<string, Fresh>>;
}

export interface View {
  scope: Scope;
  listings: readonly Listing[];
  /** All pages of the snapshot have come. What was held before stays visible until then. */
  ready: boolean;
}

/** Something happened to a listing while it was watched. */
export interface News {
  kind: "created" | "updated" | "deleted";
  row: PropertyRow;
  changes: Readonly<Record<string, FieldChange>>;
}

export type PropertyEvent =
  | PropertyCreated | PropertyUpdated | PropertyDeleted | PropertiesBatch | PropertyNotification;

export const FRESH_MS = 4_000;
const NOTHING_FRESH = {};

/** Positions are `<history>-<number>`. Those of different histories can't be compared. */
export function isOlder(position: string, than: string): boolean {
  const [a, b] = [position.lastIndexOf("-"), than.lastIndexOf("-")];
  if (a < 1 || position.slice(0, a) !== than.slice(0, b)) return false;
  return Number(position.slice(a + 1)) < Number(than.slice(b + 1));
}

export class PropertyStore {
  #held = new Map<string, Listing & { reading: number }>();
  #scope: Scope = {};
  #reading = 0; // the number of the snapshot; what an earlier one left is not known yet
  #open = false; // events count: the first page is there
  #ready = false;
  #position: string | null = null;
  #view: View = { scope: this.#scope, listings: [], ready: false };
  #waiting = false;
  #fading: { id: string; field: string; at: number }[] = [];
  #listeners = new Set<() => void>();
  #news = new Set<(news: News) => void>();

  /** `soon` runs what tells React, at most once a frame; `later` after some milliseconds. */
  constructor(
    private readonly soon: (run: () => void) => void,
    private readonly later: (run: () => void, ms: number) => void,
    private readonly now: () => number,
  ) {}

  /** A snapshot is asked for: until its first page comes, events are of no use. What is held of the
   * same scope stays visible meanwhile. */
  begin(scope: Scope): void {
    if (scope !== this.#scope) this.#held.clear();
    this.#scope = scope;
    this.#reading += 1;
    this.#open = this.#ready = false;
    this.#changed();
  }

  /** A page, in the very callback of its ack. The last one lets go of what no page had. */
  page(rows: readonly PropertyRow[], offset: string, last: boolean): void {
    this.#open = true;
    this.#position = offset;
    for (const row of rows) this.#put(row, false);
    if (last) {
      this.#ready = true;
      for (const [id, held] of this.#held) if (held.reading !== this.#reading) this.#held.delete(id);
    }
    this.#changed();
  }

  /** Apply an event. One that is older than what is held changes nothing. */
  hear(event: PropertyEvent, position?: string): void {
    if (!this.#open || (position && this.#position && isOlder(position, this.#position))) return;
    if (position) this.#position = position;
    if (event.event === "properties-batch") event.data.events.forEach((each) => this.#apply(each));
    else this.#apply(event);
    this.#changed();
  }

  #apply(event: Exclude<PropertyEvent, PropertiesBatch>): void {
    if (event.event === "property-created") {
      this.#put(event.data, true);
    } else if (event.event === "property-updated") {
      this.#update(event.data);
    } else if (event.event === "property-deleted") {
      const known = this.#known(event.data.property_id);
      if (known && this.#held.delete(known.id)) this.#tell({ kind: "deleted", row: known.row, changes: {} });
    }
  }

  #update({ property_id, changes, updated_at, moved, property }: PropertyUpdated["data"]): void {
    const known = this.#known(property_id);
    if (moved && property) {
      if (this.#shows(property_id, moved.to)) this.#put(property, true, changes);
      else if (known) {
        this.#held.delete(known.id);
        this.#tell({ kind: "updated", row: property, changes });
      }
    } else if (known) {
      const row: PropertyRow = { ...known.row };
      for (const [column, change] of Object.entries(changes)) row[column] = change.new;
      if ("updated_at" in row) row["updated_at"] = updated_at;
      this.#put(row, true, changes);
    }
    // Else a later page has it as it is then, or not at all.
  }

  #put(row: PropertyRow, news: boolean, changes?: Readonly<Record<string, FieldChange>>): void {
    const id = String(row.property_id);
    const before = this.#held.get(id);
    const told = changes ?? (before ? difference(before.row, row) : {});
    let fresh = before?.fresh ?? NOTHING_FRESH;
    if (Object.keys(told).length > 0) {
      const at = this.now();
      fresh = { ...fresh };
      for (const [field, change] of Object.entries(told)) {
        (fresh as Record<string, Fresh>)[field] = { ...change, at };
        if (this.#fading.push({ id, field, at }) === 1) this.later(this.#fade, FRESH_MS);
      }
    }
    this.#held.set(id, { id, row, fresh, reading: this.#reading });
    if (news) this.#tell({ kind: before || changes ? "updated" : "created", row, changes: told });
  }

  #known(id: PropertyId): Listing | undefined {
    const held = this.#held.get(String(id));
    return held?.reading === this.#reading ? held : undefined;
  }

  #shows(id: PropertyId, regions: readonly string[]): boolean {
    const { regions: mine = [], properties = [] } = this.#scope;
    return (mine.length + properties.length === 0)
      || regions.some((region) => mine.includes(region)) || properties.map(String).includes(String(id));
  }

  /** Highlights end. */
  #fade = (): void => {
    const now = this.now();
    while (this.#fading[0] && now - this.#fading[0].at >= FRESH_MS) {
      const { id, field, at } = this.#fading.shift()!;
      const held = this.#held.get(id);
      if (held?.fresh[field]?.at !== at) continue;
      const { [field]: _over, ...fresh } = held.fresh;
      this.#held.set(id, { ...held, fresh });
    }
    if (this.#fading[0]) this.later(this.#fade, FRESH_MS - (now - this.#fading[0].at));
    this.#changed();
  };

  #tell(news: News): void {
    for (const listener of this.#news) listener(news);
  }

  #changed(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.soon(() => {
      this.#waiting = false;
      this.#view = { scope: this.#scope, listings: [...this.#held.values()], ready: this.#ready };
      for (const listener of this.#listeners) listener();
    });
  }

  // For useSyncExternalStore, and for whoever wants to know what is held this instant.
  subscribe = (listener: () => void): (() => void) => listen(this.#listeners, listener);
  onNews = (listener: (news: News) => void): (() => void) => listen(this.#news, listener);
  getSnapshot = (): View => this.#view;
  rows = (): PropertyRow[] => Array.from(this.#held.values(), (held) => held.row);
  isReady = (): boolean => this.#ready;
  position = (): string | null => this.#position;
}

function listen<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function difference(before: PropertyRow, after: PropertyRow): Record<string, FieldChange> {
  const changes: Record<string, FieldChange> = {};
  for (const column of Object.keys(after)) {
    const [old, now] = [before[column] ?? null, after[column] ?? null];
    if (old !== now && JSON.stringify(old) !== JSON.stringify(now)) changes[column] = { old, new: now };
  }
  return changes;
}
