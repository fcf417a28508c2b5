"use client";
import { useEffect, useState } from "react";
import { useObservable, usePropertyStore, useShowing, useSocket } from "@/lib/bridge/react";
import { formatAge } from "@/lib/format";
import styles from "./connection-pill.module.css";

const LABELS = { live: "Live", "catching-up": "Catching up", stale: "Stale", offline: "Offline" };

/** Shows whether the page is equal to the table, catching up with it, or outdated. */
export function ConnectionPill() {
  const { connected, recovered, bridge, error } = useSocket();
  const view = useObservable(usePropertyStore().view);
  const showing = useShowing(); // a page without listings, such as "not found", has none to read
  const state = !connected
    ? "offline"
    : bridge === "stale"
      ? "stale"
      : (view.ready || !showing) && bridge !== "catching-up"
        ? "live"
        : "catching-up";
  const label =
    error && !connected ? "Rejected" : recovered === null ? "Connecting" : LABELS[state];
  const details = [
    error ? `${error.code}: ${error.message}` : LABELS[state],
    recovered
      ? "The last reconnect recovered all missed events"
      : "The last connect read a new snapshot",
  ].join(". ");
  return (
    <div
      className={styles.pill}
      data-testid="connection"
      data-state={state}
      data-session={recovered ? "recovered" : "fresh"}
      title={details}
      role="status"
      aria-label={`Connection: ${details}`}
    >
      <span className={styles.dot} />
      <span className={styles.label}>{label}</span>
      <LastEventAge />
    </div>
  );
}

/** Time since the last event of any kind. */
function LastEventAge() {
  const { socket } = useSocket();
  const [text, setText] = useState("");
  useEffect(() => {
    let receivedAt: number | null = null;
    const onEvent = () => (receivedAt = Date.now());
    socket.onAny(onEvent);
    const timer = setInterval(() => {
      setText(receivedAt === null ? "" : formatAge((Date.now() - receivedAt) / 1000));
    }, 1000);
    return () => {
      clearInterval(timer);
      socket.offAny(onEvent);
    };
  }, [socket]);
  return (
    <span className={styles.age} aria-hidden="true" title="Time since the last event">
      {text}
    </span>
  );
}
