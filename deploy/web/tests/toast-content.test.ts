import { expect, test } from "vitest";
import { summarize, toToast } from "@/features/notifications/toast-content";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { Change } from "@/lib/bridge/store";

const ROW: PropertyRow = {
  property_id: 1,
  name: "Oak View",
  city: "Austin",
  state: "TX",
  price: 90,
  units: 4,
  latitude: null,
  longitude: null,
  created_at: null,
  address: null,
  status: null,
};

function change(changes: Change["changes"], kind: Change["kind"] = "updated"): Change {
  return { kind, row: ROW, changes, fromEvent: true };
}

test.each([
  ["new listing", change({}, "created"), "listed"],
  ["deleted listing", change({}, "deleted"), "removed"],
  ["changed status", change({ status: { old: "available", new: "sold" } }), "status changed"],
  ["lower price", change({ price: { old: 100, new: 90 } }), "price down"],
  ["higher price", change({ price: { old: 90, new: 100 } }), "price up"],
])("%s has a toast", (_case, change, kind) => {
  expect(toToast(change)?.kind).toBe(kind);
});

test.each([
  ["price change below one percent", change({ price: { old: 1000, new: 999 } })],
  ["price change from null", change({ price: { old: null, new: 999 } })],
  ["changed name", change({ name: { old: "Oak", new: "Oak View" } })],
])("%s has no toast", (_case, change) => {
  expect(toToast(change)).toBeNull();
});

test("summarize counts toasts by kind in one line", () => {
  const changes = [
    change({ price: { old: 100, new: 90 } }),
    change({ price: { old: 80, new: 60 } }),
    change({}, "created"),
  ];
  expect(summarize(changes.map((each) => toToast(each)!))).toBe("2 × price down, 1 × listed");
});
