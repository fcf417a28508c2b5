import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { Scope } from "@/lib/bridge/store";
import { Bridge } from "./bridge-model";

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
    status: "available",
    ...more,
  };
}

function sorted(rows: readonly PropertyRow[]): PropertyRow[] {
  return [...rows].sort((a, b) => (String(a.property_id) < String(b.property_id) ? -1 : 1));
}

function equal(bridge: Bridge, scope: Scope): void {
  expect(sorted(bridge.feed.store.rows())).toEqual(sorted(bridge.rows(scope)));
}

function shown(scope: Scope, ...rows: PropertyRow[]): Bridge {
  const bridge = new Bridge();
  for (const each of rows) bridge.create(each);
  bridge.feed.show(scope);
  bridge.offer();
  bridge.connect(false);
  bridge.settle();
  return bridge;
}

test("all pages and nothing of elsewhere are shown, and the handshake named the region", () => {
  const rows = ["1", "2", "3", "4", "5"].map((id) => row(id));
  const bridge = shown(TX, ...rows, row("6", { state: "CA" }));
  equal(bridge, TX);
  expect(bridge.feed.store.isReady()).toBe(true);
  expect(bridge.requests).toEqual([
    { regions: ["TX"], snapshot: true, after: null },
    { regions: ["TX"], snapshot: true, after: "2" },
    { regions: ["TX"], snapshot: true, after: "4" },
  ]);
});

test("the answer for the region before is passed over, and nothing of it comes any more", () => {
  const bridge = shown(TX, row("1"), row("2", { state: "CA" }));
  bridge.feed.show({ regions: ["CA"] });
  bridge.take(); // unsubscribe
  bridge.take(); // subscribe: its answer is under way
  const ny = { regions: ["NY"] };
  bridge.feed.show(ny);
  bridge.settle();
  bridge.update("2", { price: 1 });
  bridge.settle();
  expect(bridge.feed.store.rows()).toEqual([]);
  expect(bridge.feed.store.isReady()).toBe(true);
});

test("a recovered connect reads nothing anew and applies what was missed", () => {
  const bridge = shown(TX, row("1"), row("2"));
  const asked = bridge.requests.length;
  bridge.disconnect();
  bridge.update("1", { price: 5 });
  bridge.delete("2");
  bridge.connect(true);
  bridge.settle();
  equal(bridge, TX);
  expect(bridge.requests).toHaveLength(asked);
});

test("a connect that did not recover reads everything anew", () => {
  const bridge = shown(TX, row("1"), row("2"), row("3"));
  bridge.disconnect();
  bridge.update("1", { price: 5 });
  bridge.delete("2");
  bridge.create(row("0"));
  bridge.forget();
  bridge.offer();
  bridge.connect(false);
  bridge.settle();
  equal(bridge, TX);
});

test("what one user saw is gone when another one comes, and is read anew", () => {
  const bridge = shown(TX, row("1"));
  bridge.disconnect("io client disconnect");
  expect(bridge.feed.store.rows()).toEqual([]);
  bridge.offer();
  bridge.connect(false);
  bridge.settle();
  equal(bridge, TX);
});

test("a snapshot that was cut short begins anew, although the connection recovered", () => {
  const bridge = shown(TX);
  for (const id of ["1", "2", "3", "4", "5"]) bridge.create(row(id));
  bridge.settle();
  bridge.feed.show({ regions: ["TX"] });
  bridge.take();
  bridge.take();
  bridge.hear();
  bridge.hear(); // the first page
  bridge.disconnect();
  bridge.delete("1");
  bridge.connect(true);
  bridge.settle();
  equal(bridge, TX);
  expect(bridge.feed.store.isReady()).toBe(true);
});

test("another region chosen while away is shown after the recovery, and the former one left", () => {
  const bridge = shown(TX, row("1"), row("2", { state: "CA" }));
  bridge.disconnect();
  bridge.feed.show(CA);
  bridge.connect(true);
  bridge.settle();
  bridge.update("1", { price: 3 });
  bridge.create(row("9"));
  bridge.settle();
  equal(bridge, CA);
});

