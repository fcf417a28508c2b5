"use client";
import Link from "next/link";
import { Fragment, memo } from "react";
import type { Json, PropertyRow } from "@/lib/bridge/contract";
import type { RecentChanges } from "@/features/highlights/highlights";
import {
  formatColumn,
  formatPricePerUnit,
  formatValue,
  propertyPath,
  stringColumn,
} from "@/lib/format";
import { useRegionColumns } from "@/lib/columns";
import { otherColumns, placeColumns } from "./card-columns";
import styles from "./card.module.css";

/** A column's value, highlighted for a few seconds after a change. */
export function Field(props: {
  row: PropertyRow;
  recent: RecentChanges | undefined;
  column: string;
  className?: string | undefined;
}) {
  const { row, column, className } = props;
  const value: Json = row[column] ?? null;
  const change = props.recent?.[column];
  return (
    <span
      // A new key restarts the animation.
      key={change?.at ?? 0}
      className={[className, change && styles.highlight].filter(Boolean).join(" ")}
      data-field={column}
      data-value={JSON.stringify(value)}
      data-old={change && JSON.stringify(change.old)}
    >
      {formatValue(column, value)}
    </span>
  );
}

/** The newest recent change, or else the price per unit and the listing date. */
function Footer({ row, recent }: { row: PropertyRow; recent: RecentChanges | undefined }) {
  const [column, change] =
    Object.entries(recent ?? {}).sort(([, a], [, b]) => b.at - a.at)[0] ?? [];
  if (column && change) {
    return (
      <p className={styles.change} key={change.at}>
        <span>{formatColumn(column)}</span> <del>{formatValue(column, change.old)}</del> →{" "}
        <ins>{formatValue(column, change.new)}</ins>
      </p>
    );
  }
  const pricePerUnit = formatPricePerUnit(row);
  if (!pricePerUnit && !("created_at" in row)) return null;
  return (
    <p className={styles.facts}>
      {pricePerUnit && <span>{pricePerUnit} per unit</span>}
      {"created_at" in row && <span>listed {formatValue("created_at", row.created_at)}</span>}
    </p>
  );
}

/** Columns by name, where the table lacks those that a card has a place for. */
function Others(props: {
  row: PropertyRow;
  recent: RecentChanges | undefined;
  columns: readonly string[];
}) {
  const { row, recent, columns } = props;
  return (
    <dl className={styles.others}>
      {columns.map((column) => (
        <div key={column}>
          <dt>{formatColumn(column)}</dt>
          <dd>
            <Field row={row} recent={recent} column={column} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

export const Card = memo(function Card(props: {
  row: PropertyRow;
  recent: RecentChanges | undefined;
  selected?: boolean;
  onSelect?: ((id: string) => void) | undefined;
}) {
  const { row, recent, selected = false, onSelect } = props;
  const id = String(row.property_id);
  const place = placeColumns(row, useRegionColumns());
  const others = otherColumns(row, place);
  return (
    <article
      className={styles.card}
      data-testid="listing"
      data-property-id={id}
      data-selected={selected || undefined}
      data-status={stringColumn(row, "status")}
      onClick={onSelect && (() => onSelect(id))}
    >
      <h3 className={styles.name}>
        <Link href={propertyPath(id)} prefetch={false} onFocus={onSelect && (() => onSelect(id))}>
          {"name" in row ? <Field row={row} recent={recent} column="name" /> : id}
        </Link>
      </h3>
      {(place.length > 0 || "status" in row) && (
        <p className={styles.place}>
          <span className={styles.where}>
            {place.map((column, index) => (
              <Fragment key={column}>
                {index > 0 && ", "}
                <Field row={row} recent={recent} column={column} />
              </Fragment>
            ))}
          </span>
          {"status" in row && (
            <Field row={row} recent={recent} column="status" className={styles.status} />
          )}
        </p>
      )}
      {others.length > 0 && <Others row={row} recent={recent} columns={others} />}
      {("price" in row || "units" in row) && (
        <p className={styles.money}>
          {"price" in row && (
            <Field row={row} recent={recent} column="price" className={styles.price} />
          )}
          {"units" in row && (
            <span className={styles.units}>
              <Field row={row} recent={recent} column="units" /> units
            </span>
          )}
        </p>
      )}
      <Footer row={row} recent={recent} />
    </article>
  );
});
