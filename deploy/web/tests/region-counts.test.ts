import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RegionCounts, totalOf, type RegionCount } from "@/features/listings/region-counts";
import type { BridgeClient } from "@/lib/bridge/client";
import type { PropertyRow } from "@/lib/bridge/contract";
import { Emitter } from "@/lib/bridge/observable";
import type { Change } from "@/lib/bridge/store";

const ROW = { property_id: "1", state: "TX" } as PropertyRow;

let hidden: { hidden: boolean };
beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", (hidden = { hidden: false }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Counts that are attached to a connected client; the test answers its requests. */
function attached(columns?: string[]) {
  const listeners = new Map<string, (reason?: string) => void>();
  const socket = {
    connected: true,
    on: (name: string, listener: () => void) => listeners.set(name, listener),
    off: (name: string) => listeners.delete(name),
  };
  const requests: { path: string; answer: (counts: RegionCount[] | number) => void }[] = [];
  const get = (path: string) =>
    new Promise<Response>((resolve) => {
      const answer = (counts: RegionCount[] | number) =>
        resolve(
          typeof counts === "number"
            ? new Response("{}", { status: counts })
            : Response.json(counts),
        );
      requests.push({ path, answer });
    });
  const changes = new Emitter<Change>();
  const regionCounts = new RegionCounts([], columns);
  const stop = regionCounts.attach(
    { socket, get } as unknown as Pick<BridgeClient, "socket" | "get">,
    { changes },
  );
  const emit = (change: Partial<Change>) =>
    changes.emit({ kind: "updated", row: ROW, changes: {}, fromEvent: true, ...change });
  return {
    requests,
    stop,
    emit,
    socket,
    counts: () => regionCounts.counts.getSnapshot(),
    receive: (name: string, reason?: string) => listeners.get(name)?.(reason),
  };
}

const TX_2 = [{ region: "TX", count: 2 }];
const TX_3 = [{ region: "TX", count: 3 }];
const settle = () => vi.advanceTimersByTimeAsync(0);

test("counts are read from the bridge", async () => {
  const { requests, counts } = attached();
  expect(requests.map(({ path }) => path)).toEqual(["/regions"]);
  requests[0]!.answer(TX_2);
  await settle();
  expect(counts()).toEqual(TX_2);
});

test("created, deleted and moved rows are counted within a second, together", async () => {
  const { requests, emit, counts } = attached();
  emit({ kind: "created" });
  emit({ kind: "deleted" });
  emit({ changes: { state: { old: "CA", new: "TX" } } });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(requests).toHaveLength(2);
  requests[1]!.answer(TX_3);
  await settle();
  expect(counts()).toEqual(TX_3);
});

test("change that leaves the row in its region is not counted", async () => {
  const { requests, emit } = attached();
  emit({ changes: { price: { old: 1, new: 2 } } });
  emit({ kind: "created", fromEvent: false }); // of a snapshot
  await vi.advanceTimersByTimeAsync(1_000);
  expect(requests).toHaveLength(1);
});

test("counts of other regions are read again after seconds, unless the tab is hidden", async () => {
  const { requests } = attached();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(requests).toHaveLength(2);
  hidden.hidden = true;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(2);
});

test("counts are not read while disconnected, and at once after the next connect", async () => {
  const { requests, socket, receive } = attached();
  socket.connected = false;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
  socket.connected = true;
  receive("connect");
  expect(requests).toHaveLength(2);
});

test("counts stay when the bridge rejects the request", async () => {
  const { requests, counts } = attached();
  requests[0]!.answer(TX_2);
  await vi.advanceTimersByTimeAsync(5_000);
  requests[1]!.answer(503);
  await settle();
  expect(counts()).toEqual(TX_2);
});

test("counts of the user before are dropped, also those under way", async () => {
  const { requests, counts, receive } = attached();
  requests[0]!.answer(TX_2);
  await vi.advanceTimersByTimeAsync(5_000);
  receive("disconnect", "io client disconnect");
  expect(counts()).toEqual([]);
  requests[1]!.answer(TX_3);
  await settle();
  expect(counts()).toEqual([]);
});

test("lost connection keeps the counts", async () => {
  const { requests, counts, receive } = attached();
  requests[0]!.answer(TX_2);
  await settle();
  receive("disconnect", "transport close");
  expect(counts()).toEqual(TX_2);
});

test("detached counts are not read again", async () => {
  const { requests, emit, stop } = attached();
  emit({ kind: "created" });
  stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
});

test("total counts a row once, not in each of its regions", () => {
  const counts = [...TX_3, { region: "TX/Austin", count: 2 }, { region: "CA", count: 1 }];
  expect(totalOf(counts)).toBe(4);
});

test.each([
  ["town", 2],
  ["state", 1],
])("change of %s counts where the region is another column", async (column, requested) => {
  const { requests, emit } = attached(["town"]);
  requests[0]!.answer(TX_2);
  await settle();
  emit({ changes: { [column]: { old: "a", new: "b" } } });
  await vi.advanceTimersByTimeAsync(300);
  expect(requests).toHaveLength(requested);
});
