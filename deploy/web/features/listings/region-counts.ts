// The regions with their numbers of listings, read from the bridge. No React.
import type { BridgeClient } from "@/lib/bridge/client";
import { Observable } from "@/lib/bridge/observable";
import type { Change, PropertyStore } from "@/lib/bridge/store";

export interface RegionCount {
  region: string;
  count: number;
}

/** Changes of regions outside of the view are not received as events: the counts are read again
 * after this time. An answer without a change is a 304. */
const REFRESH_MS = 5_000;
/** Changes of the view within this time are counted together. */
const COLLECT_MS = 300;

type Client = Pick<BridgeClient, "socket" | "get">;

export class RegionCounts {
  readonly counts: Observable<readonly RegionCount[]>;
  #request: AbortController | undefined;

  /** `columns`: those that make the region of a row. */
  constructor(
    initial: readonly RegionCount[] = [],
    private readonly columns: readonly string[] = ["state"],
  ) {
    this.counts = new Observable(initial);
  }

  /** Keep the counts up to date, with the rights of the client's user, until the returned function
   * is called. */
  attach(client: Client, store: Pick<PropertyStore, "changes">): () => void {
    const { socket } = client;
    let collecting: ReturnType<typeof setTimeout> | undefined;
    const refresh = () => {
      collecting = undefined;
      if (socket.connected && !document.hidden) void this.#read(client);
    };
    const onDisconnect = (reason: string) => {
      if (reason !== "io client disconnect") return;
      this.#request?.abort(); // the user changes: the answer has the rights of the user before
      this.counts.set([]);
    };
    const stopChanges = store.changes.subscribe((change) => {
      if (change.fromEvent && isCounted(change, this.columns))
        collecting ??= setTimeout(refresh, COLLECT_MS);
    });
    socket.on("connect", refresh);
    socket.on("disconnect", onDisconnect);
    const timer = setInterval(refresh, REFRESH_MS);
    refresh();
    return () => {
      stopChanges();
      socket.off("connect", refresh);
      socket.off("disconnect", onDisconnect);
      clearInterval(timer);
      clearTimeout(collecting);
      this.#request?.abort();
    };
  }

  async #read(client: Client): Promise<void> {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    try {
      const response = await client.get("/regions", request.signal);
      const counts = response.ok ? ((await response.json()) as RegionCount[]) : null;
      if (counts && !request.signal.aborted) this.counts.set(counts);
    } catch {
      // A network error or an abort: the counts before stay.
    }
  }
}

/** Whether the change adds a row to a region, removes or moves it. */
function isCounted({ kind, changes }: Change, columns: readonly string[]): boolean {
  return kind !== "updated" || columns.some((column) => column in changes);
}

/** Return the number of listings in all regions. Those in `TX/Austin` count in `TX` already. */
export function totalOf(counts: readonly RegionCount[]): number {
  return counts.reduce((sum, { region, count }) => (region.includes("/") ? sum : sum + count), 0);
}
