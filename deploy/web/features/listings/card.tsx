"use client";
import Link from "next/link";
import { memo } from "react";
import type { Json, PropertyRow } from "@/lib/bridge/contract";
import { pathOf, perUnit, show, text } from "@/lib/format";
import type { Fresh } from "@/features/highlights/highlights";
import styles from "./card.module.css";

/** A column's value; what has just changed lights up, and fades. */
export function Field(props: {
  row: PropertyRow;
  fresh: Fresh | undefined;
  column: string;
  className?: string | undefined;
}) {
  const { row, column, className } = props;
  const value: Json = row[column] ?? null;
  const fresh = props.fresh?.[column];
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
function Footer({ row, fresh }: { row: PropertyRow; fresh: Fresh | undefined }) {
  const [column, change] = Object.entries(fresh ?? {}).sort(([, a], [, b]) => b.at - a.at)[0] ?? [];
  if (column && change) {
    return (
      <p className={styles.change} key={change.at}>
        <span>{column.replaceAll("_", " ")}</span> <del>{show(column, change.old)}</del> →{" "}
        <ins>{show(column, change.new)}</ins>
      </p>
    );
  }
  const each = perUnit(row);
  return (
    <p className={styles.facts}>
      {each && <span>{each} a unit</span>}
      <span>listed {show("created_at", row.created_at)}</span>
    </p>
  );
}

export const Card = memo(function Card(props: {
  row: PropertyRow;
  fresh: Fresh | undefined;
  selected?: boolean;
  onSelect?: ((id: string) => void) | undefined;
}) {
  const { row, fresh, selected = false, onSelect } = props;
  const id = String(row.property_id);
  return (
    <article
      className={styles.card}
      data-testid="listing"
      data-property-id={id}
      data-selected={selected || undefined}
      data-status={text(row, "status")}
      onClick={onSelect && (() => onSelect(id))}
    >
      <h3 className={styles.name}>
        <Link href={pathOf(id)} prefetch={false} onFocus={onSelect && (() => onSelect(id))}>
          <Field row={row} fresh={fresh} column="name" />
        </Link>
      </h3>
      <p className={styles.place}>
        <span className={styles.where}>
          <Field row={row} fresh={fresh} column="city" />,{" "}
          <Field row={row} fresh={fresh} column="state" />
        </span>
        <Field row={row} fresh={fresh} column="status" className={styles.status} />
      </p>
      <p className={styles.money}>
        <Field row={row} fresh={fresh} column="price" className={styles.price} />
        <span className={styles.units}>
          <Field row={row} fresh={fresh} column="units" /> units
        </span>
      </p>
      <Footer row={row} fresh={fresh} />
    </article>
  );
});
