import { expect, test } from "vitest";
import type { PropertyRow } from "@/lib/bridge/contract";
import { FRESH_MS, Highlights } from "@/features/highlights/highlights";
import type { Change } from "@/lib/bridge/store";

const ROW: PropertyRow = {
  property_id: 1,
  name: null,
  city: null,
  state: null,
  price: 1,
  units: null,
  latitude: null,
  longitude: null,
  created_at: null,
};

function made() {
  let change: (change: Change) => void = () => {};
  let frame: () => void = () => {};
  let timers: { run: () => void; at: number }[] = [];
  let now = 0;
  const highlights = new Highlights(
    {
      onChange: (watcher) => ((change = watcher), () => {}),
      subscribe: (listener) => ((frame = listener), () => {}),
    },
    (run, ms) => void timers.push({ run, at: now + ms }),
    () => now,
  );
  return {
    highlights,
    update: (changes: Change["changes"], kind: Change["kind"] = "updated") => {
      change({ kind, row: ROW, changes, live: true });
      frame();
    },
    pass: (ms: number) => {
      now += ms;
      const due = timers.filter(({ at }) => at <= now);
      timers = timers.filter(({ at }) => at > now);
      for (const { run } of due) run();
    },
  };
}

test("a field that changed is marked with what it was, until its time is over", () => {
  const { highlights, update, pass } = made();
  update({ price: { old: 2, new: 1 } });
  expect(highlights.getSnapshot().get("1")).toEqual({ price: { old: 2, new: 1, at: 0 } });
  pass(FRESH_MS - 1);
  expect(highlights.getSnapshot().has("1")).toBe(true);
  pass(1);
  expect(highlights.getSnapshot().size).toBe(0);
});

test("a field that changes again begins anew, others end in their time", () => {
  const { highlights, update, pass } = made();
  update({ price: { old: 3, new: 2 }, status: { old: "available", new: "sold" } });
  pass(FRESH_MS / 2);
  update({ price: { old: 2, new: 1 } });
  pass(FRESH_MS / 2);
  expect(highlights.getSnapshot().get("1")).toEqual({
    price: { old: 2, new: 1, at: FRESH_MS / 2 },
  });
  pass(FRESH_MS / 2);
  expect(highlights.getSnapshot().size).toBe(0);
});

test("a new property and a deleted one are not marked", () => {
  const { highlights, update } = made();
  update({}, "created");
  update({}, "deleted");
  expect(highlights.getSnapshot().size).toBe(0);
});

test("the view is the same object until something changes", () => {
  const { highlights, update, pass } = made();
  update({ price: { old: 2, new: 1 } });
  const before = highlights.getSnapshot();
  pass(10);
  expect(highlights.getSnapshot()).toBe(before);
  update({ price: { old: 1, new: 5 } });
  expect(highlights.getSnapshot()).not.toBe(before);
  expect(before.get("1")).toEqual({ price: { old: 2, new: 1, at: 0 } });
});
