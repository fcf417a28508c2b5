"use client";
import Link from "next/link";
import { memo } from "react";
import type { Json } from "@/lib/contract";
import { pathOf, perUnit, show, text } from "@/lib/format";
import type { Listing } from "@/lib/store";
import styles from "./listing.module.css";

/** A column's value; what has just changed lights up, and fades. */
export function Field({ listing, column, className }: { listing: Listing; column: string; className?: string | undefined }) {
  const value: Json = listing.row[column] ?? null;
  const fresh = listing.fresh[column];
  return (
    <span
      // A new key starts the fading anew.
      key={fresh?.at ?? 0}
      className={[className, fresh && styles.fresh].filter(Boolean).join(" ")}
      data-field={column}
      data-value={JSON.stringify(value)}
      data-old={fresh && JSON.stringify(fresh.old)}
    >
      {show(column, value)}
    </span>
  );
}

/** The newest change in words, or else what the price comes to. */
function Footer({ listing }: { listing: Listing }) {
  const [column, change] = Object.entries(listing.fresh).sort(([, a], [, b]) => b.at - a.at)[0] ?? [];
  if (column && change) {
    return (
      <p className={styles.change} key={change.at}>
        <span>{column.replaceAll("_", " ")}</span> <del>{show(column, change.old)}</del> → <ins>{show(column, change.new)}</ins>
      </p>
    );
  }
  const each = perUnit(listing.row);
  return (
    <p className={styles.facts}>
      {each && <span>{each} a unit</span>}
      <span>since {show("created_at", listing.row.created_at)}</span>
    </p>
  );
}

export const Card = memo(function Card(props: {
  listing: Listing;
  selected?: boolean;
  onSelect?: ((id: string) => void) | undefined;
}) {
  const { listing, selected = false, onSelect } = props;
  const { id, row } = listing;
  return (
    <article
      className={styles.card}
      data-testid="listing"
      data-property-id={id}
      data-selected={selected || undefined}
      data-status={text(row, "status")}
      onClick={onSelect && (() => onSelect(id))}
    >
      <div className={styles.top}>
        <h3 className={styles.name}>
          <Link href={pathOf(id)} prefetch={false} onFocus={onSelect && (() => onSelect(id))}>
            <Field listing={listing} column="name" />
          </Link>
        </h3>
        <Field listing={listing} column="status" className={styles.status} />
      </div>
      <p className={styles.place}>
        <Field listing={listing} column="city" />, <Field listing={listing} column="state" />
      </p>
      <p className={styles.money}>
        <Field listing={listing} column="price" className={styles.price} />
        <span className={styles.units}><Field listing={listing} column="units" /> units</span>
      </p>
      <Footer listing={listing} />
    </article>
  );
});
