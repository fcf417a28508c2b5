import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { formatRegion, regionsOf } from "@/lib/bridge/regions";

/** The bridge's own tests run the same cases. */
const CASES = JSON.parse(
  readFileSync(new URL("../../../tests/support/regions.json", import.meta.url), "utf-8"),
) as { row: Record<string, never>; columns: string[]; regions: string[] }[];

test.each(CASES)("regions of $row are $regions", ({ row, columns, regions }) => {
  expect(regionsOf(row, columns)).toEqual(regions);
});

test.each([
  ["TX/Austin", "TX/Austin"],
  ["N%2FA", "N/A"],
  ["N%252FA", "N%2FA"],
  ["100%", "100%"],
])("region %s is shown as %s", (region, shown) => {
  expect(formatRegion(region)).toBe(shown);
});
