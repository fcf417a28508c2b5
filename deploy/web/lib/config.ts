import "server-only";
import { cookies } from "next/headers";

/** Settings of the browser's part, read from the environment and cookies for each request, so that
 * one build serves every deployment. */
export interface Config {
  bridgeUrl: string;
  bridgePath: string;
  /** Receive events in batches, a few frames per second. */
  batch: boolean;
  /** Columns that make the region of a row, widest first, as in the bridge's `BRIDGE_REGION`. */
  regionColumns: string[];
  supabase: { url: string; key: string } | null;
  /** A fixed access token for development and tests, without Supabase Auth. */
  token: string | null;
  theme: "light" | "dark" | null;
  /** Set `window.__bridge`, for tests. */
  exposeState: boolean;
}

export function bridgeUrl(): string {
  return (process.env["BRIDGE_URL"] ?? "http://localhost:8000").replace(/\/+$/, "");
}

export async function config(): Promise<Config> {
  const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, BRIDGE_PATH, BRIDGE_BATCH, BRIDGE_REGION } =
    process.env;
  if (Boolean(SUPABASE_URL) !== Boolean(SUPABASE_PUBLISHABLE_KEY)) {
    throw new Error(
      "expected both SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY, or neither; " +
        `only ${SUPABASE_URL ? "SUPABASE_URL" : "SUPABASE_PUBLISHABLE_KEY"} is set`,
    );
  }
  const jar = await cookies();
  const theme = jar.get("theme")?.value;
  return {
    bridgeUrl: bridgeUrl(),
    bridgePath: BRIDGE_PATH ?? "/socket.io",
    batch: BRIDGE_BATCH === "true",
    regionColumns: (BRIDGE_REGION || "state").split(",").map((column) => column.trim()),
    supabase:
      SUPABASE_URL && SUPABASE_PUBLISHABLE_KEY
        ? { url: SUPABASE_URL, key: SUPABASE_PUBLISHABLE_KEY }
        : null,
    token: jar.get("bridge-token")?.value ?? process.env["BRIDGE_DEMO_TOKEN"] ?? null,
    theme: theme === "light" || theme === "dark" ? theme : null,
    exposeState: process.env["BRIDGE_EXPOSE_STATE"] === "true",
  };
}
