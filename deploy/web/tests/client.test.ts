import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BridgeClient, type Session } from "@/lib/bridge/socket";

type Listener = (...args: never[]) => void;

/** Emitters of the client library, as far as it is used; what the network does, tests say. */
class Emitter {
  #listeners = new Map<string, Listener[]>();
  on(name: string, listener: Listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }
  tell(name: string, ...args: unknown[]) {
    for (const listener of this.#listeners.get(name) ?? [])
      (listener as (...args: unknown[]) => void)(...args);
  }
}

class Library extends Emitter {
  connected = false;
  active = false;
  recovered = false;
  connects = 0;
  disconnects = 0;
  emitted: { name: string; request: unknown; answer: (...args: unknown[]) => void }[] = [];
  io = Object.assign(new Emitter(), { engine: { close: vi.fn() } });
  constructor(readonly options: { auth: (give: (auth: unknown) => void) => void }) {
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
      this.tell("disconnect", "io client disconnect");
    }
    return this;
  }
  timeout() {
    return this;
  }
  emit(name: string, request: unknown, answer: (...args: unknown[]) => void) {
    this.emitted.push({ name, request, answer });
  }
  // -- the network
  arrive(recovered = false) {
    this.connected = true;
    this.recovered = recovered;
    this.tell("connect");
  }
  lose(reason = "transport close") {
    this.connected = false;
    this.active = reason !== "io server disconnect";
    this.tell("disconnect", reason);
  }
  refuse(code: string) {
    this.active = false;
    this.tell("connect_error", Object.assign(new Error("no"), { data: { code, message: "no" } }));
  }
  introduction(): Promise<unknown> {
    return new Promise((give) => this.options.auth(give));
  }
}

const made: Library[] = [];
vi.mock("socket.io-client", () => ({
  io: (_url: string, options: { auth: (give: (auth: unknown) => void) => void }) => {
    const library = new Library(options);
    made.push(library);
    return library;
  },
}));

let browser: EventTarget;
let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  made.length = 0;
  browser = new EventTarget();
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("window", browser);
  vi.stubGlobal("document", page);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function client(): { client: BridgeClient; library: Library } {
  const client = new BridgeClient("http://bridge", "/socket.io");
  return { client, library: made[0]! };
}

function session(
  token: string | null | Error,
): Session & { change: (what: "token" | "user") => void } {
  let tell: (what: "token" | "user") => void = () => {};
  return {
    token: () => (token instanceof Error ? Promise.reject(token) : Promise.resolve(token)),
    onChange: (listener) => ((tell = listener), () => (tell = () => {})),
    change: (what) => tell(what),
  };
}

test("a double mount connects once and never disconnects", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false)();
  const release = bridge.hold(null, false);
  vi.runAllTimers();
  expect([library.connects, library.disconnects]).toEqual([1, 0]);
  release();
  vi.runAllTimers();
  expect(library.disconnects).toBe(1);
});

test("the handshake names what is shown, and the token of the moment", async () => {
  const { client: bridge, library } = client();
  bridge.hold(session("abc"), true);
  bridge.scope = { regions: ["TX"] };
  expect(await library.introduction()).toEqual({ regions: ["TX"], batch: true, token: "abc" });
  expect(bridge.offered).toBe(bridge.scope);
});

test("a token that can't be had is no token, and is told to the console", async () => {
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  const { client: bridge, library } = client();
  bridge.hold(session(new Error("offline")), false);
  expect(await library.introduction()).toEqual({ batch: false });
  expect(told).toHaveBeenCalledOnce();
  told.mockRestore();
});

test("a refused client says why and asks again, more and more rarely, until it is let in", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  const pauses: number[] = [];
  for (let round = 0; round < 8; round += 1) {
    library.refuse("token_required");
    expect(bridge.getSnapshot().error?.code).toBe("token_required");
    const before = library.connects;
    let waited = 0;
    for (; library.connects === before; waited += 100) vi.advanceTimersByTime(100);
    pauses.push(waited);
  }
  expect(pauses[0]).toBeLessThan(1_000);
  expect(pauses.at(-1)).toBeGreaterThan(20_000);
  expect(pauses.at(-1)).toBeLessThan(40_000);
  library.arrive();
  expect(bridge.getSnapshot()).toMatchObject({ connected: true, error: null });
});

