"use client";
import type { RefusalReason } from "@/lib/bridge/contract";
import { useSocket } from "@/lib/bridge/react";

/** Why the bridge rejected this client or its view, and what can be done. Rendered in browsers
 * only, as there is no connection on the server. */
export function Rejection({ error }: { error: RefusalReason }) {
  const { client } = useSocket();
  return (
    <>
      {error.code === "origin_forbidden" ? (
        <p>
          The bridge at {client.url} does not accept pages of {window.location.origin}. If it
          should, add this origin to the bridge&rsquo;s setting <code>BRIDGE_CORS_ORIGINS</code>.
          The page keeps trying.
        </p>
      ) : (
        <p>{error.message}</p>
      )}
      <code>{error.code}</code>
    </>
  );
}
