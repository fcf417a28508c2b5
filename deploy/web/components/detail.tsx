"use client";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useEffect, useState } from "react";
import { show } from "@/lib/format";
import { PropertyProvider, useProperties } from "@/lib/properties";
import type { Listing, News } from "@/lib/store";
import { Field } from "./listing";
import styles from "./detail.module.css";

const ListingMap = dynamic(() => import("./map"), { ssr: false });
const FIRST = ["status", "units", "address", "city", "state", "latitude", "longitude", "created_at"];
const APART = new Set(["property_id", "name", "price", ...FIRST]);
const KEPT = 30;

/** One property, and nothing but its events. */
export function Detail({ id }: { id: string }) {
  return (
    <PropertyProvider properties={[id]}>
      <View id={id} />
    </PropertyProvider>
  );
}

function View({ id }: { id: string }) {
  const { listings, ready, error } = useProperties();
  const history = useHistory();
  const listing = listings.find((each) => each.id === id);
  return (
    <main className={styles.main} data-testid="listings" data-ready={ready} data-count={listings.length}>
      <Link href="/" className={styles.back}>← All listings</Link>
      {error ? (
        <div className={styles.message} data-testid="error" role="alert"><h1>This listing can’t be shown</h1><p>{error.message}</p></div>
      ) : listing ? (
        <Sheet listing={listing} ready={ready} />
      ) : ready ? (
        <div className={styles.message} data-testid="empty"><h1>Not listed</h1><p>There is no such property, or it is gone. If it comes back, it shows up here.</p></div>
      ) : (
        <div className={styles.skeleton} data-testid="loading" role="status" aria-label="Loading the listing" />
      )}
      {history.length > 0 && (
        <section className={styles.history}>
          <h2>While you watched</h2>
          <ol>
            {history.map(({ at, what }, index) => <li key={history.length - index}><time>{at}</time><span>{what}</span></li>)}
          </ol>
        </section>
      )}
    </main>
  );
}

function Sheet({ listing, ready }: { listing: Listing; ready: boolean }) {
  const { row } = listing;
  const columns = [...FIRST, ...Object.keys(row).filter((column) => !APART.has(column))].filter((column) => column in row);
  return (
    <article className={styles.sheet} data-testid="listing" data-property-id={listing.id}>
      <div className={styles.head}>
        <h1><Field listing={listing} column="name" /></h1>
        <Field listing={listing} column="price" className={styles.price} />
      </div>
      <dl className={styles.facts}>
        {columns.map((column) => (
          <div key={column}>
            <dt>{column.replaceAll("_", " ")}</dt>
            <dd><Field listing={listing} column={column} /></dd>
          </div>
        ))}
      </dl>
      <div className={styles.map}>
        <ListingMap listings={[listing]} ready={ready} place={listing.id} selected={null} />
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
  useEffect(() => store.onNews((news) => {
    const at = new Date().toLocaleTimeString();
    setHistory((before) => [...said(news).map((what) => ({ at, what })), ...before].slice(0, KEPT));
  }), [store]);
  return history;
}

function said({ kind, changes }: News): string[] {
  if (kind === "created") return ["Listed"];
  if (kind === "deleted") return ["No longer listed"];
  return Object.entries(changes).map(([column, { old, new: now }]) => `${column.replaceAll("_", " ")}: ${show(column, old)} → ${show(column, now)}`);
}
