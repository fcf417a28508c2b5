import type { Change } from "@/lib/bridge/store";
import { formatValue } from "@/lib/format";

/** Smallest price change that is shown, as a share of the old price. */
const MIN_PRICE_CHANGE = 0.01;

export interface ToastContent {
  /** Property id. */
  id: string;
  kind: "listed" | "removed" | "price down" | "price up" | "status changed";
  title: string;
  body: string;
}

/** Return the toast of a change; null if the change is not important enough for one. */
export function toToast({ kind, row, changes }: Change): ToastContent | null {
  const id = String(row.property_id);
  const name = row.name ?? id;
  const place = [row.city, row.state].filter(Boolean).join(", ");
  if (kind === "created") {
    const price = "price" in row ? formatValue("price", row.price) : "";
    const body = [place, price].filter(Boolean).join(" · ");
    return { id, kind: "listed", title: `New: ${name}`, body };
  }
  if (kind === "deleted") {
    const body = [place, "no longer listed"].filter(Boolean).join(": ");
    return { id, kind: "removed", title: `Removed: ${name}`, body };
  }
  const { status, price } = changes;
  if (status) {
    const body = `${formatValue("status", status.old)} → ${formatValue("status", status.new)}`;
    return { id, kind: "status changed", title: name, body };
  }
  if (typeof price?.old !== "number" || typeof price.new !== "number") return null;
  if (Math.abs(price.new - price.old) < MIN_PRICE_CHANGE * price.old) return null;
  const percent = price.old
    ? ` (${((100 * (price.new - price.old)) / price.old).toFixed(1)} %)`
    : "";
  return {
    id,
    kind: price.new < price.old ? "price down" : "price up",
    title: name,
    body: `${formatValue("price", price.old)} → ${formatValue("price", price.new)}${percent}`,
  };
}

/** Count toasts by kind, in one line. */
export function summarize(toasts: readonly ToastContent[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of toasts) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, count]) => `${count} × ${kind}`).join(", ");
}
