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

/** Regions with counts: of what is shown they are live, of the others as of the last half minute. */
export function RegionPicker(props: {
  region: string | null;
  rows: readonly PropertyRow[];
  ready: boolean;
  regions: readonly RegionCount[];
}) {
  const { region, rows, ready, regions } = props;
  const router = useRouter();
  const [asked, setAsked] = useState(regions);
  useEffect(() => {
    const look = async () => {
      if (document.hidden || !navigator.onLine) return;
      const answer = await fetch("/api/regions").catch(() => null); // the network's trouble
      const counts = answer?.ok ? ((await answer.json()) as RegionCount[] | null) : null;
      if (counts) setAsked(counts); // else the counts of before stay
    };
    const timer = setInterval(() => void look(), REFRESH_MS);
    if (regions.length === 0) void look();
    return () => clearInterval(timer);
  }, [regions]);
  const counts = useMemo(() => {
    if (region === null && ready) return count(rows.map(({ state }) => state));
    const known = new Map(asked.map(({ region, count }) => [region, count]));
    if (region !== null && (ready || !known.has(region))) known.set(region, rows.length);
    return [...known].sort(([a], [b]) => (a < b ? -1 : 1));
  }, [region, ready, rows, asked]);
  const all = counts.reduce((sum, [, number]) => sum + number, 0);
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
        <option value="">All{all > 0 && ` (${all})`}</option>
        {counts.map(([name, number]) => (
          <option key={name} value={name}>
            {name} ({number})
          </option>
        ))}
      </select>
    </label>
  );
}

function count(states: readonly (string | null)[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const state of states) if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}
