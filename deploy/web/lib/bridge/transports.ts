// Which transports a connection attempt uses. Depends on nothing.

/** Time for which a tab stays on polling after a WebSocket that timed out. */
export const WEBSOCKET_RETRY_MS = 10 * 60_000;

type Name = "websocket" | "polling";

/** The transports of the next connection attempt.
 *
 * Some networks and proxies accept a WebSocket and then pass nothing, without an error. The first
 * attempt that times out is followed by one that connects by polling, and the tab remembers it in
 * `sessionStorage`. After `WEBSOCKET_RETRY_MS` the next attempt connects by polling too, and
 * upgrades to a WebSocket if that works, so that a retry costs no time. */
export class TransportChoice {
  readonly #key: string;
  /** When WebSockets are tried again, in ms since 1970; null while they are used first. */
  #retryAt: number | null | undefined; // undefined: not loaded, as storage exists in browsers only

  constructor(url: string) {
    this.#key = `bridge-polling-until ${url}`;
  }

  /** Return the transports of an attempt made now, in the order in which they are tried. */
  names(): Name[] {
    const retryIn = this.retryIn();
    if (retryIn === null) return ["websocket", "polling"];
    return retryIn > 0 ? ["polling"] : ["polling", "websocket"]; // the latter upgrades
  }

  /** Return the time until WebSockets are tried again; null while they are used first. */
  retryIn(): number | null {
    if (this.#retryAt === undefined) this.#retryAt = this.#load();
    // A clock that was set back must not delay the retry.
    return this.#retryAt === null ? null : Math.min(this.#retryAt - Date.now(), WEBSOCKET_RETRY_MS);
  }

  /** An attempt got no answer within the timeout. */
  timedOut(): void {
    // Without an answer by polling either, WebSockets are not the cause.
    if (this.retryIn() === null) this.#retryAt = Date.now();
    else if (!this.#load()) this.#retryAt = null;
  }

  /** A connection is open, or was upgraded, with this transport. */
  connected(name: string): void {
    const retryIn = this.retryIn();
    if (name === "websocket") this.#save(null);
    else if (retryIn !== null && retryIn <= 0) this.#save(Date.now() + WEBSOCKET_RETRY_MS);
  }

  #load(): number | null {
    try {
      return Number(sessionStorage.getItem(this.#key)) || null;
    } catch {
      return null; // storage is blocked: the choice lasts as long as the page
    }
  }

  #save(retryAt: number | null): void {
    this.#retryAt = retryAt;
    try {
      if (retryAt === null) sessionStorage.removeItem(this.#key);
      else sessionStorage.setItem(this.#key, String(retryAt));
    } catch {
      // As in #load.
    }
  }
}
