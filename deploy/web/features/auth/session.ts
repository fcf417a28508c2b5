// The user's access token: a fixed one for development and tests, or from Supabase Auth.
import type { SupabaseClient } from "@supabase/supabase-js";
import type { Session } from "@/lib/bridge/client";

/** A token that never changes. */
export function fixedSession(token: string): Session {
  return { token: () => Promise.resolve(token), onChange: () => () => {} };
}

export interface SupabaseSession extends Session {
  client(): Promise<SupabaseClient>;
}

/** The session of `supabase-js`, which is loaded on first use. */
export function supabaseSession(url: string, key: string): SupabaseSession {
  let loading: Promise<SupabaseClient> | undefined;
  const client = () =>
    (loading ??= import("@supabase/supabase-js").then(({ createClient }) =>
      createClient(url, key),
    ));
  return {
    client,
    async token() {
      // Refreshes an expired session, so that a reconnect is not rejected with `token_expired`.
      const { data, error } = await (await client()).auth.getSession();
      if (error) throw error;
      return data.session?.access_token ?? null;
    },
    async renew() {
      const { auth } = await client();
      const { error } = await auth.refreshSession();
      // Rejected by Supabase Auth too, as after a change of the project's keys: sign in again. An
      // error of the network is tried again with the next rejection.
      if (error && error.status) await auth.signOut({ scope: "local" });
    },
    onChange(listener) {
      let cancelled = false;
      let unsubscribe = () => {};
      let last: { user: string; token: string } | null = null;
      void client().then(({ auth }) => {
        if (cancelled) return;
        // Not async: supabase-js calls it while it holds its lock, and awaiting would deadlock.
        const { data } = auth.onAuthStateChange((event, session) => {
          const before = last;
          last = session && { user: session.user.id, token: session.access_token };
          if (event === "INITIAL_SESSION") return;
          if (last?.user !== before?.user) listener("user");
          else if (last?.token !== before?.token) listener("token");
        });
        unsubscribe = () => data.subscription.unsubscribe();
      });
      return () => {
        cancelled = true;
        unsubscribe();
      };
    },
  };
}
