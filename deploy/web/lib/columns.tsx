"use client";
// Which columns make the region of a row: the bridge's setting BRIDGE_REGION.
import { createContext, useContext } from "react";

const RegionColumnsContext = createContext<readonly string[]>(["state"]);

export function ColumnsProvider(props: { region: readonly string[]; children: React.ReactNode }) {
  return <RegionColumnsContext value={props.region}>{props.children}</RegionColumnsContext>;
}

/** Return the columns that make the region of a row, widest first. */
export function useRegionColumns(): readonly string[] {
  return useContext(RegionColumnsContext);
}
