// Which columns a card shows, for tables that lack some of the documented ones. No React.
import type { PropertyRow } from "@/lib/bridge/contract";

/** Columns that have a place of their own on a card, or on the map. */
const PLACED = new Set([
  "property_id",
  "name",
  "status",
  "price",
  "units",
  "created_at",
  "latitude",
  "longitude",
]);
const OTHERS_PER_LINE = 2;

/** Return the columns that say where a listing is: city and state, or those of its region. */
export function placeColumns(row: PropertyRow, region: readonly string[]): string[] {
  const documented = ["city", "state"].filter((column) => column in row);
  return documented.length > 0
    ? documented
    : [...region].reverse().filter((column) => column in row);
}

/** Return the columns that are shown by name, on the lines of the card that are free: none with the
 * documented columns. */
export function otherColumns(row: PropertyRow, place: readonly string[]): string[] {
  const lines = [
    place.length > 0 || "status" in row,
    "price" in row || "units" in row,
    "created_at" in row,
  ];
  const free = lines.filter((taken) => !taken).length;
  return Object.keys(row)
    .filter((column) => !PLACED.has(column) && !place.includes(column))
    .slice(0, free * OTHERS_PER_LINE);
}
