import { expect, test } from "vitest";
import type { PropertyRow, PropertyUpdated } from "@/lib/bridge/contract";
import { type Change, isOlder, PropertyStore, type Scope } from "@/lib/bridge/store";

const TX: Scope = { regions: ["TX"] };
const CA: Scope = { regions: ["CA"] };

function row(id: string, more: Partial<PropertyRow> = {}): PropertyRow {
  return {
    property_id: id,
    name: `House ${id}`,
    city: "Austin",
    state: "TX",
    price: 100,
    units: 4,
    latitude: 30,
    longitude: -97,
    created_at: "2026-01-01T00:00:00Z",
    status: "available",
    ...more,
  };
}

/** A store whose frames are run by hand. */
function made() {
  const frames: (() => void)[] = [];
  const store = new PropertyStore((run) => void frames.push(run));
  const told: Change[] = [];
  store.onChange((change) => told.push(change));
  return { store, told, frames, frame: () => frames.splice(0).forEach((run) => run()) };
}

function open(...rows: PropertyRow[]) {
  const all = made();
  all.store.begin(TX);
  all.store.page(rows, "h-10", true);
  return all;
}

function updated(
  id: string,
  changes: PropertyUpdated["data"]["changes"],
  more = {},
): PropertyUpdated {
  return {
    event: "property-updated",
    data: { property_id: id, changes, updated_at: "2026-02-01T00:00:00Z", ...more },
  };
}

test("positions of one history are compared by number, those of two not at all", () => {
  expect(isOlder("h-9", "h-10")).toBe(true);
  expect(isOlder("h-10", "h-10")).toBe(false);
  expect(isOlder("h-11", "h-10")).toBe(false);
  expect(isOlder("g-9", "h-10")).toBe(false);
  expect(isOlder("a-b-9", "a-b-10")).toBe(true);
  expect(isOlder("9", "10")).toBe(false);
});

test("an event before the first page changes nothing", () => {
  const { store } = made();
  store.begin(TX);
  store.hear({ event: "property-created", data: row("1") }, "h-5");
  expect(store.rows()).toEqual([]);
});

test("an update changes the columns that it names and no other", () => {
  const { store } = open(row("1"));
  store.hear(updated("1", { price: { old: 100, new: 90 } }), "h-11");
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
  expect(store.position()).toBe("h-11");
});

test("an event that is older than what is held changes nothing", () => {
  const { store } = open(row("1"));
  store.hear(updated("1", { price: { old: 120, new: 110 } }), "h-9");
  store.hear({ event: "property-deleted", data: { property_id: "1", deleted_at: "" } }, "h-3");
  expect(store.rows()).toEqual([row("1")]);
  expect(store.position()).toBe("h-10");
});

test("an update or delete of a property that is not known is passed over", () => {
  const { store } = open(row("1"));
  store.hear(updated("2", { price: { old: 100, new: 90 } }), "h-11");
  store.hear({ event: "property-deleted", data: { property_id: "3", deleted_at: "" } }, "h-12");
  expect(store.rows()).toEqual([row("1")]);
});

test("a number and a string name the same property", () => {
  const { store } = open(row("7"));
  store.hear({ event: "property-deleted", data: { property_id: 7, deleted_at: "" } }, "h-11");
  expect(store.rows()).toEqual([]);
});

