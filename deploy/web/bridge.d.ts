import type { PropertyRow } from "./lib/bridge/contract";

declare global {
  interface Window {
    /** What the page holds, for tests and for the curious: lists show only what is in view. */
    __bridge?: {
      rows(): PropertyRow[];
      position(): string | null;
      sockets(): number;
      connects(): number;
    };
  }
}
