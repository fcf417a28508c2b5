// Listeners, once for all classes of this folder. Depends on nothing.

/** Calls every subscribed listener with each emitted value. */
export class Emitter<T> {
  #listeners = new Set<(value: T) => void>();

  /** Add a listener. Return the function that removes it. */
  subscribe = (listener: (value: T) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  emit(value: T): void {
    for (const listener of this.#listeners) listener(value);
  }
}

/** A value that emits each of its changes. Its methods are the arguments of React's
 * `useSyncExternalStore`. */
export class Observable<T> extends Emitter<T> {
  #value: T;

  constructor(private readonly initial: T) {
    super();
    this.#value = initial;
  }

  /** Store the value and emit it, unless it is the same as before (`Object.is`). */
  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    this.emit(value);
  }

  getSnapshot = (): T => this.#value;
  /** Return the initial value, which the server rendered and hydration has to reproduce. */
  getServerSnapshot = (): T => this.initial;
}