test("a move to a region that isn't shown takes the listing away, and is told", () => {
  const { store, told } = open(row("1"));
  const property = row("1", { state: "CA" });
  store.hear(
    updated(
      "1",
      { state: { old: "TX", new: "CA" } },
      { moved: { from: ["TX"], to: ["CA"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([]);
  expect(told).toHaveLength(1);
});

test("a move from elsewhere brings the whole row, with what changed", () => {
  const { store, told } = open();
  const property = row("1");
  store.hear(
    updated(
      "1",
      { state: { old: "CA", new: "TX" } },
      { moved: { from: ["CA"], to: ["TX"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([property]);
  expect(told).toEqual([
    { kind: "updated", row: property, changes: { state: { old: "CA", new: "TX" } }, live: true },
  ]);
});

test("what is shown by its id stays wherever it moves", () => {
  const { store } = made();
  store.begin({ properties: ["1"] });
  store.page([row("1")], "h-10", true);
  const property = row("1", { state: "CA" });
  store.hear(
    updated(
      "1",
      { state: { old: "TX", new: "CA" } },
      { moved: { from: ["TX"], to: ["CA"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([property]);
});

test("pages add up, and a property that came as an event in between is there once", () => {
  const { store } = made();
  store.begin(TX);
  store.page([row("1")], "h-10", false);
  store.hear({ event: "property-created", data: row("3") }, "h-11");
  store.hear(updated("2", { price: { old: 100, new: 90 } }), "h-12");
  store.page([row("2", { price: 90 }), row("3")], "h-12", true);
  expect(store.rows().map((each) => each.property_id)).toEqual(["1", "3", "2"]);
});

test("another snapshot of the same scope shows what is held until it is complete, then lets go of what is gone", () => {
  const { store, frame } = open(row("1"), row("2"));
  store.begin(TX);
  frame();
  expect(store.getSnapshot()).toMatchObject({ ready: false });
  expect(store.rows()).toHaveLength(2);
  store.page([row("2", { price: 50 })], "h-20", false);
  expect(store.rows()).toHaveLength(2);
  store.page([], "h-20", true);
  expect(store.rows()).toEqual([row("2", { price: 50 })]);
});

test("while a snapshot is read anew, an event of a row that it has not brought yet is passed over", () => {
  const { store, told } = open(row("1"), row("2"));
  store.begin(TX);
  store.page([], "h-20", false);
  store.hear(updated("1", { price: { old: 100, new: 90 } }), "h-21");
  store.hear({ event: "property-deleted", data: { property_id: "2", deleted_at: "" } }, "h-22");
  expect(told).toEqual([]);
  store.page([row("1", { price: 90 })], "h-22", true);
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
});

test("another scope begins with nothing", () => {
  const { store, frame } = open(row("1"));
  store.begin(CA);
  frame();
  expect(store.rows()).toEqual([]);
  expect(store.getSnapshot()).toMatchObject({ scope: CA, ready: false, rows: [] });
});

test("a history that is not the one before is taken with its snapshot", () => {
  const { store } = open(row("1"));
  store.begin(TX);
  store.page([row("1")], "other-2", true);
  store.hear(updated("1", { price: { old: 100, new: 90 } }), "other-3");
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
});

test("a batch is applied in order", () => {
  const { store } = open(row("1"));
  store.hear(
    {
      event: "properties-batch",
      data: {
        events: [
          { event: "property-deleted", data: { property_id: "1", deleted_at: "" } },
          { event: "property-created", data: row("1", { price: 7 }) },
          updated("1", { price: { old: 7, new: 8 } }),
        ],
      },
    },
    "h-15",
  );
  expect(store.rows()).toEqual([row("1", { price: 8 })]);
});

test("a thousand events are one notice to React", () => {
  const { store, frames, frame } = open(row("1"));
  frame();
  let notices = 0;
  store.subscribe(() => (notices += 1));
  for (let price = 0; price < 1000; price += 1)
    store.hear(updated("1", { price: { old: null, new: price } }), `h-${11 + price}`);
  expect(frames).toHaveLength(1);
  frame();
  expect(notices).toBe(1);
});

test("a listing that did not change stays the same object", () => {
  const { store, frame } = open(row("1"), row("2"));
  frame();
  const before = store.getSnapshot().rows;
  store.hear(updated("1", { price: { old: 100, new: 90 } }), "h-11");
  frame();
  const after = store.getSnapshot().rows;
  expect(after[0]).not.toBe(before[0]);
  expect(after[1]).toBe(before[1]);
});

test("updated_at goes along where it is a column of the row, and nowhere else", () => {
  const { store } = open(row("1", { updated_at: "2026-01-01T00:00:00Z" }), row("2"));
  store.hear(updated("1", {}), "h-11");
  store.hear(updated("2", { price: { old: 100, new: 90 } }), "h-12");
  expect(store.rows()).toEqual([
    row("1", { updated_at: "2026-02-01T00:00:00Z" }),
    row("2", { price: 90 }),
  ]);
});

test("what a snapshot shows to have changed is told, but not as live; what it shows first is not told", () => {
  const { store, told } = open(row("1"));
  expect(told).toEqual([]);
  store.begin(TX);
  store.page([row("1", { price: 90 }), row("2")], "h-20", true);
  expect(told).toEqual([
    {
      kind: "updated",
      row: row("1", { price: 90 }),
      changes: { price: { old: 100, new: 90 } },
      live: false,
    },
  ]);
});

test("a column that a row has no more is told as null, and is gone", () => {
  const { store, told } = open(row("1", { tags: ["a"] }));
  store.hear({ event: "property-created", data: row("1") }, "h-11");
  expect(told[0]?.changes).toEqual({ tags: { old: ["a"], new: null } });
  expect(store.rows()).toEqual([row("1")]);
});
