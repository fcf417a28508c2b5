import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { COLLECT_MS, QUIET_MS, ToastCollector } from "@/features/notifications/toast-collector";
import type { ToastContent } from "@/features/notifications/toast-content";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function toast(id: string): ToastContent {
  return { id, kind: "listed", title: id, body: "" };
}

function collector() {
  const shown: (string[] | string)[] = [];
  const toasts = new ToastCollector((group, summary) =>
    shown.push(summary ?? group.map(({ id }) => id)),
  );
  return { toasts, shown };
}

test("changes that come together are shown together", () => {
  const { toasts, shown } = collector();
  toasts.add(toast("a"));
  toasts.add(toast("b"));
  vi.advanceTimersByTime(COLLECT_MS);
  expect(shown).toEqual([["a", "b"]]);
});

test("changes soon after a toast wait, and are shown together", () => {
  const { toasts, shown } = collector();
  for (const id of ["a", "b", "c"]) {
    toasts.add(toast(id));
    vi.advanceTimersByTime(2 * COLLECT_MS);
  }
  expect(shown).toEqual([["a"]]);
  vi.advanceTimersByTime(QUIET_MS);
  expect(shown).toEqual([["a"], ["b", "c"]]);
});

test("change after a quiet time is shown at once", () => {
  const { toasts, shown } = collector();
  toasts.add(toast("a"));
  vi.advanceTimersByTime(COLLECT_MS + QUIET_MS);
  toasts.add(toast("b"));
  vi.advanceTimersByTime(COLLECT_MS);
  expect(shown).toEqual([["a"], ["b"]]);
});

test("many are shown as one summary", () => {
  const { toasts, shown } = collector();
  for (const id of ["a", "b", "c", "d"]) toasts.add(toast(id));
  vi.advanceTimersByTime(COLLECT_MS);
  expect(shown).toEqual(["4 × listed"]);
});

test("property of a notification has no toast of its own", () => {
  const { toasts, shown } = collector();
  toasts.add(toast("a"));
  toasts.notified("a");
  toasts.add(toast("b"));
  vi.advanceTimersByTime(COLLECT_MS);
  expect(shown).toEqual([["b"]]);
});

test("stopped collector shows nothing", () => {
  const { toasts, shown } = collector();
  toasts.add(toast("a"));
  toasts.stop();
  vi.runAllTimers();
  expect(shown).toEqual([]);
});
