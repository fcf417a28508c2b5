import "server-only";
import type { PropertyRow } from "@/lib/bridge/contract";
import { bridgeUrl } from "@/lib/config";
import type { RegionCount } from "./region-picker";

const TIMEOUT_MS = 3_000;

/** Return the regions that the token may read with their numbers of listings, sorted by name; `null`
 * and a log entry if the bridge does not answer with 200. Reads all rows over HTTP. */
export async function countRegions(token: string | null): Promise<RegionCount[] | null> {
  try {
    const response = await fetch(`${bridgeUrl()}/properties`, {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
    if (!response.ok) {
      console.error(`counting regions: expected 200 from the bridge, got ${response.status}`);
      return null;
    }
    const counts = new Map<string, number>();
    for (const { state } of (await response.json()) as PropertyRow[]) {
      if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return [...counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([region, count]) => ({ region, count }));
  } catch (error) {
    console.error(`counting regions: no response from the bridge: ${String(error)}`);
    return null;
  }
}
