"use client";
import { useEffect, useState } from "react";
import { useObservable, usePropertyStore, useSocket } from "@/lib/bridge/react";
import { useRegionColumns } from "@/lib/columns";
import { RegionCounts, type RegionCount } from "./region-counts";

/** Return the regions that the user may read with their numbers of listings; `initial` until they
 * are read. */
export function useRegionCounts(initial: readonly RegionCount[]): readonly RegionCount[] {
  const { client } = useSocket();
  const store = usePropertyStore();
  const columns = useRegionColumns();
  const [regionCounts] = useState(() => new RegionCounts(initial, columns));
  useEffect(() => regionCounts.attach(client, store), [regionCounts, client, store]);
  return useObservable(regionCounts.counts);
}
