// The fields that changed within the last seconds. No React; the clock is passed in.
import type { FieldChange } from "@/lib/bridge/contract";
import { Observable } from "@/lib/bridge/observable";
import type { Change, PropertyStore } from "@/lib/bridge/store";

/** How long a changed field is highlighted. The animation in `card.module.css` takes as long. */
export const HIGHLIGHT_MS = 4_000;

/** A field's old and new value; `at` is the time of the change in milliseconds. */
export type RecentChange = FieldChange & { at: number };
/** By column. */
export type RecentChanges = Readonly<Record<string, RecentChange>>;
/** By property id. Entries without a new change are the same objects as before. */
export type RecentChangesById = ReadonlyMap<string, RecentChanges>;

export class Highlights {
  readonly recent = new Observable<RecentChangesById>(new Map());
  #recent = new Map<string, RecentChanges>();
  #expiries: { id: string; column: string; at: number }[] = []; // oldest first
  #dirty = false;

  /** `schedule` runs a function after a number of milliseconds; `now` is the clock. */
  constructor(
    private readonly schedule: (run: () => void, ms: number) => void,
    private readonly now: () => number,
  ) {}

  /** Follow the changes of a store until the returned function is called. */
  attach({ changes, view }: Pick<PropertyStore, "changes" | "view">): () => void {
    const stopChanges = changes.subscribe(this.#add);
    const stopView = view.subscribe(this.#publish); // so that rows and highlights render together
    return () => {
      stopChanges();
      stopView();
    };
  }

  #add = ({ kind, row, changes }: Change): void => {
    if (kind !== "updated") return;
    const id = String(row.property_id);
    const at = this.now();
    const recent: Record<string, RecentChange> = { ...this.#recent.get(id) };
    for (const [column, change] of Object.entries(changes)) {
      recent[column] = { ...change, at };
      if (this.#expiries.push({ id, column, at }) === 1) this.schedule(this.#expire, HIGHLIGHT_MS);
    }
    this.#recent.set(id, recent);
    this.#dirty = true;
  };

  #expire = (): void => {
    const now = this.now();
    let expired = 0;
    for (const { id, column, at } of this.#expiries) {
      if (now - at < HIGHLIGHT_MS) break;
      expired += 1;
      const recent = this.#recent.get(id);
      if (recent?.[column]?.at !== at) continue; // the field changed again, with a later expiry
      const { [column]: _, ...rest } = recent;
      if (Object.keys(rest).length > 0) this.#recent.set(id, rest);
      else this.#recent.delete(id);
    }
    this.#expiries.splice(0, expired);
    const next = this.#expiries[0];
    if (next) this.schedule(this.#expire, HIGHLIGHT_MS - (now - next.at));
    this.#dirty = true;
    this.#publish();
  };

  #publish = (): void => {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.recent.set(new Map(this.#recent));
  };
}
