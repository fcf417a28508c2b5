"use client";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { formatRegion } from "@/lib/bridge/regions";
import { totalOf, type RegionCount } from "./region-counts";
import { useRegionCounts } from "./use-region-counts";
import styles from "./browse.module.css";

/** Regions with their numbers of listings. The count of the shown rows is live; the others follow
 * within seconds. */
export function RegionPicker(props: {
  region: string | null;
  /** Number of rows in the view. */
  shown: number;
  ready: boolean;
  regions: readonly RegionCount[];
}) {
  const { region, shown, ready, regions } = props;
  const router = useRouter();
  const fetched = useRegionCounts(regions);
  const counts = useMemo(() => {
    const byRegion = new Map(fetched.map(({ region, count }) => [region, count]));
    if (region !== null && (ready || !byRegion.has(region))) byRegion.set(region, shown);
    return [...byRegion]
      .map(([region, count]) => ({ region, count }))
      .sort((a, b) => (a.region < b.region ? -1 : 1));
  }, [region, ready, shown, fetched]);
  const total = region === null && ready ? shown : totalOf(counts);
  return (
    <label className={styles.region}>
      <span className="visually-hidden">Region</span>
      <select
        data-testid="region-picker"
        value={region ?? ""}
        onChange={({ target }) =>
          router.push(target.value ? `/?region=${encodeURIComponent(target.value)}` : "/")
        }
      >
        <option value="">All{total > 0 && ` (${total})`}</option>
        {counts.map(({ region, count }) => (
          <option key={region} value={region}>
            {formatRegion(region)} ({count})
          </option>
        ))}
      </select>
    </label>
  );
}
