// The rows of one view, kept equal to the table. No React, no sockets, no clock.
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
import { Emitter, Observable } from "./observable";

/** Which rows a view shows. With neither regions nor properties: all rows that the client may
 * read. */
export interface Scope {
  regions?: string[];
  properties?: PropertyId[];
}

/** An unchanged row is the same object as in the view before. */
export interface View {
  scope: Scope;
  rows: readonly PropertyRow[];
  /** All pages of the snapshot are applied. Until then the rows held before are still shown. */
  ready: boolean;
}

export type Changes = Readonly<Record<string, FieldChange>>;

/** One changed row. */
export interface Change {
  kind: "created" | "updated" | "deleted";
  row: PropertyRow;
  changes: Changes;
  /** True if an event reported the change, false if it was found by comparing with a snapshot. */
  fromEvent: boolean;
}

type SingleEvent = PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification;
export type PropertyEvent = SingleEvent | PropertiesBatch;

interface HeldRow {
  row: PropertyRow;
  /** The last snapshot that contained the row. */
  snapshotId: number;
}

export class PropertyStore {
  readonly view: Observable<View>;
  readonly changes = new Emitter<Change>();
  #held = new Map<string, HeldRow>();
  #scope: Scope = {};
  /** Number of the current snapshot. Rows of earlier ones are shown, but events skip them. */
  #snapshotId = 0;
  #accepting = false; // the first page is applied, so that events can be
  #ready = false;
  #position = "";
  #scheduled = false;

  /** `schedule` runs the function that updates `view`: once per frame, for any number of events. */
  constructor(private readonly schedule: (run: () => void) => void) {
    this.view = new Observable<View>({ scope: this.#scope, rows: [], ready: false });
  }

  /** Begin a snapshot of `scope`, a new object if the scope is another one. Events are ignored
   * until its first page. */
  startSnapshot(scope: Scope): void {
    if (scope !== this.#scope) this.#held.clear();
    this.#scope = scope;
    this.#snapshotId += 1;
    this.#accepting = this.#ready = false;
    this.#scheduleView();
  }

  /** Apply one page. Must be called synchronously in the callback of its ack, before later events
   * are dispatched. The last page removes the rows that no page contained. */
  applyPage(rows: readonly PropertyRow[], offset: string, last: boolean): void {
    this.#accepting = true;
    this.#position = offset;
    for (const row of rows) this.#put(row, false);
    if (last) {
      this.#ready = true;
      for (const [id, { snapshotId }] of this.#held) {
        if (snapshotId !== this.#snapshotId) this.#held.delete(id);
      }
    }
    this.#scheduleView();
  }

  /** Apply one event or batch. An event older than the current position is ignored. */
  applyEvent(event: PropertyEvent, position = ""): void {
    if (!this.#accepting || isOlder(position, this.#position)) return;
    this.#position = position || this.#position;
    const events = event.event === "properties-batch" ? event.data.events : [event];
    for (const each of events) {
      if (each.event === "property-created") this.#put(each.data, true);
      else if (each.event === "property-updated") this.#update(each.data);
      else if (each.event === "property-deleted") this.#remove(each.data.property_id, "deleted");
    }
    this.#scheduleView();
  }

  #update({ property_id, changes, updated_at, moved, property }: PropertyUpdatedData): void {
    if (moved && property) {
      if (this.#inScope(property_id, moved.to)) this.#put(property, true, changes);
      else this.#remove(property_id, "updated", property, changes);
      return;
    }
    const current = this.#current(property_id);
    if (!current) return; // a later page contains the updated row, or it does not exist any more
    const row: PropertyRow = { ...current };
    for (const [column, change] of Object.entries(changes)) row[column] = change.new;
    if ("updated_at" in row) row["updated_at"] = updated_at;
    this.#put(row, true, changes);
  }

  /** Hold the row. `eventChanges` are those of an update event; else the rows are compared. */
  #put(row: PropertyRow, fromEvent: boolean, eventChanges?: Changes): void {
    const id = String(row.property_id);
    const before = this.#held.get(id)?.row;
    const changes = eventChanges ?? (before ? difference(before, row) : {});
    const unchanged = before && !eventChanges && Object.keys(changes).length === 0;
    this.#held.set(id, { row: unchanged ? before : row, snapshotId: this.#snapshotId });
    if (unchanged || (!before && !fromEvent)) return;
    const kind = before || eventChanges ? "updated" : "created";
    this.changes.emit({ kind, row, changes, fromEvent });
  }

  #remove(id: PropertyId, kind: Change["kind"], after?: PropertyRow, changes: Changes = {}): void {
    const current = this.#current(id);
    if (!current) return;
    this.#held.delete(String(id));
    this.changes.emit({ kind, row: after ?? current, changes, fromEvent: true });
  }

  /** Return the row if the current snapshot or an event since its start brought it. */
  #current(id: PropertyId): PropertyRow | undefined {
    const held = this.#held.get(String(id));
    return held?.snapshotId === this.#snapshotId ? held.row : undefined;
  }

  #inScope(id: PropertyId, regions: readonly string[]): boolean {
    const { regions: scoped = [], properties = [] } = this.#scope;
    if (scoped.length + properties.length === 0) return true;
    return (
      regions.some((name) => scoped.includes(name)) ||
      properties.some((property) => `${property}` === `${id}`)
    );
  }

  #scheduleView(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.schedule(() => {
      this.#scheduled = false;
      this.view.set({ scope: this.#scope, rows: this.rows(), ready: this.#ready });
    });
  }

  // The current state, which `view` may be one frame behind.
  rows = (): PropertyRow[] => Array.from(this.#held.values(), ({ row }) => row);
  /** Log position of the last applied event or page; null before the first page. */
  position = (): string | null => this.#position || null;
  isReady = (): boolean => this.#ready;
}

/** Positions are `<history>-<number>`. Those of different histories are not comparable: false. */
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
