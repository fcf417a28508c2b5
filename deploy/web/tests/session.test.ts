import { beforeEach, expect, test, vi } from "vitest";
import { fixedSession, supabaseSession } from "@/features/auth/session";

type Told = (event: string, session: { user: { id: string } } | null) => void;

const supabase = vi.hoisted(() => ({
  made: 0,
  session: null as { access_token: string } | null,
  error: null as Error | null,
  listeners: new Set<unknown>(),
}));

vi.mock("@supabase/supabase-js", () => ({
  createClient: () => {
    supabase.made += 1;
    return {
      auth: {
        getSession: () =>
          Promise.resolve({ data: { session: supabase.session }, error: supabase.error }),
        onAuthStateChange: (listener: Told) => {
          supabase.listeners.add(listener);
          return {
            data: { subscription: { unsubscribe: () => supabase.listeners.delete(listener) } },
          };
        },
      },
    };
  },
}));

const ANN = { user: { id: "ann" } };
const BOB = { user: { id: "bob" } };

beforeEach(() => {
  Object.assign(supabase, { made: 0, session: null, error: null });
  supabase.listeners.clear();
});

function tell(...told: Parameters<Told>): void {
  for (const listener of supabase.listeners) (listener as Told)(...told);
}

/** A session that is listened to, and what it told. */
async function listened() {
  const told: string[] = [];
  const session = supabaseSession("http://supabase", "sb_publishable");
  const stop = session.onChange((what) => told.push(what));
  await vi.waitFor(() => expect(supabase.listeners.size).toBe(1));
  return { told, stop };
}

test("a fixed token is the token", async () => {
  expect(await fixedSession("abc").token()).toBe("abc");
});

test("the token is that of Supabase's session, and none for who is not signed in", async () => {
  const session = supabaseSession("http://supabase", "sb_publishable");
  expect(await session.token()).toBeNull();
  supabase.session = { access_token: "abc" };
  expect(await session.token()).toBe("abc");
  expect(supabase.made).toBe(1);
});

test("a session that can't be had is an error, not nobody", async () => {
  supabase.error = new Error("offline");
  await expect(supabaseSession("http://supabase", "sb_publishable").token()).rejects.toThrow(
    "offline",
  );
});

test("who was signed in already is no change", async () => {
  const { told } = await listened();
  tell("INITIAL_SESSION", ANN);
  tell("SIGNED_IN", ANN); // told whenever the tab is looked at again
  expect(told).toEqual([]);
});

test("a refreshed token, another user, and nobody are told", async () => {
  const { told } = await listened();
  tell("INITIAL_SESSION", ANN);
  tell("TOKEN_REFRESHED", ANN);
  tell("SIGNED_IN", BOB);
  tell("SIGNED_OUT", null);
  expect(told).toEqual(["token", "user", "user"]);
});

test("who listens no more is told nothing", async () => {
  const { told, stop } = await listened();
  stop();
  tell("SIGNED_IN", ANN);
  expect([told, supabase.listeners.size]).toEqual([[], 0]);
});

test("who stops before the library is there never listens", async () => {
  supabaseSession("http://supabase", "sb_publishable").onChange(() => {})();
  await new Promise((go) => setTimeout(go));
  expect(supabase.listeners.size).toBe(0);
});
