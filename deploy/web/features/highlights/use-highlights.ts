"use client";
import { useSyncExternalStore } from "react";
import { type FreshById, highlightsOf } from "./highlights";
import type { PropertyStore } from "@/lib/bridge/store";

/** What has just changed, by property id. */
export function useHighlights(store: PropertyStore): FreshById {
  const { subscribe, getSnapshot } = highlightsOf(store);
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}
