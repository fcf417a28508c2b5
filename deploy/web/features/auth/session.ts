// Who the user is: a fixed token for development and tests, or Supabase's own session.
import type { SupabaseClient } from "@supabase/supabase-js";
import type { Session } from "@/lib/bridge/socket";

/** A token that somebody else looks after. */
export function fixedSession(token: string): Session {
  return { token: () => Promise.resolve(token), onChange: () => () => {} };
}

export interface SupabaseSession extends Session {
  client(): Promise<SupabaseClient>;
}

/** The session of `supabase-js`, which is loaded when it is first needed. */
export function supabaseSession(url: string, key: string): SupabaseSession {
  let loading: Promise<SupabaseClient> | undefined;
  const client = () =>
    (loading ??= import("@supabase/supabase-js").then(({ createClient }) =>
      createClient(url, key),
    ));
  return {
    client,
    async token() {
      // Refreshes a session that has ended, so that a reconnect is never refused for its age.
      const { data, error } = await (await client()).auth.getSession();
      if (error) throw error;
      return data.session?.access_token ?? null;
    },
    onChange(listener) {
      let over = false;
      let unsubscribe = () => {};
      let user: string | undefined;
      void client().then(({ auth }) => {
        if (over) return;
        // Must not be async: it runs while the library holds its lock.
        const { data } = auth.onAuthStateChange((event, session) => {
          const before = user;
          user = session?.user.id;
          if (event === "INITIAL_SESSION") return;
          if (user !== before) listener("user");
          else if (event === "TOKEN_REFRESHED") listener("token");
        });
        unsubscribe = () => data.subscription.unsubscribe();
      });
      return () => {
        over = true;
        unsubscribe();
      };
    },
  };
}
