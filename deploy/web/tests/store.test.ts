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
    address: null,
    status: "available",
    ...more,
  };
}

/** A store whose frames are run by the test. */
function createStore() {
  const frames: (() => void)[] = [];
  const store = new PropertyStore((run) => void frames.push(run));
  const changes: Change[] = [];
  store.changes.subscribe((change) => changes.push(change));
  return { store, changes, frames, frame: () => frames.splice(0).forEach((run) => run()) };
}

/** A store with a complete snapshot. */
function storeWith(...rows: PropertyRow[]) {
  const all = createStore();
  all.store.startSnapshot(TX);
  all.store.applyPage(rows, "h-10", true);
  return all;
}

function updateEvent(
  id: string,
  changes: PropertyUpdated["data"]["changes"],
  more = {},
): PropertyUpdated {
  return {
    event: "property-updated",
    data: { property_id: id, changes, updated_at: "2026-02-01T00:00:00Z", ...more },
  };
}

test("isOlder compares positions of one history by number, and not those of two", () => {
  expect(isOlder("h-9", "h-10")).toBe(true);
  expect(isOlder("h-10", "h-10")).toBe(false);
  expect(isOlder("h-11", "h-10")).toBe(false);
  expect(isOlder("g-9", "h-10")).toBe(false);
  expect(isOlder("a-b-9", "a-b-10")).toBe(true);
  expect(isOlder("9", "10")).toBe(false);
});

test("event before the first page is ignored", () => {
  const { store } = createStore();
  store.startSnapshot(TX);
  store.applyEvent({ event: "property-created", data: row("1") }, "h-5");
  expect(store.rows()).toEqual([]);
});

test("update changes the named columns only", () => {
  const { store } = storeWith(row("1"));
  store.applyEvent(updateEvent("1", { price: { old: 100, new: 90 } }), "h-11");
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
  expect(store.position()).toBe("h-11");
});

test("event older than the position is ignored", () => {
  const { store } = storeWith(row("1"));
  store.applyEvent(updateEvent("1", { price: { old: 120, new: 110 } }), "h-9");
  store.applyEvent(
    { event: "property-deleted", data: { property_id: "1", deleted_at: "" } },
    "h-3",
  );
  expect(store.rows()).toEqual([row("1")]);
  expect(store.position()).toBe("h-10");
});

test("update or delete of an unknown property is ignored", () => {
  const { store } = storeWith(row("1"));
  store.applyEvent(updateEvent("2", { price: { old: 100, new: 90 } }), "h-11");
  store.applyEvent(
    { event: "property-deleted", data: { property_id: "3", deleted_at: "" } },
    "h-12",
  );
  expect(store.rows()).toEqual([row("1")]);
});

test("property id matches as number and as string", () => {
  const { store } = storeWith(row("7"));
  store.applyEvent({ event: "property-deleted", data: { property_id: 7, deleted_at: "" } }, "h-11");
  expect(store.rows()).toEqual([]);
});

