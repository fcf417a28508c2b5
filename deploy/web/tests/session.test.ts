import { beforeEach, expect, test, vi } from "vitest";
import { fixedSession, supabaseSession } from "@/features/auth/session";

interface AuthSession {
  user: { id: string };
  access_token: string;
}
type AuthListener = (event: string, session: AuthSession | null) => void;

const supabase = vi.hoisted(() => ({
  created: 0,
  session: null as { access_token: string } | null,
  error: null as Error | null,
  refreshError: null as { status?: number } | null,
  signOuts: [] as unknown[],
  listeners: new Set<unknown>(),
}));

vi.mock("@supabase/supabase-js", () => ({
  createClient: () => {
    supabase.created += 1;
    return {
      auth: {
        getSession: () =>
          Promise.resolve({ data: { session: supabase.session }, error: supabase.error }),
        refreshSession: () => Promise.resolve({ error: supabase.refreshError }),
        signOut: (options: unknown) => Promise.resolve(supabase.signOuts.push(options)),
        onAuthStateChange: (listener: AuthListener) => {
          supabase.listeners.add(listener);
          return {
            data: { subscription: { unsubscribe: () => supabase.listeners.delete(listener) } },
          };
        },
      },
    };
  },
}));

const ANN = { user: { id: "ann" }, access_token: "ann-1" };
const ANN_REFRESHED = { ...ANN, access_token: "ann-2" };
const BOB = { user: { id: "bob" }, access_token: "bob-1" };

beforeEach(() => {
  Object.assign(supabase, { created: 0, session: null, error: null, signOuts: [] });
  supabase.listeners.clear();
});

function emitAuth(...event: Parameters<AuthListener>): void {
  for (const listener of supabase.listeners) (listener as AuthListener)(...event);
}

/** A session with a listener, and the changes that it received. */
async function subscribed() {
  const changes: string[] = [];
  const session = supabaseSession("http://supabase", "sb_publishable");
  const stop = session.onChange((change) => changes.push(change));
  await vi.waitFor(() => expect(supabase.listeners.size).toBe(1));
  return { changes, stop };
}

test("fixed session returns its token", async () => {
  expect(await fixedSession("abc").token()).toBe("abc");
});

test("Supabase session returns its access token, null when signed out", async () => {
  const session = supabaseSession("http://supabase", "sb_publishable");
  expect(await session.token()).toBeNull();
  supabase.session = { access_token: "abc" };
  expect(await session.token()).toBe("abc");
  expect(supabase.created).toBe(1);
});

test("failure to load the session is raised, not taken for signed out", async () => {
  supabase.error = new Error("offline");
  await expect(supabaseSession("http://supabase", "sb_publishable").token()).rejects.toThrow(
    "offline",
  );
});

test("initial session is not reported as a change", async () => {
  const { changes } = await subscribed();
  emitAuth("INITIAL_SESSION", ANN);
  emitAuth("SIGNED_IN", ANN); // emitted each time the tab becomes visible
  expect(changes).toEqual([]);
});

test("refreshed token, other user and sign-out are reported", async () => {
  const { changes } = await subscribed();
  emitAuth("INITIAL_SESSION", ANN);
  emitAuth("TOKEN_REFRESHED", ANN_REFRESHED);
  emitAuth("SIGNED_IN", BOB);
  emitAuth("SIGNED_OUT", null);
  expect(changes).toEqual(["token", "user", "user"]);
});

test("fresh token of the same user is reported whatever the event", async () => {
  const { changes } = await subscribed();
  emitAuth("INITIAL_SESSION", ANN);
  emitAuth("SIGNED_IN", ANN_REFRESHED); // signed in again
  emitAuth("USER_UPDATED", ANN_REFRESHED);
  expect(changes).toEqual(["token"]);
});

test("unsubscribed listener is not called", async () => {
  const { changes, stop } = await subscribed();
  stop();
  emitAuth("SIGNED_IN", ANN);
  expect([changes, supabase.listeners.size]).toEqual([[], 0]);
});

test("listener unsubscribed before supabase-js is loaded is never added", async () => {
  supabaseSession("http://supabase", "sb_publishable").onChange(() => {})();
  await new Promise((resolve) => setTimeout(resolve));
  expect(supabase.listeners.size).toBe(0);
});

test.each([
  ["a fresh token", null, []],
  ["an error of the network", {}, []],
  ["a rejection", { status: 400 }, [{ scope: "local" }]],
])("renewal with %s signs out only where it has to", async (_case, error, signOuts) => {
  supabase.refreshError = error;
  await supabaseSession("http://supabase", "sb_publishable").renew?.();
  expect(supabase.signOuts).toEqual(signOuts);
});
