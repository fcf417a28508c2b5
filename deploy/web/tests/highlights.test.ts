import { expect, test } from "vitest";
import type { PropertyRow } from "@/lib/bridge/contract";
import { HIGHLIGHT_MS, Highlights } from "@/features/highlights/highlights";
import { Emitter, Observable } from "@/lib/bridge/observable";
import type { Change, View } from "@/lib/bridge/store";

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
  address: null,
  status: null,
};

const VIEW: View = { scope: {}, rows: [], ready: true };

function createHighlights() {
  const changes = new Emitter<Change>();
  const view = new Observable<View>(VIEW);
  let timers: { run: () => void; at: number }[] = [];
  let now = 0;
  const highlights = new Highlights(
    (run, ms) => void timers.push({ run, at: now + ms }),
    () => now,
  );
  const detach = highlights.attach({ changes, view });
  return {
    highlights,
    detach,
    update: (updated: Change["changes"], kind: Change["kind"] = "updated") => {
      changes.emit({ kind, row: ROW, changes: updated, fromEvent: true });
      view.set({ ...VIEW });
    },
    advance: (ms: number) => {
      now += ms;
      const due = timers.filter(({ at }) => at <= now);
      timers = timers.filter(({ at }) => at > now);
      for (const { run } of due) run();
    },
  };
}

test("changed field is highlighted with its old value for HIGHLIGHT_MS", () => {
  const { highlights, update, advance } = createHighlights();
  update({ price: { old: 2, new: 1 } });
  expect(highlights.recent.getSnapshot().get("1")).toEqual({ price: { old: 2, new: 1, at: 0 } });
  advance(HIGHLIGHT_MS - 1);
  expect(highlights.recent.getSnapshot().has("1")).toBe(true);
  advance(1);
  expect(highlights.recent.getSnapshot().size).toBe(0);
});

test("field that changes again is highlighted longer, other fields are not", () => {
  const { highlights, update, advance } = createHighlights();
  update({ price: { old: 3, new: 2 }, status: { old: "available", new: "sold" } });
  advance(HIGHLIGHT_MS / 2);
  update({ price: { old: 2, new: 1 } });
  advance(HIGHLIGHT_MS / 2);
  expect(highlights.recent.getSnapshot().get("1")).toEqual({
    price: { old: 2, new: 1, at: HIGHLIGHT_MS / 2 },
  });
  advance(HIGHLIGHT_MS / 2);
  expect(highlights.recent.getSnapshot().size).toBe(0);
});

test("created and deleted properties are not highlighted", () => {
  const { highlights, update } = createHighlights();
  update({}, "created");
  update({}, "deleted");
  expect(highlights.recent.getSnapshot().size).toBe(0);
});

test("snapshot is the same object until a change", () => {
  const { highlights, update, advance } = createHighlights();
  update({ price: { old: 2, new: 1 } });
  const before = highlights.recent.getSnapshot();
  advance(10);
  expect(highlights.recent.getSnapshot()).toBe(before);
  update({ price: { old: 1, new: 5 } });
  expect(highlights.recent.getSnapshot()).not.toBe(before);
  expect(before.get("1")).toEqual({ price: { old: 2, new: 1, at: 0 } });
});

test("detached highlights ignore changes", () => {
  const { highlights, update, detach } = createHighlights();
  detach();
  update({ price: { old: 2, new: 1 } });
  expect(highlights.recent.getSnapshot().size).toBe(0);
});
