import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { Scope } from "@/lib/bridge/store";
import { BridgeModel } from "./bridge-model";

const TX: Scope = { regions: ["TX"] };
const CA: Scope = { regions: ["CA"] };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function row(id: string, more: Partial<PropertyRow> = {}): PropertyRow {
  return {
    property_id: id,
    name: `House ${id}`,
    city: null,
    state: "TX",
    price: 100,
    units: 4,
    latitude: null,
    longitude: null,
    created_at: null,
    address: null,
    status: "available",
    ...more,
  };
}

function sorted(rows: readonly PropertyRow[]): PropertyRow[] {
  return [...rows].sort((a, b) => (String(a.property_id) < String(b.property_id) ? -1 : 1));
}

function expectEqual(bridge: BridgeModel, scope: Scope): void {
  expect(sorted(bridge.feed.store.rows())).toEqual(sorted(bridge.rows(scope)));
}

/** A connected client that shows `scope` of a table with these rows. */
function connectedModel(scope: Scope, ...rows: PropertyRow[]): BridgeModel {
  const bridge = new BridgeModel();
  for (const each of rows) bridge.create(each);
  bridge.show(scope);
  bridge.handshake();
  bridge.connect(false);
  bridge.settle();
  return bridge;
}

test("feed requests all pages of the scope, which the handshake subscribed to", () => {
  const rows = ["1", "2", "3", "4", "5"].map((id) => row(id));
  const bridge = connectedModel(TX, ...rows, row("6", { state: "CA" }));
  expectEqual(bridge, TX);
  expect(bridge.feed.store.isReady()).toBe(true);
  expect(bridge.requests).toEqual([
    { regions: ["TX"], snapshot: true, after: null },
    { regions: ["TX"], snapshot: true, after: "2" },
    { regions: ["TX"], snapshot: true, after: "4" },
  ]);
});

test("feed ignores the ack and the events of the region shown before", () => {
  const bridge = connectedModel(TX, row("1"), row("2", { state: "CA" }));
  bridge.show({ regions: ["CA"] });
  bridge.handleRequest(); // unsubscribe
  bridge.handleRequest(); // subscribe: its ack is in transit
  const ny = { regions: ["NY"] };
  bridge.show(ny);
  bridge.settle();
  bridge.update("2", { price: 1 });
  bridge.settle();
  expect(bridge.feed.store.rows()).toEqual([]);
  expect(bridge.feed.store.isReady()).toBe(true);
});

test("recovered connect applies missed events and requests no snapshot", () => {
  const bridge = connectedModel(TX, row("1"), row("2"));
  const requests = bridge.requests.length;
  bridge.disconnect();
  bridge.update("1", { price: 5 });
  bridge.delete("2");
  bridge.connect(true);
  bridge.settle();
  expectEqual(bridge, TX);
  expect(bridge.requests).toHaveLength(requests);
});

test("connect without recovery reads a new snapshot", () => {
  const bridge = connectedModel(TX, row("1"), row("2"), row("3"));
  bridge.disconnect();
  bridge.update("1", { price: 5 });
  bridge.delete("2");
  bridge.create(row("0"));
  bridge.loseLog();
  bridge.handshake();
  bridge.connect(false);
  bridge.settle();
  expectEqual(bridge, TX);
});

test("rows are dropped when the user changes, and read again", () => {
  const bridge = connectedModel(TX, row("1"));
  bridge.disconnect("io client disconnect");
  expect(bridge.feed.store.rows()).toEqual([]);
  bridge.handshake();
  bridge.connect(false);
  bridge.settle();
  expectEqual(bridge, TX);
});

test("incomplete snapshot is restarted after a recovered connect", () => {
  const bridge = connectedModel(TX);
  for (const id of ["1", "2", "3", "4", "5"]) bridge.create(row(id));
  bridge.settle();
  bridge.show({ regions: ["TX"] });
  bridge.handleRequest();
  bridge.handleRequest();
  bridge.deliver();
  bridge.deliver(); // the first page
  bridge.disconnect();
  bridge.delete("1");
  bridge.connect(true);
  bridge.settle();
  expectEqual(bridge, TX);
  expect(bridge.feed.store.isReady()).toBe(true);
});

test("region chosen while disconnected replaces the old one after recovery", () => {
  const bridge = connectedModel(TX, row("1"), row("2", { state: "CA" }));
  bridge.disconnect();
  bridge.show(CA);
  bridge.connect(true);
  bridge.settle();
  bridge.update("1", { price: 3 });
  bridge.create(row("9"));
  bridge.settle();
  expectEqual(bridge, CA);
});

test("scope shown again synchronously is not read again", () => {
  const bridge = connectedModel(TX, row("1"));
  const requests = bridge.requests.length;
  const leave = bridge.show(TX);
  leave();
  bridge.show(TX);
  vi.runAllTimers();
  bridge.settle();
  expect(bridge.requests).toHaveLength(requests);
});

test("feed unsubscribes when its view ends", () => {
  const bridge = connectedModel(TX, row("1"));
  bridge.show(TX)();
  vi.runAllTimers();
  bridge.settle();
  bridge.update("1", { price: 3 });
  expect(bridge.deliver()).toBe(false);
  expect(bridge.feed.store.rows()).toEqual([]);
});

