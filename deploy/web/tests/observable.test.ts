import { expect, test } from "vitest";
import { Emitter, Observable } from "@/lib/bridge/observable";

test("emitter calls each listener until it unsubscribes", () => {
  const emitter = new Emitter<number>();
  const received: string[] = [];
  const unsubscribe = emitter.subscribe((value) => received.push(`a${value}`));
  emitter.subscribe((value) => received.push(`b${value}`));
  emitter.emit(1);
  unsubscribe();
  unsubscribe();
  emitter.emit(2);
  expect(received).toEqual(["a1", "b1", "b2"]);
});

test("observable emits changes only and keeps its initial value for hydration", () => {
  const observable = new Observable("a");
  const received: string[] = [];
  observable.subscribe((value) => received.push(`${value} ${observable.getSnapshot()}`));
  observable.set("a");
  observable.set("b");
  observable.set("b");
  expect(received).toEqual(["b b"]);
  expect([observable.getSnapshot(), observable.getServerSnapshot()]).toEqual(["b", "a"]);
});
