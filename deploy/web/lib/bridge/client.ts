// The Socket.IO connection to the bridge: authentication, reconnection, liveness. No React.
import { io, type Socket } from "socket.io-client";
import type {
  BridgeStatusData,
  ClientToServerEvents,
  ErrorCode,
  HandshakeAuth,
  RefusalReason,
  ServerToClientEvents,
} from "./contract";
import { Observable } from "./observable";
import type { Scope } from "./store";
import { TransportChoice } from "./transports";

export type BridgeSocket = Socket<ServerToClientEvents, ClientToServerEvents>;

/** The signed-in user. */
export interface Session {
  /** Return a valid access token, or null for an anonymous connection. */
  token(): Promise<string | null>;
  /** Subscribe to changes: "token" is a fresh token of the same user, "user" a different user or
   * none. Return the function that unsubscribes. */
  onChange(listener: (change: "token" | "user") => void): () => void;
  /** Called when the bridge rejected the token: get another one, or sign out. */
  renew?(): Promise<void>;
}

export interface Connection {
  connected: boolean;
  /** Whether the last connect recovered the session before it; null before the first connect. */
  recovered: boolean | null;
  /** State of the bridge's own source, from `bridge-status`; null until the first one. */
  bridge: BridgeStatusData["state"] | null;
  /** Why the bridge rejected this client. The client retries with exponential backoff. */
  error: RefusalReason | null;
}

const INITIAL: Connection = { connected: false, recovered: null, bridge: null, error: null };
/** Time within which a live connection answers a probe. */
const PROBE_TIMEOUT_MS = 4_000;
/** Time within which a connection attempt is answered. Another attempt may use other transports. */
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_BACKOFF_MS = 30_000;
/** Codes of tokens that will not be accepted later either. */
const INVALID_SESSION = new Set<ErrorCode>(["token_invalid", "token_expired", "signed_out"]);

export class BridgeClient {
  readonly socket: BridgeSocket;
  readonly connection = new Observable<Connection>(INITIAL);
  /** Scope of the current view. The next handshake sends it, so that a new session receives its
   * events from the first moment. */
  scope: Scope = {};
  /** Scope that the last handshake sent. */
  handshakeScope: Scope = this.scope;
  #session: Session | null = null;
  #batch = false;
  #holders = 0;
  #rejections = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #backingOff = false; // between two connection attempts, none is in progress
  readonly #transports: TransportChoice;
  #upgradeTimer: ReturnType<typeof setTimeout> | undefined;