test("what the network refuses is left to the library", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.tell("connect_error", new Error("websocket error"));
  vi.runAllTimers();
  expect([bridge.getSnapshot().error, library.connects]).toEqual([null, 1]);
});

test("a client that the server disconnected comes back, which the library would not do", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.arrive();
  library.lose("io server disconnect");
  vi.runAllTimers();
  expect(library.connects).toBe(2);
});

test("nobody who has let go is connected again", () => {
  const { client: bridge, library } = client();
  const release = bridge.hold(null, false);
  library.refuse("too_many_connections");
  release();
  vi.runAllTimers();
  expect(library.connects).toBe(1);
});

test("when the network is back, the pause is over", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.arrive();
  library.lose();
  browser.dispatchEvent(new Event("online"));
  expect([library.connects, library.disconnects]).toEqual([2, 1]);
  browser.dispatchEvent(new Event("online")); // an attempt is under way
  expect(library.connects).toBe(2);
});

test("a retry that is due is not made beside the one that somebody's look began", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.refuse("not_ready");
  page.dispatchEvent(new Event("visibilitychange"));
  vi.runAllTimers();
  expect(library.connects).toBe(2);
});

test("a connection that answers no more is given up when somebody looks", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.arrive();
  page.hidden = true;
  page.dispatchEvent(new Event("visibilitychange"));
  expect(library.emitted).toEqual([]);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  expect(library.emitted[0]).toMatchObject({ name: "unsubscribe", request: { properties: ["-"] } });
  library.emitted[0]!.answer(null, { ok: true });
  expect(library.io.engine.close).not.toHaveBeenCalled();
  library.emitted[0]!.answer(new Error("operation has timed out"));
  expect(library.io.engine.close).toHaveBeenCalledOnce();
});

test("when the network goes, the connection is given up at once", () => {
  const { client: bridge, library } = client();
  bridge.hold(null, false);
  library.arrive();
  browser.dispatchEvent(new Event("offline"));
  expect(library.io.engine.close).toHaveBeenCalledOnce();
});

test("a fresh token is shown on the connection that stands; a refusal of it is told", async () => {
  const { client: bridge, library } = client();
  const user = session("fresh");
  bridge.hold(user, false);
  library.arrive();
  user.change("token");
  await vi.runAllTimersAsync();
  expect(library.emitted[0]).toMatchObject({ name: "authenticate", request: { token: "fresh" } });
  library.emitted[0]!.answer({ ok: false, error: { code: "token_invalid", message: "no" } });
  expect(bridge.getSnapshot().error?.code).toBe("token_invalid");
});

test("the bridge's word that a token is about to end brings a fresh one", async () => {
  const { client: bridge, library } = client();
  bridge.hold(session("fresh"), false);
  library.arrive();
  library.tell("auth-status", { event: "auth-status", data: { state: "expiring" } });
  await vi.runAllTimersAsync();
  expect(library.emitted).toMatchObject([{ name: "authenticate" }]);
});

test("another user is another session", () => {
  const { client: bridge, library } = client();
  const user = session("abc");
  bridge.hold(user, false);
  library.arrive();
  user.change("user");
  expect([library.disconnects, library.connects]).toEqual([1, 2]);
  bridge.hold(session("def"), false);
  expect([library.disconnects, library.connects]).toEqual([2, 3]);
});

test("the state tells of recovery and of the bridge's own", () => {
  const { client: bridge, library } = client();
  let notices = 0;
  bridge.subscribe(() => (notices += 1));
  expect(bridge.getSnapshot()).toEqual({
    connected: false,
    recovered: null,
    bridge: null,
    error: null,
  });
  library.arrive(true);
  library.tell("bridge-status", {
    event: "bridge-status",
    data: { state: "stale", since: "", contract: "1.0" },
  });
  expect(bridge.getSnapshot()).toEqual({
    connected: true,
    recovered: true,
    bridge: "stale",
    error: null,
  });
  expect(notices).toBe(2);
});
