"use client";
// One socket per tab: it outlives renders, StrictMode's double mount and every lost connection.
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import { io, type Socket } from "socket.io-client";
import type {
  BridgeStatusData,
  ClientToServerEvents,
  HandshakeAuth,
  RefusalReason,
  ServerToClientEvents,
} from "./contract";
import { added, type Scope } from "./store";

export type BridgeSocket = Socket<ServerToClientEvents, ClientToServerEvents>;

/** Who the user is. `onChange` tells of a fresh token of the same user, or of another user. */
export interface Session {
  token(): Promise<string | null>;
  onChange(listener: (what: "token" | "user") => void): () => void;
}

export interface Connection {
  connected: boolean;
  /** Whether the last connect went on where the connection before had ended; null before any. */
  recovered: boolean | null;
  /** How the bridge stands to the table; null until it says so. */
  bridge: BridgeStatusData["state"] | null;
  /** Why the bridge does not let this client in. It asks again, more and more rarely. */
  error: RefusalReason | null;
}

const START: Connection = { connected: false, recovered: null, bridge: null, error: null };
const ANSWER_MS = 4_000; // of a connection that is alive
const LONGEST_PAUSE_MS = 30_000;

export class BridgeClient {
  readonly socket: BridgeSocket;
  /** What a new session hears from its first moment on, and what the last one asked for. */
  scope: Scope = {};
  offered: Scope = this.scope;
  #session: Session | null = null;
  #batch = false;
  #state = START;
  #listeners = new Set<() => void>();
  #holders = 0;
  #refusals = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #pausing = false; // before the next attempt; none is under way

  constructor(url: string, path: string) {
    this.socket = io(url, {
      path,
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: 5_000,
      reconnectionDelay: 500,
      auth: (give) => void this.#introduce(give),
    });
    this.socket.on("connect", () => {
      this.#refusals = 0;
      this.#set({ connected: true, recovered: this.socket.recovered, error: null });
    });
    this.socket.on("disconnect", (reason) => {
      this.#set({ connected: false });
      this.#pausing = true;
      if (reason === "io server disconnect") this.#again();
    });
    this.socket.on("connect_error", (error: Error & { data?: RefusalReason }) => {
      this.#pausing = true;
      if (this.socket.active) return; // the network's trouble: the library tries again by itself
      this.#set({ error: error.data ?? { code: "not_supported", message: error.message } });
      this.#again();
    });
    this.socket.io.on("reconnect_attempt", () => (this.#pausing = false));
    this.socket.on("bridge-status", ({ data }) => this.#set({ bridge: data.state }));
    this.socket.on("auth-status", ({ data }) => {
      if (data.state === "expiring") void this.authenticate();
    });
  }

  /** Stay connected until the given function is called. Any number may hold it. */
  hold(session: Session | null, batch: boolean): () => void {
    const other = session !== this.#session || batch !== this.#batch;
    this.#session = session;
    this.#batch = batch;
    if (this.#holders++ > 0) {
      if (other) this.restart();
    } else {
      this.socket.connect();
      window.addEventListener("online", this.#wake);
      window.addEventListener("offline", this.#drop);
      document.addEventListener("visibilitychange", this.#wake);
    }
    const forget = session?.onChange((what) => {
      if (what === "user") this.restart();
      else void this.authenticate();
    });
    const release = () => {
      if (--this.#holders > 0) return;
      clearTimeout(this.#retry);
      window.removeEventListener("online", this.#wake);
      window.removeEventListener("offline", this.#drop);
      document.removeEventListener("visibilitychange", this.#wake);
      this.socket.disconnect();
    };
    return () => {
      forget?.();
      setTimeout(release); // not at once: StrictMode takes hold again in the same breath
    };
  }

  /** Another user: another session, from the beginning. */
  restart(): void {
    clearTimeout(this.#retry);
    this.#refusals = 0;
    this.socket.disconnect().connect();
  }

  /** Show the user's present token to a connection that stands. */
  async authenticate(): Promise<void> {
    const token = await this.#token();
    if (!token || !this.socket.connected) return;
    this.socket.emit("authenticate", { token }, (ack) => {
      if (!ack.ok) this.#set({ error: ack.error });
    });
  }

  async #introduce(give: (auth: HandshakeAuth) => void): Promise<void> {
    const token = await this.#token();
    this.offered = this.scope;
    give({ ...this.scope, batch: this.#batch, ...(token ? { token } : {}) });
  }

  async #token(): Promise<string | null> {
    try {
      return (await this.#session?.token()) ?? null;
    } catch (error) {
      // Without it, the bridge says what it thinks of us, and we ask again.
      console.error(`no token could be had: ${String(error)}`);
      return null;
    }
  }

  #again(): void {
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.#refusals++);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => {
        if (this.#holders > 0) this.socket.connect();
      },
      pause * (0.75 + Math.random() / 2),
    );
  }

  /** The network is back, or somebody looks: don't wait for the pause to end, and don't trust a
   * connection that may have died while the computer slept. */
  #wake = (): void => {
    if (document.hidden) return;
    if (this.socket.connected) {
      // Takes away what was never there: a request that changes nothing.
      this.socket.timeout(ANSWER_MS).emit("unsubscribe", { properties: ["-"] }, (late) => {
        if (late) this.#drop();
      });
    } else if (this.#pausing) {
      this.#pausing = false;
      clearTimeout(this.#retry);
      this.socket.disconnect().connect(); // still the same session: what it missed is owed to it
    }
  };

  /** The network is gone, and the library need not find out by itself. */
  #drop = (): void => {
    if (this.socket.connected) this.socket.io.engine.close();
  };

  #set(change: Partial<Connection>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }

  getSnapshot = (): Connection => this.#state;
  subscribe = (listener: () => void): (() => void) => added(this.#listeners, listener);
}

const clients = new Map<string, BridgeClient>();

/** The tab's one client of a bridge. On the server it never connects. */
export function clientOf(url: string, path = "/socket.io"): BridgeClient {
  const client = clients.get(url + path) ?? new BridgeClient(url, path);
  clients.set(url + path, client);
  return client;
}

const Context = createContext<BridgeClient | null>(null);

export function SocketProvider(props: {
  url: string;
  path?: string;
  /** The same object in every render. */
  session?: Session | null;
  /** Take bursts in few frames. */
  batch?: boolean;
  children: React.ReactNode;
}) {
  const { url, path, session = null, batch = false, children } = props;
  const [client] = useState(() => clientOf(url, path));
  useEffect(() => client.hold(session, batch), [client, session, batch]);
  return <Context value={client}>{children}</Context>;
}

/** The socket, the same object for the life of the tab, and how its connection stands. */
export function useSocket(): Connection & { client: BridgeClient; socket: BridgeSocket } {
  const client = useContext(Context);
  if (!client) throw new Error("expected a <SocketProvider> around what uses the socket");
  const state = useSyncExternalStore(client.subscribe, client.getSnapshot, () => START);
  return { client, socket: client.socket, ...state };
}