test("feed shows a view from its start to its end", () => {
  const bridge = connectedModel(TX, row("1"));
  expect(bridge.feed.showing.getSnapshot()).toBe(true);
  bridge.show(TX)();
  vi.runAllTimers();
  expect(bridge.feed.showing.getSnapshot()).toBe(false);
});

test("second view at once takes over with an error, and is not ended by the first one", () => {
  const logged = vi.spyOn(console, "error").mockImplementation(() => {});
  const bridge = connectedModel(TX, row("1"), row("2", { state: "CA" }));
  const endFirst = bridge.feed.show(TX);
  expect(logged).toHaveBeenCalledTimes(1);
  bridge.feed.show(CA);
  expect(logged).toHaveBeenCalledTimes(2);
  endFirst();
  vi.runAllTimers();
  bridge.settle();
  expectEqual(bridge, CA);
  expect(logged).toHaveBeenCalledTimes(2);
  logged.mockRestore();
});

test.each(["rate_limited", "not_ready"] as const)("%s is retried and not reported", (code) => {
  const bridge = new BridgeModel();
  bridge.create(row("1"));
  bridge.rejections = [code];
  bridge.show(TX);
  bridge.handshake();
  bridge.connect(false);
  bridge.settle();
  expect(bridge.feed.store.isReady()).toBe(false);
  expect(bridge.feed.error.getSnapshot()).toBeNull();
  vi.runAllTimers();
  bridge.settle();
  expectEqual(bridge, TX);
});

test("rate-limited unsubscribe is repeated", () => {
  const bridge = connectedModel(TX, row("1"), row("2", { state: "CA" }));
  bridge.rejections = ["rate_limited"]; // the unsubscribe
  bridge.show(CA);
  bridge.settle();
  expect(bridge.feed.store.isReady()).toBe(false);
  vi.runAllTimers();
  bridge.settle();
  bridge.create(row("3"));
  bridge.settle();
  expectEqual(bridge, CA);
});

test("forbidden region is reported until another scope is shown", () => {
  const bridge = connectedModel(TX, row("1"));
  bridge.rejections = ["region_forbidden", "region_forbidden"];
  bridge.show(CA);
  bridge.settle();
  expect(bridge.feed.error.getSnapshot()?.code).toBe("region_forbidden");
  vi.runAllTimers();
  expect(bridge.handleRequest()).toBe(false); // not retried
  bridge.show({ regions: ["TX"] });
  bridge.settle();
  expect(bridge.feed.error.getSnapshot()).toBeNull();
  expectEqual(bridge, TX);
});

/** A pseudo-random generator: the same numbers for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SCOPES: Scope[] = [{}, TX, CA, { regions: ["TX", "CA"] }, { properties: ["3"] }];
const STATES = ["TX", "CA", "NY"];

/** Make `steps` random steps, then deliver all messages. Return the model and the last scope. */
function randomWalk(seed: number, steps: number): { bridge: BridgeModel; scope: Scope } {
  const chance = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!;
  const bridge = new BridgeModel();
  let scope = pick(SCOPES);
  let handshaken = false;
  bridge.show(scope);
  for (let step = 0; step < steps; step += 1) {
    const roll = chance();
    const id = String(Math.floor(chance() * 9));
    if (roll < 0.35) {
      if (!bridge.table.has(id)) bridge.create(row(id, { state: pick(STATES) }));
      else if (chance() < 0.25) bridge.delete(id);
      else if (chance() < 0.3) bridge.update(id, { state: pick(STATES), price: step });
      else bridge.update(id, { price: step });
    } else if (roll < 0.6) bridge.handleRequest();
    else if (roll < 0.85) bridge.deliver();
    else if (roll < 0.9) {
      scope = pick(SCOPES);
      bridge.show(scope);
    } else if (roll < 0.93) bridge.rejections.push(chance() < 0.5 ? "rate_limited" : "not_ready");
    else if (roll < 0.96) vi.runAllTimers();
    else if (bridge.connected) {
      bridge.disconnect();
      handshaken = false;
    } else if (!handshaken) {
      bridge.handshake();
      handshaken = true;
    } else {
      const recovers = step > steps / 4 && chance() < 0.6;
      if (!recovers && chance() < 0.3) bridge.loseLog();
      bridge.connect(recovers);
    }
  }
  if (!bridge.connected) {
    bridge.handshake();
    bridge.connect(false);
  }
  bridge.rejections = [];
  bridge.settle();
  vi.runAllTimers();
  bridge.settle();
  return { bridge, scope };
}

test("view converges to the table after any sequence of steps", () => {
  for (let seed = 0; seed < 3_000; seed += 1) {
    const { bridge, scope } = randomWalk(seed, 150);
    expect(bridge.feed.store.isReady(), `seed ${seed}`).toBe(true);
    expect(sorted(bridge.feed.store.rows()), `seed ${seed}`).toEqual(sorted(bridge.rows(scope)));
  }
}, 60_000);
