"use client";
import dynamic from "next/dynamic";
import { useMemo, useState } from "react";
import { PropertyProvider, useProperties } from "@/lib/bridge/react";
import type { PropertyRow } from "@/lib/bridge/contract";
import { formatRegion } from "@/lib/bridge/regions";
import { useHighlights } from "@/features/highlights/react";
import { hasLocation } from "@/features/map/points";
import { Listings } from "./listings";
import type { RegionCount } from "./region-counts";
import { RegionPicker } from "./region-picker";
import styles from "./browse.module.css";

const ListingMap = dynamic(() => import("@/features/map/map"), {
  ssr: false,
  loading: () => <div className={styles.mapLoading}>Loading map …</div>,
});

interface Order {
  label: string;
  /** The order is offered where this column is published. */
  column: string;
  by: (a: PropertyRow, b: PropertyRow) => number;
}

const ORDERS: readonly Order[] = [
  {
    label: "Newest first",
    column: "created_at",
    by: (a, b) => compare(b.created_at, a.created_at),
  },
  { label: "Lowest price", column: "price", by: (a, b) => compare(a.price, b.price) },
  { label: "Highest price", column: "price", by: (a, b) => compare(b.price, a.price) },
  { label: "Name", column: "name", by: (a, b) => compare(a.name, b.name) },
];
const BY_KEY: Order = {
  label: "Key",
  column: "property_id",
  by: (a, b) => compare(a.property_id, b.property_id),
};

/** Return the orders of a table by the columns of a row. */
function ordersOf(row: PropertyRow | undefined): readonly Order[] {
  if (!row) return ORDERS;
  const orders = ORDERS.filter(({ column }) => column in row);
  return orders.length > 0 ? orders : [BY_KEY];
}

/** Return the order with this label, or the first one where the table does not have it. */
function orderOf(row: PropertyRow | undefined, label: string): Order {
  const orders = ordersOf(row);
  return orders.find((order) => order.label === label) ?? orders[0] ?? BY_KEY;
}

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
  const [chosen, setChosen] = useState("");
  const [selected, setSelected] = useState<string | null>(null);
  const sorted = useMemo(() => [...rows].sort(orderOf(rows[0], chosen).by), [rows, chosen]);
  const title = region ? `Listings in ${formatRegion(region)}` : "All listings";
  const mapped = !rows[0] || hasLocation(rows[0]);
  return (
    <main className={styles.main} data-mapped={mapped}>
      <h1 className="visually-hidden">{title}</h1>
      <section className={styles.list}>
        <div className={styles.bar}>
          <RegionPicker region={region} shown={rows.length} ready={ready} regions={regions} />
          <label className={styles.order}>
            <span className="visually-hidden">Order</span>
            <select
              value={orderOf(rows[0], chosen).label}
              onChange={(event) => setChosen(event.target.value)}
            >
              {ordersOf(rows[0]).map(({ label }) => (
                <option key={label}>{label}</option>
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
          label={title}
          selected={selected}
          onSelect={setSelected}
        />
      </section>
      {mapped && (
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
      )}
    </main>
  );
}
