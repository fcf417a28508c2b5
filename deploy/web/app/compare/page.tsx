import type { Metadata } from "next";
import { Compare } from "@/features/compare/compare";
import { config } from "@/lib/config";
import { countRegions } from "@/features/listings/count-regions";

export const metadata: Metadata = { title: "Compare" };

export default async function Page({ searchParams }: PageProps<"/compare">) {
  const { left, right } = await searchParams;
  const { token } = await config();
  const regions = (await countRegions(token)) ?? [];
  const names = regions.map(({ region }) => region);
  const first = typeof left === "string" && left ? left : (names[0] ?? "TX");
  const second =
    typeof right === "string" && right ? right : (names.find((name) => name !== first) ?? "CA");
  return <Compare left={first} right={second} regions={regions} />;
}
