"use client";
import { createContext, useContext, useEffect, useState } from "react";
import { useObservable, usePropertyStore } from "@/lib/bridge/react";
import { Highlights, type RecentChangesById } from "./highlights";

const HighlightsContext = createContext<Highlights | null>(null);

/** Owns the highlights of the surrounding `SocketProvider`. */
export function HighlightsProvider({ children }: { children: React.ReactNode }) {
  const store = usePropertyStore();
  const [highlights] = useState(
    () => new Highlights((run, ms) => void setTimeout(run, ms), Date.now),
  );
  useEffect(() => highlights.attach(store), [highlights, store]);
  return <HighlightsContext value={highlights}>{children}</HighlightsContext>;
}

/** Return the fields that changed within the last seconds, by property id. */
export function useHighlights(): RecentChangesById {
  const highlights = useContext(HighlightsContext);
  if (!highlights) {
    throw new Error("expected a <HighlightsProvider> around this component, found none");
  }
  return useObservable(highlights.recent);
}
