"use client";
import { useRouter } from "next/navigation";
import { useEffect, useMemo, useState } from "react";
import type { PropertyRow } from "@/lib/bridge/contract";
import styles from "./browse.module.css";

export interface RegionCount {
  region: string;
  count: number;
}

const REFRESH_MS = 30_000;

/** Regions with their numbers of listings. The count of the shown region is live, the others are at
 * most `REFRESH_MS` old. */
export function RegionPicker(props: {
  region: string | null;
  rows: readonly PropertyRow[];
  ready: boolean;
  regions: readonly RegionCount[];
}) {
  const { region, rows, ready, regions } = props;
  const router = useRouter();
  const [fetched, setFetched] = useState(regions);
  useEffect(() => {
    const refresh = async () => {
      if (document.hidden || !navigator.onLine) return;
      const response = await fetch("/api/regions").catch(() => null); // a network error
      const counts = response?.ok ? ((await response.json()) as RegionCount[] | null) : null;
      if (counts) setFetched(counts); // else the previous counts stay
    };
    const timer = setInterval(() => void refresh(), REFRESH_MS);
    if (regions.length === 0) void refresh();
    return () => clearInterval(timer);
  }, [regions]);
  const counts = useMemo(() => {
    if (region === null && ready) return countStates(rows);
    const byRegion = new Map(fetched.map(({ region, count }) => [region, count]));
    if (region !== null && (ready || !byRegion.has(region))) byRegion.set(region, rows.length);
    return [...byRegion].sort(([a], [b]) => (a < b ? -1 : 1));
  }, [region, ready, rows, fetched]);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
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
        {counts.map(([name, count]) => (
          <option key={name} value={name}>
            {name} ({count})
          </option>
        ))}
      </select>
    </label>
  );
}

function countStates(rows: readonly PropertyRow[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { state } of rows) if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}
