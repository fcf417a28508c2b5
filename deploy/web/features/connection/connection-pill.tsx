"use client";
import { useEffect, useState, useSyncExternalStore } from "react";
import { age } from "@/lib/format";
import { feedOf } from "@/lib/bridge/properties";
import { useSocket } from "@/lib/bridge/socket";
import styles from "./connection-pill.module.css";

const WORDS = { live: "Live", "catching-up": "Catching up", stale: "Stale", offline: "Offline" };

/** Where the page stands: what it shows is the table, or on its way there, or of the past. */
export function ConnectionPill() {
  const { client, connected, recovered, bridge, error } = useSocket();
  const { store } = feedOf(client);
  const view = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
  const state = !connected
    ? "offline"
    : bridge === "stale"
      ? "stale"
      : view.ready && bridge !== "catching-up"
        ? "live"
        : "catching-up";
  const word = error && !connected ? "Refused" : recovered === null ? "Connecting" : WORDS[state];
  const about = [
    error ? `${error.code}: ${error.message}` : WORDS[state],
    recovered ? "The last reconnect brought all that was missed" : "Read anew at the last connect",
  ].join(". ");
  return (
    <div
      className={styles.pill}
      data-testid="connection"
      data-state={state}
      data-session={recovered ? "recovered" : "fresh"}
      title={about}
      role="status"
      aria-label={`Connection: ${about}`}
    >
      <span className={styles.dot} />
      <span className={styles.word}>{word}</span>
      <LastHeard />
    </div>
  );
}

/** Seconds since the bridge said something, for those who watch closely. */
function LastHeard() {
  const { socket } = useSocket();
  const [text, setText] = useState("");
  useEffect(() => {
    let heardAt: number | null = null;
    const hear = () => (heardAt = Date.now());
    socket.onAny(hear);
    const timer = setInterval(() => {
      setText(heardAt === null ? "" : age((Date.now() - heardAt) / 1000));
    }, 1000);
    return () => {
      clearInterval(timer);
      socket.offAny(hear);
    };
  }, [socket]);
  return (
    <span className={styles.age} aria-hidden="true" title="Since the last event">
      {text}
    </span>
  );
}
