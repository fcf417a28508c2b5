import { expect, test } from "vitest";
import { fold, important } from "@/features/notifications/toasts";
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
};

function change(changes: Change["changes"], kind: Change["kind"] = "updated"): Change {
  return { kind, row: ROW, changes, live: true };
}

test.each([
  ["a new listing", change({}, "created"), "listed"],
  ["a listing that is gone", change({}, "deleted"), "gone"],
  ["another status", change({ status: { old: "available", new: "sold" } }), "status changed"],
  ["a lower price", change({ price: { old: 100, new: 90 } }), "price down"],
  ["a higher price", change({ price: { old: 90, new: 100 } }), "price up"],
])("%s is worth a toast", (_what, told, about) => {
  expect(important(told)?.about).toBe(about);
});

test.each([
  ["a price that moves by less than a percent", change({ price: { old: 1000, new: 999 } })],
  ["a price that was not known", change({ price: { old: null, new: 999 } })],
  ["another name", change({ name: { old: "Oak", new: "Oak View" } })],
])("%s is not", (_what, told) => {
  expect(important(told)).toBeNull();
});

test("many are folded into one line that counts them", () => {
  const lines = [
    change({ price: { old: 100, new: 90 } }),
    change({ price: { old: 80, new: 60 } }),
    change({}, "created"),
  ];
  expect(fold(lines.map((each) => important(each)!))).toBe("2 × price down, 1 × listed");
});
