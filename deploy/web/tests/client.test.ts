import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BridgeClient, type Session } from "@/lib/bridge/client";
import { WEBSOCKET_RETRY_MS } from "@/lib/bridge/transports";

type Listener = (...args: never[]) => void;

/** An emitter of socket.io-client; tests emit the events. */
class FakeEmitter {
  #listeners = new Map<string, Listener[]>();
  on(name: string, listener: Listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }
  receive(name: string, ...args: unknown[]) {
    for (const listener of this.#listeners.get(name) ?? [])
      (listener as (...args: unknown[]) => void)(...args);
  }
}

/** The used part of socket.io-client's `Socket`; tests act as the network. */
class FakeSocket extends FakeEmitter {
  connected = false;
  active = false;
  recovered = false;
  connects = 0;
  disconnects = 0;
  emitted: { name: string; request: unknown; ack: (...args: unknown[]) => void }[] = [];
  io = Object.assign(new FakeEmitter(), {
    opts: { transports: [] as string[] },
    engine: Object.assign(new FakeEmitter(), {
      close: vi.fn(),
      transport: { name: "websocket" },
    }),
  });
  constructor(readonly options: { auth: (send: (auth: unknown) => void) => void }) {
    super();
  }
  connect() {
    this.connects += 1;
    this.active = true;
    return this;
  }
  disconnect() {
    this.disconnects += 1;
    this.active = false;
    if (this.connected) {
      this.connected = false;
      this.receive("disconnect", "io client disconnect");
    }
    return this;
  }
  timeout() {
    return this;
  }
  emit(name: string, request: unknown, ack: (...args: unknown[]) => void) {
    this.emitted.push({ name, request, ack });
  }
  // -- the network
  establish(recovered = false, transport = "websocket") {
    this.io.engine.transport = { name: transport };
    this.io.receive("open");
    this.connected = true;
    this.recovered = recovered;
    this.receive("connect");
  }
  lose(reason = "transport close") {
    this.connected = false;
    this.active = reason !== "io server disconnect";
    this.receive("disconnect", reason);
  }
  reject(code: string) {
    this.active = false;
    this.receive(
      "connect_error",
      Object.assign(new Error("no"), { data: { code, message: "no" } }),
    );
  }
  /** The transport gives no answer; socket.io-client makes another attempt. */
  hang() {
    this.receive("connect_error", new Error("timeout"));
    this.io.receive("reconnect_attempt", 1);
  }
  /** The connection fails, after an answer over HTTP with this body; socket.io-client retries. */
  failPoll(responseText?: string) {
    const context = { responseText };
    this.receive("connect_error", Object.assign(new Error("xhr poll error"), { context }));
    this.io.receive("reconnect_attempt", 1);
  }
  handshake(): Promise<unknown> {
    return new Promise((resolve) => this.options.auth(resolve));
  }
}

function createStorage(): Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  const items = new Map<string, string>();
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  };
}

const created: FakeSocket[] = [];
vi.mock("socket.io-client", () => ({
  io: (_url: string, options: { auth: (send: (auth: unknown) => void) => void }) => {
    const socket = new FakeSocket(options);
    created.push(socket);
    return socket;
  },
}));

let fakeWindow: EventTarget;
let fakeDocument: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  created.length = 0;
  fakeWindow = new EventTarget();
  fakeDocument = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("window", fakeWindow);
  vi.stubGlobal("document", fakeDocument);
  vi.stubGlobal("sessionStorage", createStorage());
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function createClient(): { client: BridgeClient; socket: FakeSocket } {
  const client = new BridgeClient("http://bridge", "/socket.io");
  return { client, socket: created.at(-1)! };
}

type SessionChange = "token" | "user";

function createSession(
  token: string | null | Error,
): Session & { change: (change: SessionChange) => void } {
  let emit: (change: SessionChange) => void = () => {};
  return {
    token: () => (token instanceof Error ? Promise.reject(token) : Promise.resolve(token)),
    onChange: (listener) => ((emit = listener), () => (emit = () => {})),
    change: (change) => emit(change),
  };
}

test("StrictMode double mount connects once and does not disconnect", () => {
  const { client, socket } = createClient();
  client.retain(null, false)();
  const release = client.retain(null, false);
  vi.runAllTimers();
  expect([socket.connects, socket.disconnects]).toEqual([1, 0]);
  release();
  vi.runAllTimers();
  expect(socket.disconnects).toBe(1);
});

test("handshake sends the current scope and token", async () => {
  const { client, socket } = createClient();
  client.retain(createSession("abc"), true);
  client.scope = { regions: ["TX"] };
  expect(await socket.handshake()).toEqual({ regions: ["TX"], batch: true, token: "abc" });
  expect(client.handshakeScope).toBe(client.scope);
});

test("handshake without a token is sent and logged if the session fails", async () => {
  const logged = vi.spyOn(console, "error").mockImplementation(() => {});
  const { client, socket } = createClient();
  client.retain(createSession(new Error("offline")), false);
  expect(await socket.handshake()).toEqual({ batch: false });
  expect(logged).toHaveBeenCalledOnce();
  logged.mockRestore();
});

