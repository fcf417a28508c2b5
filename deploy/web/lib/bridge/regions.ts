// The regions of a row, as the bridge names them. No React, no sockets.
import type { Json } from "./contract";

/** Return the regions of a row, widest first: `["TX", "TX/Austin"]` for the columns `state, city`. A
 * null or empty column ends the path. A slash within a value is `%2F`, as in the names of the
 * bridge's rooms, so that no two places are one region. */
export function regionsOf(
  row: Readonly<Record<string, Json>>,
  columns: readonly string[],
): string[] {
  const path: string[] = [];
  const regions: string[] = [];
  for (const column of columns) {
    const part = escape(row[column] ?? null);
    if (!part) break;
    path.push(part);
    regions.push(path.join("/"));
  }
  return regions;
}

/** Return the name of a region for display. */
export function formatRegion(region: string): string {
  return region.replaceAll("%2F", "/").replace(/%25(?=(?:25)*2F)/g, "%");
}

function escape(value: Json): string {
  if (value === null) return "";
  const text = typeof value === "string" ? value : JSON.stringify(sorted(value));
  return text.replace(/%(?=(?:25)*2F)/g, "%25").replaceAll("/", "%2F");
}

/** Return the value with the names of all objects in order. */
function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, sorted(value[name] ?? null)]));
}
