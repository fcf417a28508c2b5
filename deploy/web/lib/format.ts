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

/** A column's value as people read it. */
export function show(column: string, value: Json | undefined): string {
  if (value === null || value === undefined || value === "") return "–";
  if (column === "price" && typeof value === "number") return DOLLARS.format(value);
  if (column.endsWith("_at") && typeof value === "string") return day(value);
  if (typeof value === "number") return NUMBER.format(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function day(value: string): string {
  const time = Date.parse(value);
  return Number.isNaN(time) ? value : DAY.format(time);
}

export function perUnit(row: PropertyRow): string | null {
  return row.price !== null && row.units ? DOLLARS.format(row.price / row.units) : null;
}

/** The path of a property's page. */
export function pathOf(id: string): string {
  return `/properties/${encodeURIComponent(id)}`;
}

export function text(row: PropertyRow, column: string): string | null {
  const value = row[column];
  return typeof value === "string" ? value : null;
}

/** Seconds as people say them. */
export function age(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}
