// Decides when toasts of listings are shown. No React.
import { summarize, type ToastContent } from "./toast-content";

/** Changes within this time are shown together. */
export const COLLECT_MS = 350;
/** Time between two groups of toasts, in which changes are collected: a busy table must not cover the
 * page with toasts. */
export const QUIET_MS = 8_000;
/** More than this many are shown as one toast. */
const MAX_SINGLE_TOASTS = 3;

/** Shows at most one group of toasts in `QUIET_MS`. */
export class ToastCollector {
  #pending: ToastContent[] = [];
  #notified = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #quietUntil = 0;

  /** `show` receives a few toasts, or the summary of many. */
  constructor(
    private readonly show: (toasts: readonly ToastContent[], summary: string | null) => void,
  ) {}

  add(toast: ToastContent): void {
    this.#pending.push(toast);
    this.#schedule();
  }

  /** The user was notified of this property: its change needs no toast of its own. */
  notified(id: string): void {
    this.#notified.add(id);
    this.#schedule();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    const pause = Math.max(COLLECT_MS, this.#quietUntil - Date.now());
    this.#timer ??= setTimeout(() => this.#flush(), pause);
  }

  #flush(): void {
    const shown = this.#pending.filter(({ id }) => !this.#notified.has(id));
    this.#timer = undefined;
    this.#pending = [];
    this.#notified.clear();
    if (shown.length === 0) return;
    this.#quietUntil = Date.now() + QUIET_MS;
    this.show(shown, shown.length > MAX_SINGLE_TOASTS ? summarize(shown) : null);
  }
}
