// The rows of one view, kept equal to the table. Knows neither React nor sockets.
import type {
  FieldChange,
  PropertiesBatch,
  PropertyCreated,
  PropertyDeleted,
  PropertyId,
  PropertyNotification,
  PropertyRow,
  PropertyUpdated,
  PropertyUpdatedData,
} from "./contract";

/** What a view shows. Neither regions nor properties: everything that the client may hear. */
export interface Scope {
  regions?: string[];
  properties?: PropertyId[];
}

/** A row that did not change is the same object as before. */
export interface View {
  scope: Scope;
  rows: readonly PropertyRow[];
  /** All pages of the snapshot have come. Until then, what was held before is still shown. */
  ready: boolean;
}

export type Changes = Readonly<Record<string, FieldChange>>;

/** What became different. `live`: an event told it; else a snapshot showed it afterwards. */
export interface Change {
  kind: "created" | "updated" | "deleted";
  row: PropertyRow;
  changes: Changes;
  live: boolean;
}

type Single = PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification;
export type PropertyEvent = Single | PropertiesBatch;

interface Held {
  row: PropertyRow;
  reading: number;
}

export class PropertyStore {
  #held = new Map<string, Held>();
  #scope: Scope = {};
  #reading = 0; // the number of the snapshot; what an earlier one left is shown, but not known
  #open = false; // the first page is there, so events count
  #ready = false;
  #position = "";
  #view: View = { scope: this.#scope, rows: [], ready: false };
  #waiting = false;
  #listeners = new Set<() => void>();
  #watchers = new Set<(change: Change) => void>();

  /** `soon` runs what tells the listeners: once a frame, however many events there were. */
  constructor(private readonly soon: (run: () => void) => void) {}

  /** A snapshot of `scope` is asked for. Until its first page comes, events are of no use. */
  begin(scope: Scope): void {
    if (scope !== this.#scope) this.#held.clear();
    this.#scope = scope;
    this.#reading += 1;
    this.#open = this.#ready = false;
    this.#tell();
  }

  /** A page, in the very callback of its ack. The last one lets go of what no page had. */
  page(rows: readonly PropertyRow[], offset: string, last: boolean): void {
    this.#open = true;
    this.#position = offset;
    for (const row of rows) this.#put(row, false);
    if (last) {
      this.#ready = true;
      for (const [id, { reading }] of this.#held) {
        if (reading !== this.#reading) this.#held.delete(id);
      }
    }
    this.#tell();
  }

  /** An event. One that is older than what is held changes nothing. */
  hear(event: PropertyEvent, position = ""): void {
    if (!this.#open || isOlder(position, this.#position)) return;
    this.#position = position || this.#position;
    const events = event.event === "properties-batch" ? event.data.events : [event];
    for (const each of events) {
      if (each.event === "property-created") this.#put(each.data, true);
      else if (each.event === "property-updated") this.#update(each.data);
      else if (each.event === "property-deleted") this.#remove(each.data.property_id, "deleted");
    }
    this.#tell();
  }

  #update({ property_id, changes, updated_at, moved, property }: PropertyUpdatedData): void {
    if (moved && property) {
      if (this.#shows(property_id, moved.to)) this.#put(property, true, changes);
      else this.#remove(property_id, "updated", property, changes);
      return;
    }
    const known = this.#known(property_id);
    if (!known) return; // a later page has it as it is then, or not at all
    const row: PropertyRow = { ...known };
    for (const [column, change] of Object.entries(changes)) row[column] = change.new;
    if ("updated_at" in row) row["updated_at"] = updated_at;
    this.#put(row, true, changes);
  }

  #put(row: PropertyRow, live: boolean, told?: Changes): void {
    const id = String(row.property_id);
    const before = this.#held.get(id)?.row;
    const changes = told ?? (before ? difference(before, row) : {});
    const same = before && !told && Object.keys(changes).length === 0;
    this.#held.set(id, { row: same ? before : row, reading: this.#reading });
    if (same || (!before && !live)) return;
    this.#watch({ kind: before || told ? "updated" : "created", row, changes, live });
  }

  #remove(id: PropertyId, kind: Change["kind"], now?: PropertyRow, changes: Changes = {}): void {
    const known = this.#known(id);
    if (!known) return;
    this.#held.delete(String(id));
    this.#watch({ kind, row: now ?? known, changes, live: true });
  }

  #known(id: PropertyId): PropertyRow | undefined {
    const held = this.#held.get(String(id));
    return held?.reading === this.#reading ? held.row : undefined;
  }

  #shows(id: PropertyId, regions: readonly string[]): boolean {
    const { regions: mine = [], properties = [] } = this.#scope;
    if (mine.length + properties.length === 0) return true;
    return (
      regions.some((name) => mine.includes(name)) || properties.some((one) => `${one}` === `${id}`)
    );
  }

  #watch(change: Change): void {
    for (const watcher of this.#watchers) watcher(change);
  }

  #tell(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.soon(() => {
      this.#waiting = false;
      this.#view = { scope: this.#scope, rows: this.rows(), ready: this.#ready };
      for (const listener of this.#listeners) listener();
    });
  }

  // What is held this instant, and what React was told of last.
  rows = (): PropertyRow[] => Array.from(this.#held.values(), ({ row }) => row);
  position = (): string | null => this.#position || null;
  isReady = (): boolean => this.#ready;
  getSnapshot = (): View => this.#view;
  subscribe = (listener: () => void): (() => void) => added(this.#listeners, listener);
  onChange = (watcher: (change: Change) => void): (() => void) => added(this.#watchers, watcher);
}

/** Positions are `<history>-<number>`; those of different histories can't be compared. */
export function isOlder(position: string, than: string): boolean {
  const [a, b] = [position.lastIndexOf("-"), than.lastIndexOf("-")];
  if (a < 1 || position.slice(0, a) !== than.slice(0, b)) return false;
  return Number(position.slice(a + 1)) < Number(than.slice(b + 1));
}

function difference(before: PropertyRow, after: PropertyRow): Changes {
  const changes: Record<string, FieldChange> = {};
  for (const column of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [before[column] ?? null, after[column] ?? null];
    if (JSON.stringify(old) !== JSON.stringify(now)) changes[column] = { old, new: now };
  }
  return changes;
}

/** Adds to the set; gives the function that takes it out again. */
export function added<T>(set: Set<T>, item: T): () => void {
  set.add(item);
  return () => void set.delete(item);
}