  /** Does not connect: `retain` does. */
  constructor(
    readonly url: string,
    path: string,
  ) {
    this.#transports = new TransportChoice(url);
    this.socket = io(url, {
      path,
      autoConnect: false,
      transports: ["websocket", "polling"], // `#chooseTransports` replaces them
      tryAllTransports: true,
      timeout: CONNECT_TIMEOUT_MS,
      reconnectionDelay: 500,
      auth: (send) => void this.#sendHandshake(send),
    });
    this.socket.on("connect", () => {
      this.#rejections = 0;
      this.#update({ connected: true, recovered: this.socket.recovered, error: null });
    });
    this.socket.on("disconnect", (reason) => {
      this.#update({ connected: false });
      this.#backingOff = true;
      if (reason === "io server disconnect") this.#scheduleReconnect();
    });
    this.socket.on("connect_error", (error: Error & { data?: RefusalReason }) => {
      this.#backingOff = true;
      if (error.message === "timeout") this.#transports.timedOut(); // by the manager's `timeout`
      if (this.socket.active) {
        // A network error, or an HTTP answer: socket.io-client reconnects by itself.
        this.#update({ error: answerOf(error) });
        return;
      }
      const reason = error.data ?? { code: "not_supported", message: error.message };
      this.#update({ error: reason });
      if (INVALID_SESSION.has(reason.code)) void this.#session?.renew?.();
      this.#scheduleReconnect();
    });
    this.socket.io.on("reconnect_attempt", () => {
      this.#backingOff = false;
      this.#chooseTransports();
    });
    this.socket.io.on("open", () => this.#watchTransport());
    this.socket.on("bridge-status", ({ data }) => this.#update({ bridge: data.state }));
    this.socket.on("auth-status", ({ data }) => {
      if (data.state === "expiring") void this.authenticate();
    });
  }

  /** Keep the connection open until the returned function is called. There may be several
   * holders; a different `session` or `batch` starts a new session. */
  retain(session: Session | null, batch: boolean): () => void {
    const changed = session !== this.#session || batch !== this.#batch;
    this.#session = session;
    this.#batch = batch;
    if (this.#holders++ > 0) {
      if (changed) this.restart();
    } else {
      this.#connect();
      window.addEventListener("online", this.#checkConnection);
      window.addEventListener("offline", this.#closeTransport);
      document.addEventListener("visibilitychange", this.#checkConnection);
    }
    const unsubscribe = session?.onChange((change) => {
      if (change === "user") this.restart();
      else void this.authenticate();
    });
    const release = () => {
      if (--this.#holders > 0) return;
      clearTimeout(this.#retryTimer);
      clearTimeout(this.#upgradeTimer);
      window.removeEventListener("online", this.#checkConnection);
      window.removeEventListener("offline", this.#closeTransport);
      document.removeEventListener("visibilitychange", this.#checkConnection);
      this.socket.disconnect();
    };
    return () => {
      unsubscribe?.();
      setTimeout(release); // deferred: StrictMode unmounts and mounts again synchronously
    };
  }

  /** Disconnect and connect with a new session, as for a different user. */
  restart(): void {
    clearTimeout(this.#retryTimer);
    this.#rejections = 0;
    this.socket.disconnect();
    this.#connect();
  }

  /** Send the session's current token on the open connection. */
  async authenticate(): Promise<void> {
    const token = await this.#token();
    if (!token || !this.socket.connected) return;
    this.socket.emit("authenticate", { token }, (ack) => {
      if (!ack.ok) this.#update({ error: ack.error });
    });
  }

  /** Request a path of the bridge, such as `/regions`, with the session's current token. */
  async get(path: string, signal?: AbortSignal): Promise<Response> {
    const token = await this.#token();
    return fetch(this.url + path, {
      ...(signal ? { signal } : {}),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
  }

  async #sendHandshake(send: (auth: HandshakeAuth) => void): Promise<void> {
    const token = await this.#token();
    this.handshakeScope = this.scope;
    send({ ...this.scope, batch: this.#batch, ...(token ? { token } : {}) });
  }

  async #token(): Promise<string | null> {
    try {
      return (await this.#session?.token()) ?? null;
    } catch (error) {
      // Connect without a token: if the bridge requires one it rejects the client, which retries.
      console.error(`failed to get an access token: ${String(error)}`);
      return null;
    }
  }

  #connect(): void {
    this.#chooseTransports();
    this.socket.connect();
  }

  #chooseTransports(): void {
    this.socket.io.opts.transports = this.#transports.names();
  }

  /** Called when the transport is open. Remember which one works, and try another one later. */
  #watchTransport(): void {
    const { engine } = this.socket.io;
    const onTransport = ({ name }: { name: string }) => {
      this.#transports.connected(name);
      clearTimeout(this.#upgradeTimer);
      const retryIn = this.#transports.retryIn();
      if (retryIn !== null) this.#upgradeTimer = setTimeout(this.#closeTransport, retryIn);
    };
    onTransport(engine.transport);
    engine.on("upgrade", onTransport);
  }

  #scheduleReconnect(): void {
    const pause = Math.min(MAX_BACKOFF_MS, 500 * 2 ** this.#rejections++);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(
      () => {
        if (this.#holders > 0) this.#connect();
      },
      pause * (0.75 + Math.random() / 2),
    );
  }

  /** Called when the network is back or the tab becomes visible. Probe an open connection, which
   * may have died while the computer slept; end the backoff of a closed one. */
  #checkConnection = (): void => {
    if (document.hidden) return;
    if (this.socket.connected) {
      // Engine.IO 4 pings only from server to client, so a round trip takes a request. This one
      // changes nothing, as no property has this id. Any answer will do, `rate_limited` as well.
      const request = { properties: ["-"] };
      this.socket.timeout(PROBE_TIMEOUT_MS).emit("unsubscribe", request, (timeout) => {
        if (timeout) this.#closeTransport();
      });
    } else if (this.#backingOff) {
      this.#backingOff = false;
      clearTimeout(this.#retryTimer);
      this.socket.disconnect(); // the session stays the same and can still be recovered
      this.#connect();
    }
  };

  /** Close the transport of a dead network, which socket.io-client may take long to detect. */
  #closeTransport = (): void => {
    if (this.socket.connected) this.socket.io.engine.close();
  };

  #update(change: Partial<Connection>): void {
    this.connection.set({ ...this.connection.getSnapshot(), ...change });
  }
}

/** Return why the bridge rejected a poll, from the body of its answer; null if there was no answer
 * that this page may read. Browsers show no answer to a WebSocket. */
function answerOf(error: Error & { context?: { responseText?: unknown } }): RefusalReason | null {
  try {
    const body = JSON.parse(String(error.context?.responseText)) as {
      error?: RefusalReason;
    } | null;
    return body?.error ?? null;
  } catch {
    return null;
  }
}
