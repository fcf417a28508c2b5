import { expect, test } from "vitest";
import { otherColumns, placeColumns } from "@/features/listings/card-columns";
import type { PropertyRow } from "@/lib/bridge/contract";

function row(...columns: string[]): PropertyRow {
  return Object.fromEntries(["property_id", ...columns].map((each) => [each, null])) as never;
}

const DOCUMENTED = row(
  ...["name", "city", "state", "price", "units", "latitude", "longitude", "created_at"],
  ...["address", "status"],
);

test("documented table has its place and no columns by name", () => {
  const place = placeColumns(DOCUMENTED, ["state"]);
  expect(place).toEqual(["city", "state"]);
  expect(otherColumns(DOCUMENTED, place)).toEqual([]);
});

test("table without documented columns shows its own by name", () => {
  const own = row("title", "rent", "kind", "rooms", "floor", "area", "heating");
  expect(placeColumns(own, ["state"])).toEqual([]);
  expect(otherColumns(own, [])).toEqual(["title", "rent", "kind", "rooms", "floor", "area"]);
});

test("place of another table is that of its region, narrowest first", () => {
  const own = row("country", "town", "rent");
  const place = placeColumns(own, ["country", "town"]);
  expect(place).toEqual(["town", "country"]);
  expect(otherColumns(own, place)).toEqual(["rent"]);
});

test("columns by name leave room for those with a place", () => {
  const own = row("state", "price", "a", "b", "c");
  expect(otherColumns(own, ["state"])).toEqual(["a", "b"]);
});