test("rejected client reports the error and retries with exponential backoff until accepted", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  const pauses: number[] = [];
  for (let round = 0; round < 8; round += 1) {
    socket.reject("token_required");
    expect(client.connection.getSnapshot().error?.code).toBe("token_required");
    const before = socket.connects;
    let waited = 0;
    for (; socket.connects === before; waited += 100) vi.advanceTimersByTime(100);
    pauses.push(waited);
  }
  expect(pauses[0]).toBeLessThan(1_000);
  expect(pauses.at(-1)).toBeGreaterThan(20_000);
  expect(pauses.at(-1)).toBeLessThan(40_000);
  socket.establish();
  expect(client.connection.getSnapshot()).toMatchObject({ connected: true, error: null });
});

test("network error is left to socket.io-client", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.receive("connect_error", new Error("websocket error"));
  vi.runAllTimers();
  expect([client.connection.getSnapshot().error, socket.connects]).toEqual([null, 1]);
});

test("client reconnects after a disconnect by the server, which socket.io-client does not", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.establish();
  socket.lose("io server disconnect");
  vi.runAllTimers();
  expect(socket.connects).toBe(2);
});

test("released client is not reconnected", () => {
  const { client, socket } = createClient();
  const release = client.retain(null, false);
  socket.reject("too_many_connections");
  release();
  vi.runAllTimers();
  expect(socket.connects).toBe(1);
});

test("online event ends the backoff", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.establish();
  socket.lose();
  fakeWindow.dispatchEvent(new Event("online"));
  expect([socket.connects, socket.disconnects]).toEqual([2, 1]);
  fakeWindow.dispatchEvent(new Event("online")); // an attempt is in progress
  expect(socket.connects).toBe(2);
});

test("scheduled retry is cancelled when a visible tab reconnects at once", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.reject("not_ready");
  fakeDocument.dispatchEvent(new Event("visibilitychange"));
  vi.runAllTimers();
  expect(socket.connects).toBe(2);
});

test("visible tab probes the connection and closes it on a timeout", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.establish();
  fakeDocument.hidden = true;
  fakeDocument.dispatchEvent(new Event("visibilitychange"));
  expect(socket.emitted).toEqual([]);
  fakeDocument.hidden = false;
  fakeDocument.dispatchEvent(new Event("visibilitychange"));
  expect(socket.emitted[0]).toMatchObject({ name: "unsubscribe", request: { properties: ["-"] } });
  socket.emitted[0]!.ack(null, { ok: true });
  expect(socket.io.engine.close).not.toHaveBeenCalled();
  socket.emitted[0]!.ack(new Error("operation has timed out"));
  expect(socket.io.engine.close).toHaveBeenCalledOnce();
});

test("offline event closes the connection at once", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.establish();
  fakeWindow.dispatchEvent(new Event("offline"));
  expect(socket.io.engine.close).toHaveBeenCalledOnce();
});

test("fresh token is sent on the open connection, and its rejection reported", async () => {
  const { client, socket } = createClient();
  const session = createSession("fresh");
  client.retain(session, false);
  socket.establish();
  session.change("token");
  await vi.runAllTimersAsync();
  expect(socket.emitted[0]).toMatchObject({ name: "authenticate", request: { token: "fresh" } });
  socket.emitted[0]!.ack({ ok: false, error: { code: "token_invalid", message: "no" } });
  expect(client.connection.getSnapshot().error?.code).toBe("token_invalid");
});

test("request over HTTP has the session's token, and none without a session", async () => {
  const fetched = vi.fn((_url: string, _options: RequestInit) => Promise.resolve(new Response()));
  vi.stubGlobal("fetch", fetched);
  const { client } = createClient();
  await client.get("/regions");
  client.retain(createSession("abc"), false);
  await client.get("/regions");
  expect(fetched.mock.calls).toEqual([
    ["http://bridge/regions", { headers: {} }],
    ["http://bridge/regions", { headers: { Authorization: "Bearer abc" } }],
  ]);
});

test("auth-status expiring sends a fresh token", async () => {
  const { client, socket } = createClient();
  client.retain(createSession("fresh"), false);
  socket.establish();
  socket.receive("auth-status", { event: "auth-status", data: { state: "expiring" } });
  await vi.runAllTimersAsync();
  expect(socket.emitted).toMatchObject([{ name: "authenticate" }]);
});

test("change of user starts a new session", () => {
  const { client, socket } = createClient();
  const session = createSession("abc");
  client.retain(session, false);
  socket.establish();
  session.change("user");
  expect([socket.disconnects, socket.connects]).toEqual([1, 2]);
  client.retain(createSession("def"), false);
  expect([socket.disconnects, socket.connects]).toEqual([2, 3]);
});

