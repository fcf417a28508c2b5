"use client";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useEffect, useState } from "react";
import { formatColumn, formatValue } from "@/lib/format";
import { PropertyProvider, useProperties } from "@/lib/bridge/react";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { RecentChangesById } from "@/features/highlights/highlights";
import type { Change } from "@/lib/bridge/store";
import { useHighlights } from "@/features/highlights/react";
import { Rejection } from "@/features/connection/rejection";
import { hasLocation } from "@/features/map/points";
import { Field } from "@/features/listings/card";
import styles from "./detail.module.css";

const ListingMap = dynamic(() => import("@/features/map/map"), { ssr: false });
/** Columns that are shown first, in this order. */
const MAIN_COLUMNS = [
  "status",
  "units",
  "address",
  "city",
  "state",
  "latitude",
  "longitude",
  "created_at",
];
/** Columns that are not part of the further ones. */
const PLACED_COLUMNS = new Set(["property_id", "name", "price", ...MAIN_COLUMNS]);
const MAX_HISTORY = 30;

/** One property. The view subscribes to its events only. */
export function Detail({ id }: { id: string }) {
  return (
    <PropertyProvider properties={[id]}>
      <View key={id} id={id} />
    </PropertyProvider>
  );
}

function View({ id }: { id: string }) {
  const { rows, ready, error } = useProperties();
  const recent = useHighlights();
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
          <h1>This listing cannot be shown</h1>
          <Rejection error={error} />
        </div>
      ) : row ? (
        <Sheet row={row} recent={recent} ready={ready} />
      ) : ready ? (
        <div className={styles.message} data-testid="empty">
          <h1>Not listed</h1>
          <p>
            This property does not exist or is no longer listed. If it is listed again, it appears
            here.
          </p>
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
          <h2>Changes since this page was opened</h2>
          <ol>
            {history.map(({ at, text }, index) => (
              <li key={history.length - index}>
                <time>{at}</time>
                <span>{text}</span>
              </li>
            ))}
          </ol>
        </section>
      )}
    </main>
  );
}

function Sheet(props: { row: PropertyRow; recent: RecentChangesById; ready: boolean }) {
  const { row, recent, ready } = props;
  const id = String(row.property_id);
  const columns = [
    ...MAIN_COLUMNS,
    ...Object.keys(row).filter((column) => !PLACED_COLUMNS.has(column)),
  ].filter((column) => column in row);
  return (
    <article className={styles.sheet} data-testid="listing" data-property-id={id}>
      <div className={styles.head}>
        <h1>{"name" in row ? <Field row={row} recent={recent.get(id)} column="name" /> : id}</h1>
        {"price" in row && (
          <Field row={row} recent={recent.get(id)} column="price" className={styles.price} />
        )}
      </div>
      <dl className={styles.facts}>
        {columns.map((column) => (
          <div key={column}>
            <dt>{formatColumn(column)}</dt>
            <dd>
              <Field row={row} recent={recent.get(id)} column={column} />
            </dd>
          </div>
        ))}
      </dl>
      {hasLocation(row) && (
        <div className={styles.map}>
          <ListingMap rows={[row]} recent={recent} ready={ready} viewKey={id} selected={null} />
        </div>
      )}
    </article>
  );
}

interface HistoryEntry {
  at: string;
  text: string;
}

/** Return the changes of the view since the component was mounted, newest first. */
function useHistory(): readonly HistoryEntry[] {
  const { store } = useProperties();
  const [history, setHistory] = useState<readonly HistoryEntry[]>([]);
  useEffect(
    () =>
      store.changes.subscribe((change) => {
        const at = new Date().toLocaleTimeString();
        setHistory((before) =>
          [...describeChange(change).map((text) => ({ at, text })), ...before].slice(
            0,
            MAX_HISTORY,
          ),
        );
      }),
    [store],
  );
  return history;
}

function describeChange({ kind, changes }: Change): string[] {
  if (kind === "created") return ["Listed"];
  if (kind === "deleted") return ["No longer listed"];
  return Object.entries(changes).map(
    ([column, { old, new: now }]) =>
      `${formatColumn(column)}: ${formatValue(column, old)} → ${formatValue(column, now)}`,
  );
}
