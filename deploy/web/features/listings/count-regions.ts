import "server-only";
import type { PropertyRow } from "@/lib/bridge/contract";
import { bridgeUrl } from "@/lib/config";

const TIMEOUT_MS = 3_000;

/** The regions and how many listings each has, of those that the token may see; `null` if the bridge
 * does not say. */
export async function countRegions(
  token: string | null,
): Promise<{ region: string; count: number }[] | null> {
  try {
    const answer = await fetch(`${bridgeUrl()}/properties`, {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
    if (!answer.ok) {
      console.error(`counting regions: expected 200 from the bridge, came ${answer.status}`);
      return null;
    }
    const counts = new Map<string, number>();
    for (const { state } of (await answer.json()) as PropertyRow[]) {
      if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return [...counts]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([region, count]) => ({ region, count }));
  } catch (error) {
    console.error(`counting regions: the bridge did not answer: ${String(error)}`);
    return null;
  }
}
