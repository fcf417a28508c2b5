// Sends the changed listings to the map, no faster than the map draws them.
import type { Feature, Point } from "geojson";
import type { GeoJSONSourceDiff } from "maplibre-gl";
import type { PropertyRow } from "@/lib/bridge/contract";
import { stringColumn } from "@/lib/format";
import type { RecentChanges, RecentChangesById } from "@/features/highlights/highlights";

/** Shortest time between two updates; points need not be updated in every frame. */
const MIN_INTERVAL_MS = 100;

interface DrawnPoint {
  row: PropertyRow;
  recent: RecentChanges | undefined;
}

/** Return whether the table has the columns of a location. */
export function hasLocation(row: PropertyRow): boolean {
  return "longitude" in row && "latitude" in row;
}

/** Return longitude and latitude, or null if either is unknown. */
export function coordinatesOf(row: PropertyRow | undefined): [number, number] | null {
  const { longitude, latitude } = row ?? {};
  return typeof longitude === "number" && typeof latitude === "number"
    ? [longitude, latitude]
    : null;
}

export class PointUpdates {
  #rows: readonly PropertyRow[] = [];
  #recent: RecentChangesById = new Map();
  #drawn = new Map<string, DrawnPoint>();
  #drawing = false;
  #outdated = false;
  #stopped = false;

  /** `draw` is called with one difference at a time, the next one after its promise resolved. */
  constructor(private readonly draw: (diff: GeoJSONSourceDiff) => Promise<void>) {}

  show(rows: readonly PropertyRow[], recent: RecentChangesById): void {
    this.#rows = rows;
    this.#recent = recent;
    if (this.#drawing) this.#outdated = true;
    else void this.#update();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #update(): Promise<void> {
    const diff = this.#difference();
    if (!diff || this.#stopped) return;
    this.#drawing = true;
    this.#outdated = false;
    try {
      await Promise.all([
        this.draw(diff),
        new Promise((resolve) => setTimeout(resolve, MIN_INTERVAL_MS)),
      ]);
    } catch (error) {
      if (!this.#stopped) console.error(`map: ${String(error)}`);
    }
    this.#drawing = false;
    if (this.#outdated) await this.#update();
  }

  #difference(): GeoJSONSourceDiff | null {
    const add: Feature<Point>[] = [];
    const remove: string[] = [];
    const present = new Set<string>();
    for (const row of this.#rows) {
      const point = coordinatesOf(row);
      if (!point) continue;
      const id = String(row.property_id);
      const recent = this.#recent.get(id);
      const before = this.#drawn.get(id);
      present.add(id);
      if (before?.row === row && before.recent === recent) continue;
      this.#drawn.set(id, { row, recent });
      add.push({
        type: "Feature",
        id,
        geometry: { type: "Point", coordinates: point },
        properties: { id, status: stringColumn(row, "status") ?? "", recent: recent ? 1 : 0 },
      });
    }
    for (const id of this.#drawn.keys()) {
      if (present.has(id)) continue;
      this.#drawn.delete(id);
      remove.push(id);
    }
    return add.length + remove.length > 0 ? { add, remove } : null;
  }
}