test("connection state has recovery and the bridge's own state", () => {
  const { client, socket } = createClient();
  let updates = 0;
  client.connection.subscribe(() => (updates += 1));
  expect(client.connection.getSnapshot()).toEqual({
    connected: false,
    recovered: null,
    bridge: null,
    error: null,
  });
  socket.establish(true);
  socket.receive("bridge-status", {
    event: "bridge-status",
    data: { state: "stale", since: "", contract: "1.0" },
  });
  expect(client.connection.getSnapshot()).toEqual({
    connected: true,
    recovered: true,
    bridge: "stale",
    error: null,
  });
  expect(updates).toBe(2);
});

const WEBSOCKET_FIRST = ["websocket", "polling"];
const UPGRADE = ["polling", "websocket"];

/** A client whose WebSocket hung, and which is connected by polling. */
function pollingClient() {
  const { client, socket } = createClient();
  const release = client.retain(null, false);
  expect(socket.io.opts.transports).toEqual(WEBSOCKET_FIRST);
  socket.hang();
  expect(socket.io.opts.transports).toEqual(UPGRADE);
  socket.establish(false, "polling");
  return { client, socket, release };
}

test("client whose WebSocket hangs connects by polling after one timeout", () => {
  const { client } = pollingClient();
  expect(client.connection.getSnapshot().connected).toBe(true);
});

test("polling is remembered in the tab, also by a page loaded anew", () => {
  const { socket, release } = pollingClient();
  socket.lose();
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(["polling"]);
  release();
  vi.advanceTimersByTime(WEBSOCKET_RETRY_MS / 2);
  const { client: next, socket: nextSocket } = createClient();
  next.retain(null, false);
  expect(nextSocket.io.opts.transports).toEqual(["polling"]);
});

test("another tab tries a WebSocket first", () => {
  pollingClient();
  vi.stubGlobal("sessionStorage", createStorage());
  const { client, socket } = createClient();
  client.retain(null, false);
  expect(socket.io.opts.transports).toEqual(WEBSOCKET_FIRST);
});

test("polling connection is replaced later by one that upgrades", () => {
  const { socket } = pollingClient();
  vi.advanceTimersByTime(WEBSOCKET_RETRY_MS - 1);
  expect(socket.io.engine.close).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(socket.io.engine.close).toHaveBeenCalledOnce();
  socket.lose("forced close");
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(UPGRADE);
  socket.establish(true, "polling"); // the upgrade hangs: polling for as long again
  socket.lose();
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(["polling"]);
});

test("upgraded connection ends polling", () => {
  const { socket } = pollingClient();
  socket.io.engine.receive("upgrade", { name: "websocket" });
  vi.advanceTimersByTime(WEBSOCKET_RETRY_MS);
  expect(socket.io.engine.close).not.toHaveBeenCalled();
  socket.lose();
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(WEBSOCKET_FIRST);
});

test("timeouts of both transports are not taken for a hanging WebSocket", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.hang();
  socket.hang();
  expect(socket.io.opts.transports).toEqual(WEBSOCKET_FIRST);
  socket.establish();
  expect(sessionStorage.getItem("bridge-polling-until http://bridge")).toBeNull();
});

test("network error does not lead to polling", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  socket.receive("connect_error", new Error("websocket error"));
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(WEBSOCKET_FIRST);
});

test("polling lasts as long as the page where storage is blocked", () => {
  const blocked = () => {
    throw new Error("SecurityError");
  };
  vi.stubGlobal("sessionStorage", { getItem: blocked, setItem: blocked, removeItem: blocked });
  const { socket } = pollingClient();
  socket.lose();
  socket.io.receive("reconnect_attempt", 1);
  expect(socket.io.opts.transports).toEqual(["polling"]);
});

test("rejected origin is reported from the answer to a poll, until the client connects", () => {
  const { client, socket } = createClient();
  client.retain(null, false);
  const error = { code: "origin_forbidden", message: "no" };
  socket.failPoll(JSON.stringify({ ok: false, error }));
  expect(client.connection.getSnapshot().error).toEqual(error);
  socket.establish();
  expect(client.connection.getSnapshot().error).toBeNull();
});

test.each([undefined, "", "<html>502</html>", "null", '"text"'])(
  "failed poll with the answer %s reports no rejection",
  (answer) => {
    const { client, socket } = createClient();
    client.retain(null, false);
    socket.failPoll(answer);
    expect(client.connection.getSnapshot().error).toBeNull();
  },
);

test.each(["token_invalid", "token_expired", "signed_out"])(
  "session renews its token when it is rejected with %s",
  (code) => {
    const { client, socket } = createClient();
    const renew = vi.fn(() => Promise.resolve());
    client.retain({ ...createSession("abc"), renew }, false);
    socket.reject(code);
    expect(renew).toHaveBeenCalledOnce();
  },
);

test("session does not renew its token when another rejection comes", () => {
  const { client, socket } = createClient();
  const renew = vi.fn(() => Promise.resolve());
  client.retain({ ...createSession("abc"), renew }, false);
  socket.reject("not_ready");
  expect(renew).not.toHaveBeenCalled();
});
