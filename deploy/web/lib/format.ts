import type { Json, PropertyRow } from "./bridge/contract";

const DOLLARS = new Intl.NumberFormat("en-US", {
  style: "currency",
  currency: "USD",
  maximumFractionDigits: 0,
});
const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 5 });
const DAY = new Intl.DateTimeFormat("en-US", {
  year: "numeric",
  month: "short",
  day: "numeric",
  timeZone: "UTC",
});

/** Format a column's value for display. */
export function formatValue(column: string, value: Json | undefined): string {
  if (value === null || value === undefined || value === "") return "–";
  if (column === "price" && typeof value === "number") return DOLLARS.format(value);
  if (column.endsWith("_at") && typeof value === "string") return formatDay(value);
  if (typeof value === "number") return NUMBER.format(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function formatDay(value: string): string {
  const time = Date.parse(value);
  return Number.isNaN(time) ? value : DAY.format(time);
}

export function formatColumn(column: string): string {
  return column.replaceAll("_", " ");
}

export function formatPricePerUnit(row: PropertyRow): string | null {
  return row.price !== null && row.units ? DOLLARS.format(row.price / row.units) : null;
}

/** Format a duration in seconds, in its largest whole unit. */
export function formatAge(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** Return the path of a property's page. */
export function propertyPath(id: string): string {
  return `/properties/${encodeURIComponent(id)}`;
}

/** Return a column's value if it is a string. */
export function stringColumn(row: PropertyRow, column: string): string | null {
  const value = row[column];
  return typeof value === "string" ? value : null;
}
