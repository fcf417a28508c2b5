"use client";
import { useEffect } from "react";
import type { PropertyRow } from "@/lib/bridge/contract";
import { usePropertyStore, useSocket } from "@/lib/bridge/react";

declare global {
  interface Window {
    /** State of the page for tests: a list renders only the rows in view. Set where
     * `BRIDGE_EXPOSE_STATE=true`. */
    __bridge?: {
      /** Rows of the current view. */
      rows(): PropertyRow[];
      /** Log position of the last applied event or page. */
      position(): string | null;
      /** Engine.IO connections opened since the page was loaded. */
      sockets(): number;
      /** Socket.IO sessions connected since the page was loaded, recovered ones included. */
      connects(): number;
    };
  }
}

/** Sets `window.__bridge`. Its effect runs before the one of `SocketProvider` connects. */
export function ExposedState() {
  const { socket } = useSocket();
  const store = usePropertyStore();
  useEffect(() => {
    let [sockets, connects] = [0, 0];
    const onOpen = () => void (sockets += 1);
    const onConnect = () => void (connects += 1);
    socket.io.on("open", onOpen);
    socket.on("connect", onConnect);
    window.__bridge = {
      rows: store.rows,
      position: store.position,
      sockets: () => sockets,
      connects: () => connects,
    };
    return () => {
      socket.io.off("open", onOpen);
      socket.off("connect", onConnect);
      delete window.__bridge;
    };
  }, [socket, store]);
  return null;
}
