"use client";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useEffect, useState } from "react";
import { show } from "@/lib/format";
import { PropertyProvider, useProperties } from "@/lib/bridge/properties";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { FreshById } from "@/features/highlights/highlights";
import type { Change } from "@/lib/bridge/store";
import { useHighlights } from "@/features/highlights/use-highlights";
import { Field } from "@/features/listings/card";
import styles from "./detail.module.css";

const ListingMap = dynamic(() => import("@/features/map/map"), { ssr: false });
const FIRST = [
  "status",
  "units",
  "address",
  "city",
  "state",
  "latitude",
  "longitude",
  "created_at",
];
const APART = new Set(["property_id", "name", "price", ...FIRST]);
const KEPT = 30;

/** One property, and nothing but its events. */
export function Detail({ id }: { id: string }) {
  return (
    <PropertyProvider properties={[id]}>
      <View key={id} id={id} />
    </PropertyProvider>
  );
}

function View({ id }: { id: string }) {
  const { rows, ready, error, store } = useProperties();
  const fresh = useHighlights(store);
  const history = useHistory();
  const row = rows.find((each) => String(each.property_id) === id);
  return (
    <main
      className={styles.main}
      data-testid="listings"
      data-ready={ready}
      data-count={rows.length}
    >
      <Link href="/" prefetch={false} className={styles.back}>
        ← All listings
      </Link>
      {error && !row ? (
        <div className={styles.message} data-testid="error" role="alert">
          <h1>This listing can’t be shown</h1>
          <p>{error.message}</p>
        </div>
      ) : row ? (
        <Sheet row={row} fresh={fresh} ready={ready} />
      ) : ready ? (
        <div className={styles.message} data-testid="empty">
          <h1>Not listed</h1>
          <p>There is no such property, or it is gone. If it comes back, it shows up here.</p>
        </div>
      ) : (
        <div
          className={styles.skeleton}
          data-testid="loading"
          role="status"
          aria-label="Loading the listing"
        />
      )}
      {history.length > 0 && (
        <section className={styles.history}>
          <h2>While you watched</h2>
          <ol>
            {history.map(({ at, what }, index) => (
              <li key={history.length - index}>
                <time>{at}</time>
                <span>{what}</span>
              </li>
            ))}
          </ol>
        </section>
      )}
    </main>
  );
}

function Sheet({ row, fresh, ready }: { row: PropertyRow; fresh: FreshById; ready: boolean }) {
  const id = String(row.property_id);
  const columns = [...FIRST, ...Object.keys(row).filter((column) => !APART.has(column))].filter(
    (column) => column in row,
  );
  return (
    <article className={styles.sheet} data-testid="listing" data-property-id={id}>
      <div className={styles.head}>
        <h1>
          <Field row={row} fresh={fresh.get(id)} column="name" />
        </h1>
        <Field row={row} fresh={fresh.get(id)} column="price" className={styles.price} />
      </div>
      <dl className={styles.facts}>
        {columns.map((column) => (
          <div key={column}>
            <dt>{column.replaceAll("_", " ")}</dt>
            <dd>
              <Field row={row} fresh={fresh.get(id)} column={column} />
            </dd>
          </div>
        ))}
      </dl>
      <div className={styles.map}>
        <ListingMap rows={[row]} fresh={fresh} ready={ready} place={id} selected={null} />
      </div>
    </article>
  );
}

interface Past {
  at: string;
  what: string;
}

function useHistory(): readonly Past[] {
  const { store } = useProperties();
  const [history, setHistory] = useState<readonly Past[]>([]);
  useEffect(
    () =>
      store.onChange((change) => {
        const at = new Date().toLocaleTimeString();
        setHistory((before) =>
          [...said(change).map((what) => ({ at, what })), ...before].slice(0, KEPT),
        );
      }),
    [store],
  );
  return history;
}

function said({ kind, changes }: Change): string[] {
  if (kind === "created") return ["Listed"];
  if (kind === "deleted") return ["No longer listed"];
  return Object.entries(changes).map(
    ([column, { old, new: now }]) =>
      `${column.replaceAll("_", " ")}: ${show(column, old)} → ${show(column, now)}`,
  );
}
