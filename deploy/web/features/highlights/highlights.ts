// Which fields have just changed, for as long as that is worth showing.
import type { FieldChange } from "@/lib/bridge/contract";
import { added, type Change, type PropertyStore } from "@/lib/bridge/store";

export const FRESH_MS = 4_000;

/** By column: what a field was and is, and when that changed (milliseconds of the clock). */
export type Fresh = Readonly<Record<string, FieldChange & { at: number }>>;

/** By property id. A property about which nothing changed keeps the same object. */
export type FreshById = ReadonlyMap<string, Fresh>;

export class Highlights {
  #fresh = new Map<string, Fresh>();
  #ends: { id: string; column: string; at: number }[] = [];
  #view: FreshById = new Map();
  #dirty = false;
  #listeners = new Set<() => void>();

  /** `later` runs something after some milliseconds. */
  constructor(
    store: Pick<PropertyStore, "onChange" | "subscribe">,
    private readonly later: (run: () => void, ms: number) => void,
    private readonly now: () => number,
  ) {
    store.onChange(this.#mark);
    // Together with the rows, so that both are one render.
    store.subscribe(this.#tell);
  }

  #mark = ({ kind, row, changes }: Change): void => {
    if (kind !== "updated") return;
    const id = String(row.property_id);
    const at = this.now();
    const fresh: Record<string, FieldChange & { at: number }> = { ...this.#fresh.get(id) };
    for (const [column, change] of Object.entries(changes)) {
      fresh[column] = { ...change, at };
      if (this.#ends.push({ id, column, at }) === 1) this.later(this.#end, FRESH_MS);
    }
    this.#fresh.set(id, fresh);
    this.#dirty = true;
  };

  #end = (): void => {
    const now = this.now();
    let over = 0;
    for (const { id, column, at } of this.#ends) {
      if (now - at < FRESH_MS) break;
      over += 1;
      const fresh = this.#fresh.get(id);
      if (fresh?.[column]?.at !== at) continue; // it has changed again
      const { [column]: _, ...rest } = fresh;
      if (Object.keys(rest).length > 0) this.#fresh.set(id, rest);
      else this.#fresh.delete(id);
    }
    this.#ends.splice(0, over);
    const next = this.#ends[0];
    if (next) this.later(this.#end, FRESH_MS - (now - next.at));
    this.#dirty = true;
    this.#tell();
  };

  #tell = (): void => {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#view = new Map(this.#fresh);
    for (const listener of this.#listeners) listener();
  };

  getSnapshot = (): FreshById => this.#view;
  subscribe = (listener: () => void): (() => void) => added(this.#listeners, listener);
}

const known = new WeakMap<PropertyStore, Highlights>();

export function highlightsOf(store: PropertyStore): Highlights {
  const later = (run: () => void, ms: number) => void setTimeout(run, ms);
  const highlights = known.get(store) ?? new Highlights(store, later, Date.now);
  known.set(store, highlights);
  return highlights;
}
