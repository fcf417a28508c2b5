// The listings on the map: what became different, no faster than the map can draw it.
import type { Feature, Point } from "geojson";
import type { GeoJSONSourceDiff } from "maplibre-gl";
import type { PropertyRow } from "@/lib/bridge/contract";
import { text } from "@/lib/format";
import type { Fresh, FreshById } from "@/features/highlights/highlights";

const LEAST_PAUSE_MS = 100; // between two updates: points need not move as often as the screen

interface Drawn {
  row: PropertyRow;
  fresh: Fresh | undefined;
}

/** Where a listing is, if that is known. */
export function where(row: PropertyRow | undefined): [number, number] | null {
  const { longitude, latitude } = row ?? {};
  return typeof longitude === "number" && typeof latitude === "number"
    ? [longitude, latitude]
    : null;
}

export class Points {
  #rows: readonly PropertyRow[] = [];
  #fresh: FreshById = new Map();
  #drawn = new Map<string, Drawn>();
  #drawing = false;
  #stale = false;
  #over = false;

  /** `draw` is given one difference at a time; the next one when its promise is done. */
  constructor(private readonly draw: (diff: GeoJSONSourceDiff) => Promise<void>) {}

  show(rows: readonly PropertyRow[], fresh: FreshById): void {
    this.#rows = rows;
    this.#fresh = fresh;
    if (this.#drawing) this.#stale = true;
    else void this.#update();
  }

  stop(): void {
    this.#over = true;
  }

  async #update(): Promise<void> {
    const diff = this.#difference();
    if (!diff || this.#over) return;
    this.#drawing = true;
    this.#stale = false;
    try {
      await Promise.all([this.draw(diff), new Promise((go) => setTimeout(go, LEAST_PAUSE_MS))]);
    } catch (error) {
      if (!this.#over) console.error(`map: ${String(error)}`);
    }
    this.#drawing = false;
    if (this.#stale) await this.#update();
  }

  #difference(): GeoJSONSourceDiff | null {
    const add: Feature<Point>[] = [];
    const remove: string[] = [];
    const here = new Set<string>();
    for (const row of this.#rows) {
      const point = where(row);
      if (!point) continue;
      const id = String(row.property_id);
      const fresh = this.#fresh.get(id);
      const before = this.#drawn.get(id);
      here.add(id);
      if (before?.row === row && before.fresh === fresh) continue;
      this.#drawn.set(id, { row, fresh });
      add.push({
        type: "Feature",
        id,
        geometry: { type: "Point", coordinates: point },
        properties: { id, status: text(row, "status") ?? "", fresh: fresh ? 1 : 0 },
      });
    }
    for (const id of this.#drawn.keys()) {
      if (here.has(id)) continue;
      this.#drawn.delete(id);
      remove.push(id);
    }
    return add.length + remove.length > 0 ? { add, remove } : null;
  }
}
