"use client";
import { useSyncExternalStore } from "react";
import { type FreshById, highlightsOf } from "@/lib/highlights";
import type { PropertyStore } from "@/lib/store";

/** What has just changed, by property id. */
export function useHighlights(store: PropertyStore): FreshById {
  const { subscribe, getSnapshot } = highlightsOf(store);
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}