test("what is shown again in the same breath is not read anew", () => {
  const bridge = shown(TX, row("1"));
  const asked = bridge.requests.length;
  const leave = bridge.feed.show(TX);
  leave();
  bridge.feed.show(TX);
  vi.runAllTimers();
  bridge.settle();
  expect(bridge.requests).toHaveLength(asked);
});

test("who shows nothing any more hears nothing any more", () => {
  const bridge = shown(TX, row("1"));
  bridge.feed.show(TX)();
  vi.runAllTimers();
  bridge.settle();
  bridge.update("1", { price: 3 });
  expect(bridge.hear()).toBe(false);
  expect(bridge.feed.store.rows()).toEqual([]);
});

test.each(["rate_limited", "not_ready"] as const)("%s is no error: it is asked again", (code) => {
  const bridge = new Bridge();
  bridge.create(row("1"));
  bridge.refusals = [code];
  bridge.feed.show(TX);
  bridge.offer();
  bridge.connect(false);
  bridge.settle();
  expect(bridge.feed.store.isReady()).toBe(false);
  expect(bridge.feed.getError()).toBeNull();
  vi.runAllTimers();
  bridge.settle();
  equal(bridge, TX);
});

test("a region that was not left for lack of allowance is left later", () => {
  const bridge = shown(TX, row("1"), row("2", { state: "CA" }));
  bridge.refusals = ["rate_limited"]; // the unsubscribe
  bridge.feed.show(CA);
  bridge.settle();
  expect(bridge.feed.store.isReady()).toBe(false);
  vi.runAllTimers();
  bridge.settle();
  bridge.create(row("3"));
  bridge.settle();
  equal(bridge, CA);
});

test("a forbidden region is an error, until another one is shown", () => {
  const bridge = shown(TX, row("1"));
  bridge.refusals = ["region_forbidden", "region_forbidden"];
  bridge.feed.show(CA);
  bridge.settle();
  expect(bridge.feed.getError()?.code).toBe("region_forbidden");
  vi.runAllTimers();
  expect(bridge.take()).toBe(false); // it is not asked again
  bridge.feed.show({ regions: ["TX"] });
  bridge.settle();
  expect(bridge.feed.getError()).toBeNull();
  equal(bridge, TX);
});

/** Numbers that are the same for the same seed. */
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

/** A story of `steps` steps, after which everything arrives; gives what was shown last. */
function story(seed: number, steps: number): { bridge: Bridge; scope: Scope } {
  const chance = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!;
  const bridge = new Bridge();
  let scope = pick(SCOPES);
  let offered = false;
  bridge.feed.show(scope);
  for (let step = 0; step < steps; step += 1) {
    const what = chance();
    const id = String(Math.floor(chance() * 9));
    if (what < 0.35) {
      if (!bridge.table.has(id)) bridge.create(row(id, { state: pick(STATES) }));
      else if (chance() < 0.25) bridge.delete(id);
      else if (chance() < 0.3) bridge.update(id, { state: pick(STATES), price: step });
      else bridge.update(id, { price: step });
    } else if (what < 0.6) bridge.take();
    else if (what < 0.85) bridge.hear();
    else if (what < 0.9) {
      scope = pick(SCOPES);
      bridge.feed.show(scope);
    } else if (what < 0.93) bridge.refusals.push(chance() < 0.5 ? "rate_limited" : "not_ready");
    else if (what < 0.96) vi.runAllTimers();
    else if (bridge.connected) {
      bridge.disconnect();
      offered = false;
    } else if (!offered) {
      bridge.offer();
      offered = true;
    } else {
      const recovers = step > steps / 4 && chance() < 0.6;
      if (!recovers && chance() < 0.3) bridge.forget();
      bridge.connect(recovers);
    }
  }
  if (!bridge.connected) {
    bridge.offer();
    bridge.connect(false);
  }
  bridge.refusals = [];
  bridge.settle();
  vi.runAllTimers();
  bridge.settle();
  return { bridge, scope };
}

test("whatever happens in between, a view ends equal to the table", () => {
  for (let seed = 0; seed < 3_000; seed += 1) {
    const { bridge, scope } = story(seed, 150);
    expect(bridge.feed.store.isReady(), `seed ${seed}`).toBe(true);
    expect(sorted(bridge.feed.store.rows()), `seed ${seed}`).toEqual(sorted(bridge.rows(scope)));
  }
});
