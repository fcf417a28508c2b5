import "server-only";
import { bridgeUrl } from "@/lib/config";
import type { RegionCount } from "./region-counts";

const TIMEOUT_MS = 3_000;

/** Return the regions that the token may read with their numbers of listings, sorted by name; `null`
 * and a log entry if the bridge does not answer with 200. */
export async function countRegions(token: string | null): Promise<RegionCount[] | null> {
  try {
    const response = await fetch(`${bridgeUrl()}/regions`, {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
    if (response.ok) return (await response.json()) as RegionCount[];
    console.error(`counting regions: expected 200 from the bridge, got ${response.status}`);
  } catch (error) {
    console.error(`counting regions: no response from the bridge: ${String(error)}`);
  }
  return null;
}
