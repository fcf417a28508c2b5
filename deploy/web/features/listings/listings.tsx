"use client";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import type { PropertyRow, RefusalReason } from "@/lib/bridge/contract";
import type { RecentChangesById } from "@/features/highlights/highlights";
import { Rejection } from "@/features/connection/rejection";
import { useSocket } from "@/lib/bridge/react";
import { Card } from "./card";
import styles from "./listings.module.css";

const MIN_CARD_PX = 300;
/** Height of a row of cards with its gap, the same for all rows. */
const ROW_PX = 160;
/** Time without a connection after which the page shows a message. */
const SLOW_CONNECT_MS = 4_000;

/** The cards of a view. Virtualised: only rows in or near the viewport are rendered. */
export function Listings(props: {
  rows: readonly PropertyRow[];
  recent: RecentChangesById;
  ready: boolean;
  error: RefusalReason | null;
  label: string;
  selected?: string | null;
  onSelect?: (id: string) => void;
}) {
  const { rows, recent, ready, error, label, selected = null, onSelect } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const columns = useColumns(scroller);
  // The React Compiler cannot memoise this library's objects; the library does so itself.
  // eslint-disable-next-line react-hooks/incompatible-library
  const virtual = useVirtualizer({
    count: Math.ceil(rows.length / columns),
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 4,
  });
  const selectedIndex = selected === null ? -1 : rows.findIndex((row) => idOf(row) === selected);
  useEffect(() => {
    if (selectedIndex >= 0)
      virtual.scrollToIndex(Math.floor(selectedIndex / columns), { align: "auto" });
    // Scroll when the selection changes, not when the list grows.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [selected]);
  return (
    <div
      ref={scroller}
      className={styles.scroller}
      data-testid="listings"
      data-ready={ready}
      data-count={rows.length}
      aria-label={label}
      role="region"
      tabIndex={-1}
    >
      {error && rows.length === 0 ? (
        <div className={styles.message} data-testid="error" role="alert">
          <h2>These listings cannot be shown</h2>
          <Rejection error={error} />
        </div>
      ) : rows.length === 0 && !ready ? (
        <Skeletons />
      ) : rows.length === 0 ? (
        <div className={styles.message} data-testid="empty">
          <h2>No listings here</h2>
          <p>New listings appear here as soon as they are published.</p>
        </div>
      ) : (
        <div className={styles.space} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start }) => (
            <div
              key={index}
              className={styles.row}
              style={{
                transform: `translateY(${start}px)`,
                gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
              }}
            >
              {rows.slice(index * columns, (index + 1) * columns).map((row) => (
                <Card
                  key={idOf(row)}
                  row={row}
                  recent={recent.get(idOf(row))}
                  selected={idOf(row) === selected}
                  onSelect={onSelect}
                />
              ))}
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

function idOf(row: PropertyRow): string {
  return String(row.property_id);
}

function Skeletons() {
  const { connected } = useSocket();
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), SLOW_CONNECT_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div data-testid="loading" role="status" aria-label="Loading listings">
      {slow && !connected && (
        <p className={styles.late}>Not connected yet. Retrying automatically.</p>
      )}
      <div className={styles.skeletons}>
        {Array.from({ length: 8 }, (_, index) => (
          <div key={index} className={styles.skeleton} />
        ))}
      </div>
    </div>
  );
}

/** Return how many cards fit side by side. */
function useColumns(scroller: React.RefObject<HTMLDivElement | null>): number {
  const [columns, setColumns] = useState(1);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() =>
      setColumns(Math.max(1, Math.floor(element.clientWidth / MIN_CARD_PX))),
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [scroller]);
  return columns;
}
