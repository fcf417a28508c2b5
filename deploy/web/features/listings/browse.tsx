"use client";
import dynamic from "next/dynamic";
import { useMemo, useState } from "react";
import { PropertyProvider, useProperties } from "@/lib/bridge/react";
import type { PropertyRow } from "@/lib/bridge/contract";
import { useHighlights } from "@/features/highlights/react";
import { Listings } from "./listings";
import type { RegionCount } from "./region-counts";
import { RegionPicker } from "./region-picker";
import styles from "./browse.module.css";

const ListingMap = dynamic(() => import("@/features/map/map"), {
  ssr: false,
  loading: () => <div className={styles.mapLoading}>Loading map …</div>,
});

const ORDERS = {
  newest: {
    label: "Newest first",
    by: (a: PropertyRow, b: PropertyRow) => compare(b.created_at, a.created_at),
  },
  cheapest: {
    label: "Lowest price",
    by: (a: PropertyRow, b: PropertyRow) => compare(a.price, b.price),
  },
  mostExpensive: {
    label: "Highest price",
    by: (a: PropertyRow, b: PropertyRow) => compare(b.price, a.price),
  },
  name: { label: "Name", by: (a: PropertyRow, b: PropertyRow) => compare(a.name, b.name) },
};

/** Order ascending, with null last. */
function compare<T extends string | number>(a: T | null, b: T | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

export function Browse({
  region,
  regions,
}: {
  region: string | null;
  regions: readonly RegionCount[];
}) {
  return (
    <PropertyProvider regions={region ? [region] : []}>
      <View region={region} regions={regions} />
    </PropertyProvider>
  );
}

function View({ region, regions }: { region: string | null; regions: readonly RegionCount[] }) {
  const { rows, ready, error } = useProperties();
  const recent = useHighlights();
  const [order, setOrder] = useState<keyof typeof ORDERS>("newest");
  const [selected, setSelected] = useState<string | null>(null);
  const sorted = useMemo(() => [...rows].sort(ORDERS[order].by), [rows, order]);
  return (
    <main className={styles.main}>
      <h1 className="visually-hidden">{region ? `Listings in ${region}` : "All listings"}</h1>
      <section className={styles.list}>
        <div className={styles.bar}>
          <RegionPicker region={region} shown={rows.length} ready={ready} regions={regions} />
          <label className={styles.order}>
            <span className="visually-hidden">Order</span>
            <select
              value={order}
              onChange={(event) => setOrder(event.target.value as keyof typeof ORDERS)}
            >
              {Object.entries(ORDERS).map(([name, { label }]) => (
                <option key={name} value={name}>
                  {label}
                </option>
              ))}
            </select>
          </label>
          <output className={styles.count} aria-live="off">
            {ready ? `${rows.length} listings` : "…"}
          </output>
        </div>
        <Listings
          rows={sorted}
          recent={recent}
          ready={ready}
          error={error}
          label={region ? `Listings in ${region}` : "All listings"}
          selected={selected}
          onSelect={setSelected}
        />
      </section>
      <section className={styles.map} aria-label="Map">
        <ListingMap
          rows={rows}
          recent={recent}
          ready={ready}
          viewKey={region ?? "all"}
          selected={selected}
          onSelect={setSelected}
        />
      </section>
    </main>
  );
}
