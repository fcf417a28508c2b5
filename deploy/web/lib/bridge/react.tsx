"use client";
// React bindings: a provider that owns the tab's connection, one that shows a view, and hooks.
import {
  createContext,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import { BridgeClient, type BridgeSocket, type Connection, type Session } from "./client";
import type { PropertyId, RefusalReason } from "./contract";
import { PropertyFeed } from "./feed";
import type { Observable } from "./observable";
import { PropertyStore, type Scope, type View } from "./store";

/** Return the current value and render again when it changes. */
export function useObservable<T>({ subscribe, getSnapshot, getServerSnapshot }: Observable<T>): T {
  return useSyncExternalStore(subscribe, getSnapshot, getServerSnapshot);
}

interface Bridge {
  client: BridgeClient;
  feed: PropertyFeed;
}

function createBridge(url: string, path: string): Bridge {
  const client = new BridgeClient(url, path);
  const store = new PropertyStore((run) => void requestAnimationFrame(run));
  return { client, feed: new PropertyFeed(client, store) };
}

const BridgeContext = createContext<Bridge | null>(null);

/** Owns the connection to one bridge. Belongs in the root layout, so that navigation keeps it.
 * Connects in an effect: never on the server, and once in StrictMode. */
export function SocketProvider(props: {
  /** `url` and `path` are read in the first render only. */
  url: string;
  path?: string;
  /** Must be the same object in every render; another object starts a new session. */
  session?: Session | null;
  /** Receive events in batches, a few frames per second, in place of one frame per event. */
  batch?: boolean;
  children: React.ReactNode;
}) {
  const { url, path = "/socket.io", session = null, batch = false, children } = props;
  const [bridge] = useState(() => createBridge(url, path));
  useEffect(() => bridge.client.retain(session, batch), [bridge, session, batch]);
  return <BridgeContext value={bridge}>{children}</BridgeContext>;
}

function useBridge(): Bridge {
  const bridge = useContext(BridgeContext);
  if (!bridge) throw new Error("expected a <SocketProvider> around this component, found none");
  return bridge;
}

/** Return the socket, the same object for the life of the provider, and the connection's state. */
export function useSocket(): Connection & { client: BridgeClient; socket: BridgeSocket } {
  const { client } = useBridge();
  return { client, socket: client.socket, ...useObservable(client.connection) };
}

/** Return the store of the current view, also outside of a `PropertyProvider`. */
export function usePropertyStore(): PropertyStore {
  return useBridge().feed.store;
}

/** Return whether a `PropertyProvider` is mounted, so that there are rows to wait for. */
export function useShowing(): boolean {
  return useObservable(useBridge().feed.showing);
}

export interface Properties extends View {
  store: PropertyStore;
  /** Why the bridge rejected this view or this client; null while there is no error. */
  error: RefusalReason | null;
}

const PropertiesContext = createContext<Properties | null>(null);

/** Shows one view: these regions and properties, or all rows. One at a time per `SocketProvider`;
 * a second one takes the view over and logs an error. */
export function PropertyProvider(props: {
  regions?: readonly string[];
  properties?: readonly PropertyId[];
  children: React.ReactNode;
}) {
  const { feed } = useBridge();
  const { connected, error: rejected } = useSocket();
  const json = JSON.stringify({ regions: props.regions ?? [], properties: props.properties ?? [] });
  const scope = useMemo(() => JSON.parse(json) as Scope, [json]);
  useEffect(() => feed.show(scope), [feed, scope]);
  const view = useObservable(feed.store.view);
  const denied = useObservable(feed.error);
  const error = denied ?? (connected ? null : rejected);
  const value = useMemo((): Properties => {
    // Never show rows of the view before, not even for one frame.
    const own = view.scope === scope ? view : { scope, rows: [], ready: false };
    return { ...own, store: feed.store, error };
  }, [feed, scope, view, error]);
  return <PropertiesContext value={value}>{props.children}</PropertiesContext>;
}

/** Return the rows of the surrounding `PropertyProvider`. */
export function useProperties(): Properties {
  const properties = useContext(PropertiesContext);
  if (!properties) {
    throw new Error("expected a <PropertyProvider> around this component, found none");
  }
  return properties;
}