test("move out of the scope removes the row and emits a change", () => {
  const { store, changes } = storeWith(row("1"));
  const property = row("1", { state: "CA" });
  store.applyEvent(
    updateEvent(
      "1",
      { state: { old: "TX", new: "CA" } },
      { moved: { from: ["TX"], to: ["CA"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([]);
  expect(changes).toHaveLength(1);
});

test("move into the scope adds the whole row and emits its changes", () => {
  const { store, changes } = storeWith();
  const property = row("1");
  store.applyEvent(
    updateEvent(
      "1",
      { state: { old: "CA", new: "TX" } },
      { moved: { from: ["CA"], to: ["TX"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([property]);
  expect(changes).toEqual([
    {
      kind: "updated",
      row: property,
      changes: { state: { old: "CA", new: "TX" } },
      fromEvent: true,
    },
  ]);
});

test("row shown by its id stays after a move", () => {
  const { store } = createStore();
  store.startSnapshot({ properties: ["1"] });
  store.applyPage([row("1")], "h-10", true);
  const property = row("1", { state: "CA" });
  store.applyEvent(
    updateEvent(
      "1",
      { state: { old: "TX", new: "CA" } },
      { moved: { from: ["TX"], to: ["CA"] }, property },
    ),
    "h-11",
  );
  expect(store.rows()).toEqual([property]);
});

test("pages are merged with events between them, each row once", () => {
  const { store } = createStore();
  store.startSnapshot(TX);
  store.applyPage([row("1")], "h-10", false);
  store.applyEvent({ event: "property-created", data: row("3") }, "h-11");
  store.applyEvent(updateEvent("2", { price: { old: 100, new: 90 } }), "h-12");
  store.applyPage([row("2", { price: 90 }), row("3")], "h-12", true);
  expect(store.rows().map((each) => each.property_id)).toEqual(["1", "3", "2"]);
});

test("snapshot of the same scope keeps the held rows until it is complete", () => {
  const { store, frame } = storeWith(row("1"), row("2"));
  store.startSnapshot(TX);
  frame();
  expect(store.view.getSnapshot()).toMatchObject({ ready: false });
  expect(store.rows()).toHaveLength(2);
  store.applyPage([row("2", { price: 50 })], "h-20", false);
  expect(store.rows()).toHaveLength(2);
  store.applyPage([], "h-20", true);
  expect(store.rows()).toEqual([row("2", { price: 50 })]);
});

test("event of a row that the running snapshot has not contained yet is ignored", () => {
  const { store, changes } = storeWith(row("1"), row("2"));
  store.startSnapshot(TX);
  store.applyPage([], "h-20", false);
  store.applyEvent(updateEvent("1", { price: { old: 100, new: 90 } }), "h-21");
  store.applyEvent(
    { event: "property-deleted", data: { property_id: "2", deleted_at: "" } },
    "h-22",
  );
  expect(changes).toEqual([]);
  store.applyPage([row("1", { price: 90 })], "h-22", true);
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
});

test("snapshot of another scope starts empty", () => {
  const { store, frame } = storeWith(row("1"));
  store.startSnapshot(CA);
  frame();
  expect(store.rows()).toEqual([]);
  expect(store.view.getSnapshot()).toMatchObject({ scope: CA, ready: false, rows: [] });
});

test("position of a new history is taken from its snapshot", () => {
  const { store } = storeWith(row("1"));
  store.startSnapshot(TX);
  store.applyPage([row("1")], "other-2", true);
  store.applyEvent(updateEvent("1", { price: { old: 100, new: 90 } }), "other-3");
  expect(store.rows()).toEqual([row("1", { price: 90 })]);
});

test("batch is applied in order", () => {
  const { store } = storeWith(row("1"));
  store.applyEvent(
    {
      event: "properties-batch",
      data: {
        events: [
          { event: "property-deleted", data: { property_id: "1", deleted_at: "" } },
          { event: "property-created", data: row("1", { price: 7 }) },
          updateEvent("1", { price: { old: 7, new: 8 } }),
        ],
      },
    },
    "h-15",
  );
  expect(store.rows()).toEqual([row("1", { price: 8 })]);
});

test("thousand events in one frame update the view once", () => {
  const { store, frames, frame } = storeWith(row("1"));
  frame();
  let updates = 0;
  store.view.subscribe(() => (updates += 1));
  for (let price = 0; price < 1000; price += 1)
    store.applyEvent(updateEvent("1", { price: { old: null, new: price } }), `h-${11 + price}`);
  expect(frames).toHaveLength(1);
  frame();
  expect(updates).toBe(1);
});

test("unchanged row stays the same object", () => {
  const { store, frame } = storeWith(row("1"), row("2"));
  frame();
  const before = store.view.getSnapshot().rows;
  store.applyEvent(updateEvent("1", { price: { old: 100, new: 90 } }), "h-11");
  frame();
  const after = store.view.getSnapshot().rows;
  expect(after[0]).not.toBe(before[0]);
  expect(after[1]).toBe(before[1]);
});

test("updated_at is set where it is a column of the row only", () => {
  const { store } = storeWith(row("1", { updated_at: "2026-01-01T00:00:00Z" }), row("2"));
  store.applyEvent(updateEvent("1", {}), "h-11");
  store.applyEvent(updateEvent("2", { price: { old: 100, new: 90 } }), "h-12");
  expect(store.rows()).toEqual([
    row("1", { updated_at: "2026-02-01T00:00:00Z" }),
    row("2", { price: 90 }),
  ]);
});

test("row that differs in a snapshot emits a change with fromEvent false, a first row none", () => {
  const { store, changes } = storeWith(row("1"));
  expect(changes).toEqual([]);
  store.startSnapshot(TX);
  store.applyPage([row("1", { price: 90 }), row("2")], "h-20", true);
  expect(changes).toEqual([
    {
      kind: "updated",
      row: row("1", { price: 90 }),
      changes: { price: { old: 100, new: 90 } },
      fromEvent: false,
    },
  ]);
});

test("column that the new row lacks is emitted as null and removed", () => {
  const { store, changes } = storeWith(row("1", { tags: ["a"] }));
  store.applyEvent({ event: "property-created", data: row("1") }, "h-11");
  expect(changes[0]?.changes).toEqual({ tags: { old: ["a"], new: null } });
  expect(store.rows()).toEqual([row("1")]);
});
