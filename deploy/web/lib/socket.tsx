"use client";
// One socket per tab: it outlives renders, StrictMode's double mount, and every lost connection.
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import { io, type Socket } from "socket.io-client";
import type { BridgeStatusData, ClientToServerEvents, HandshakeAuth, RefusalReason, ServerToClientEvents } from "./contract";
import type { Scope } from "./store";

export type BridgeSocket = Socket<ServerToClientEvents, ClientToServerEvents>;

/** Who the user is. `onChange` tells of a fresh token of the same user, or of another user. */
export interface Session {
  token(): Promise<string | null>;
  onChange(listener: (what: "token" | "user") => void): () => void;
}

export interface Connection {
  connected: boolean;
  /** Whether the last connect went on where the former connection ended. */
  session: "fresh" | "recovered" | null;
  /** How the bridge itself stands to the table; null until it says so. */
  bridge: BridgeStatusData["state"] | null;
  /** Why the bridge refuses this client; it is asked again, more and more rarely. */
  error: RefusalReason | null;
}

const START: Connection = { connected: false, session: null, bridge: null, error: null };
const HIDDEN_MS = 10_000; // a tab that was hidden for longer looks whether its connection still stands
const ANSWER_MS = 4_000;
const LONGEST_PAUSE_MS = 30_000;

export class Line {
  readonly socket: BridgeSocket;
  /** What a new session hears from its first moment on. */
  scope: Scope = {};
  /** The scope that the last handshake named. */
  offered: Scope = this.scope;
  session: Session | null = null;
  /** Ask for bursts in few frames. */
  batch = false;
  /** Milliseconds since 1970 of the last thing that the bridge said. */
  heardAt: number | null = null;
  sockets = 0;
  connects = 0;
  #state = START;
  #listeners = new Set<() => void>();
  #holders = 0;
  #refusals = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #pausing = false; // between two attempts, of which none is under way
  #hiddenAt: number | null = null;

  constructor(url: string, path: string) {
    this.socket = io(url, {
      path,
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: 5_000,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      auth: (give) => void this.#introduce(give),
    });
    this.socket.on("connect", () => {
      this.connects += 1;
      this.#refusals = 0;
      this.#set({ connected: true, session: this.socket.recovered ? "recovered" : "fresh", error: null });
    });
    this.socket.on("disconnect", (reason) => {
      this.#pausing = true;
      this.#set({ connected: false });
      if (reason === "io server disconnect") this.#again();
    });
    this.socket.on("connect_error", (error: Error & { data?: RefusalReason }) => {
      this.#pausing = true;
      if (this.socket.active) return; // the network's trouble: the library tries again by itself
      this.#set({ error: error.data ?? { code: "not_supported", message: error.message } });
      this.#again();
    });
    this.socket.io.on("open", () => (this.sockets += 1));
    this.socket.io.on("reconnect_attempt", () => (this.#pausing = false));
    this.socket.onAny(() => (this.heardAt = Date.now()));
    this.socket.on("bridge-status", ({ data }) => this.#set({ bridge: data.state }));
    this.socket.on("auth-status", ({ data }) => {
      if (data.state === "expiring") void this.authenticate();
    });
  }

  /** Keep the connection up until the given function is called. Any number may hold it. */
  hold(session: Session | null, batch = false): () => void {
    this.session = session;
    this.batch = batch;
    this.#holders += 1;
    if (this.#holders === 1) {
      this.#pausing = false;
      this.socket.connect();
      window.addEventListener("online", this.#nudge);
      window.addEventListener("offline", this.#drop);
      document.addEventListener("visibilitychange", this.#looked);
    }
    const unlisten = session?.onChange((what) => (what === "user" ? this.restart() : void this.authenticate()));
    return () => {
      unlisten?.();
      // Not at once: StrictMode and navigation take hold again in the same breath.
      setTimeout(() => {
        if (--this.#holders > 0) return;
        clearTimeout(this.#retry);
        window.removeEventListener("online", this.#nudge);
        window.removeEventListener("offline", this.#drop);
        document.removeEventListener("visibilitychange", this.#looked);
        this.socket.disconnect();
      });
    };
  }

  /** Another user: another session, from the beginning. */
  restart(): void {
    clearTimeout(this.#retry);
    this.#refusals = 0;
    this.#set({ error: null });
    this.socket.disconnect().connect();
  }

  /** Show the user's present token to a connection that stands. */
  async authenticate(): Promise<void> {
    const token = await this.session?.token();
    if (!token || !this.socket.connected) return;
    this.socket.emit("authenticate", { token }, (ack) => {
      if (!ack.ok && ack.error.code !== "not_supported") this.#set({ error: ack.error });
    });
  }

  async #introduce(give: (auth: HandshakeAuth) => void): Promise<void> {
    try {
      const token = await this.session?.token();
      this.offered = this.scope;
      give({ ...this.scope, batch: this.batch, ...(token ? { token } : {}) });
    } catch (error) {
      this.#set({ error: { code: "token_required", message: `no token could be had: ${String(error)}` } });
      this.socket.disconnect();
      this.#again();
    }
  }

  #again(): void {
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.#refusals++) * (0.75 + Math.random() / 2);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#holders > 0 && this.socket.connect(), pause);
  }

  #nudge = (): void => {
    if (this.socket.connected) this.#probe();
    else if (this.#pausing) {
      this.#pausing = false;
      this.socket.disconnect().connect(); // what it missed is still owed to it
    }
  };

  #drop = (): void => {
    if (this.socket.connected) this.socket.io.engine.close();
  };

  #looked = (): void => {
    const hiddenAt = this.#hiddenAt;
    this.#hiddenAt = document.hidden ? Date.now() : null;
    if (document.hidden || hiddenAt === null) return;
    if (!this.socket.connected || Date.now() - hiddenAt > HIDDEN_MS) this.#nudge();
  };

  /** A computer that slept may hold a connection that nobody is at the other end of. */
  #probe(): void {
    // Takes away what was never there: a request that changes nothing.
    this.socket.timeout(ANSWER_MS).emit("unsubscribe", { properties: ["-"] }, (late) => {
      if (late) this.socket.io.engine.close(); // and the library comes back by itself
    });
  }

  #set(change: Partial<Connection>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };
  getSnapshot = (): Connection => this.#state;
}

const lines = new Map<string, Line>();

/** The tab's one line to a bridge. On the server it never connects. */
export function lineTo(url: string, path: string): Line {
  const known = lines.get(url + path) ?? new Line(url, path);
  lines.set(url + path, known);
  return known;
}

const LineContext = createContext<Line | null>(null);

export function SocketProvider(props: {
  url: string;
  path?: string;
  session?: Session | null;
  batch?: boolean;
  children: React.ReactNode;
}) {
  const { url, path = "/socket.io", session = null, batch = false, children } = props;
  const [line] = useState(() => lineTo(url, path));
  useEffect(() => line.hold(session, batch), [line, session, batch]);
  return <LineContext value={line}>{children}</LineContext>;
}

export function useLine(): Line {
  const line = useContext(LineContext);
  if (!line) throw new Error("useSocket and useProperties need a <SocketProvider> around them");
  return line;
}

/** The socket, the same object for the life of the tab, and how its connection stands. */
export function useSocket(): Connection & { socket: BridgeSocket } {
  const line = useLine();
  const state = useSyncExternalStore(line.subscribe, line.getSnapshot, () => START);
  return { socket: line.socket, ...state };
}
