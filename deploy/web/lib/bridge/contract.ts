// The bridge's wire contract. Written by a program; to renew it:
//   bridge schema --format typescript --out deploy/web/lib/bridge/contract.ts

/** Any JSON value, as Supabase gives it. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/** The key of a row, as the table has it. */
export type PropertyId = string | number;

/** RFC 3339 in UTC with `Z`, fractions as the database gave them. */
export type Timestamp = string;

/** The published columns of a row: the documented ones, then those that settings add. */
export interface PropertyCreatedData {
  property_id: PropertyId;
  name: string | null;
  city: string | null;
  state: string | null;
  price: number | null;
  units: number | null;
  latitude: number | null;
  longitude: number | null;
  created_at: Timestamp | null;
  /** Further columns, as settings have them. */
  [column: string]: Json;
}

/** A row appeared. */
export interface PropertyCreated {
  event: "property-created";
  data: PropertyCreatedData;
}

/** A column's value as clients were last told it, and as it is now. */
export interface FieldChange {
  /** As it was last told; null where there was none. */
  old: Json;
  /** As it is now; null where there is none. */
  new: Json;
}

/** The regions that a property left and entered. */
export interface Move {
  /** The regions that it was in, widest first. */
  from: string[];
  /** The regions that it is in now, widest first. */
  to: string[];
}

/** What became different, and where it moved if it did. */
export interface PropertyUpdatedData {
  property_id: PropertyId;
  /** By column: only those whose value changed, never the key, never `updated_at`. */
  changes: { [column: string]: FieldChange };
  /** The row's own `updated_at`, else the time of the commit. */
  updated_at: Timestamp;
  /** Where the row left one region for another. Such an update is told in both. */
  moved?: Move;
  /** With `moved`: the whole new row, for those who did not know it. */
  property?: PropertyCreatedData;
}

/** Published columns of a row changed. */
export interface PropertyUpdated {
  event: "property-updated";
  data: PropertyUpdatedData;
}

/** Which row is gone, and since when. */
export interface PropertyDeletedData {
  property_id: PropertyId;
  /** The time of the commit, or when its absence was found. */
  deleted_at: Timestamp;
}

/** A row is gone. */
export interface PropertyDeleted {
  event: "property-deleted";
  data: PropertyDeletedData;
}

/** A change that concerns one user, who watches the property or its region. */
export interface PropertyNotificationData {
  property_id: PropertyId;
  kind: "status-changed" | "price-dropped" | "price-raised" | "new-listing";
  severity: "info" | "important";
  /** One line, to be shown as it is. */
  title: string;
  /** A sentence, to be shown as it is. */
  body: string;
  /** By column, as in `property-updated`. */
  changes: { [column: string]: FieldChange };
  created_at: Timestamp;
}

/** Told to one user, once for each change, whatever else its clients subscribed to. */
export interface PropertyNotification {
  event: "property-notification";
  data: PropertyNotificationData;
}

/**
 * In order, each as it would come alone. What happened to one property is folded into its net
 * difference.
 */
export interface PropertiesBatchData {
  events: (PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification)[];
}

/** Told to clients that asked for batches, in place of the single events. */
export interface PropertiesBatch {
  event: "properties-batch";
  data: PropertiesBatchData;
}

/**
 * How the bridge stands to the table, and since when.
 * - `live`: what clients are told is what the table says, but for the stream's lag;
 * - `catching-up`: changes flow, and what may have been missed is being looked for;
 * - `stale`: no changes flow.
 */
export interface BridgeStatusData {
  state: "live" | "catching-up" | "stale";
  since: Timestamp;
  /** The version of the wire contract. */
  contract: string;
}

/** Told when the state changes, and once to every client that connects. */
export interface BridgeStatus {
  event: "bridge-status";
  data: BridgeStatusData;
}

/**
 * How a client's rights stand.
 * - `expiring`: the token ends soon, at `expires_at`: `authenticate` with a fresh one;
 * - `token_expired`: it has ended. The connection is closed; the client library comes back by
 *   itself, and is let in with a fresh token;
 * - `signed_out`: the session was ended by an operator, and the connection is closed;
 * - `changed`: the client's rights are others from here on. `regions` and `properties` are all
 *   that it hears now; what it heard beyond that, it hears no more.
 */
export interface AuthStatusData {
  state: "expiring" | "token_expired" | "signed_out" | "changed";
  /** When the token ends, or ended. */
  expires_at: Timestamp | null;
  /** The regions that the client hears; null: everything that it may. */
  regions: string[] | null;
  /** The properties that it hears beside them. */
  properties: PropertyId[];
}

/** Told to one client, of its own token. */
export interface AuthStatus {
  event: "auth-status";
  data: AuthStatusData;
}

/** A region's name: `TX`, or `TX/Austin` where regions have two levels. */
export type Region = string;

/** A property's id as a client names it: `42` and `"42"` are the same. */
export type GivenPropertyId = string | number;

/**
 * What a client gives as `auth` when it connects. All of it is optional. The client library adds
 * `pid` and `offset` by itself when it comes back.
 */
export interface HandshakeAuth {
  /** A Supabase access token. */
  token?: string | null;
  /**
   * Regions to hear from the beginning. Who names neither regions nor properties hears all that it
   * may.
   */
  regions?: Region[] | null;
  /** Single properties to hear from the beginning. */
  properties?: GivenPropertyId[] | null;
  /** Whether events shall come as `properties-batch`, a burst in few frames. */
  batch?: boolean | null;
}

/**
 * What to hear from now on, beside what is heard already. The first region or property that a
 * client names replaces the everything of the beginning; naming neither means everything again.
 */
export interface SubscribeRequest {
  regions?: Region[] | null;
  properties?: GivenPropertyId[] | null;
  /** Whether the ack shall carry the current rows of what is named. */
  snapshot?: boolean | null;
  /** For a further page of a snapshot: what the ack before gave as `more`. */
  after?: string | null;
}

/** A row of a snapshot or of `GET /properties`: all published columns. */
export type PropertyRow = PropertyCreatedData;

/**
 * All that the client hears now, and the snapshot if it asked for one.
 *
 * The ack has its place among the events: what came before it is in its rows, what comes after it
 * is not. While there is `more`, ask for it with `after` and the same regions: put each page's rows
 * in the place of what is known, and pass over an event that updates or deletes a property that is
 * not known, since a later page has it as it is then.
 */
export interface Subscribed {
  ok: true;
  /** Null: everything that the client may hear. */
  regions: string[] | null;
  properties: PropertyId[];
  /** With a snapshot: the position in the log as of which the rows are. */
  offset?: string;
  /** With a snapshot that has further pages: what to give as `after` for the next one. */
  more?: string;
  /** The current rows, if asked for. */
  snapshot?: PropertyRow[];
}

/** Why a request was refused. A refused request changed nothing. */
export type ErrorCode =
  /** the argument does not have the documented shape */
  | "bad_request"
  /** more regions and properties than one client may subscribe to */
  | "too_many_rooms"
  /** the client or its address exceeds a rate limit; retry later */
  | "rate_limited"
  /** the table or the signing keys have not been read yet; retry in a few seconds */
  | "not_ready"
  /** the snapshot's next page is no longer available; request a new snapshot */
  | "cursor_gone"
  /** this bridge requires a token */
  | "token_required"
  /** the token is malformed, or not issued by this bridge's project */
  | "token_invalid"
  /** the token has expired; get a new one */
  | "token_expired"
  /** the token's session was revoked; sign in again */
  | "signed_out"
  /** the token does not grant this region */
  | "region_forbidden"
  /** too many connections of this address or in total; retry later */
  | "too_many_connections"
  /** pages of this origin may not connect */
  | "origin_forbidden"
  /** for operators only; the message has the requirements */
  | "forbidden"
  /** documented, but not supported by this bridge */
  | "not_supported";

/** Why a request was refused: a code for programs, a message for people. */
export interface RefusalReason {
  code: ErrorCode;
  /** What was expected, and what came. */
  message: string;
}

/** A refused request changed nothing. */
export interface Refusal {
  ok: false;
  error: RefusalReason;
}

export type SubscribeAck = Subscribed | Refusal;

/** What to hear no more. Naming neither means all of it. */
export interface UnsubscribeRequest {
  regions?: Region[] | null;
  properties?: GivenPropertyId[] | null;
}

/** All that the client still hears. */
export interface Unsubscribed {
  ok: true;
  /** Null: everything that the client may hear. */
  regions: string[] | null;
  properties: PropertyId[];
}

export type UnsubscribeAck = Unsubscribed | Refusal;

/** A fresh token for this connection, before the former one ends. */
export interface AuthenticateRequest {
  /** A Supabase access token of the same user. */
  token: string;
}

/** The token was taken. */
export interface Authenticated {
  ok: true;
  /** When it ends. */
  expires_at: Timestamp;
}

export type AuthenticateAck = Authenticated | Refusal;

/**
 * The bridge did not let the client in. The client library makes an `Error` of it, with this
 * `message` and `data`, and tells it as `connect_error`.
 */
export interface ConnectRefusal {
  message: string;
  data: RefusalReason;
}

/** Whatever the bridge emits: `event` says which. */
export type Envelope =
  | PropertyCreated
  | PropertyUpdated
  | PropertyDeleted
  | PropertiesBatch
  | BridgeStatus
  | AuthStatus
  | PropertyNotification;

/**
 * What the bridge emits: each event's listener.
 *
 * The listener's second argument, which it may leave out, is the event's position in the log. The
 * client library recovers from it; clients of python-socketio are not told it.
 */
export interface ServerToClientEvents {
  /** A row appeared. */
  "property-created": (envelope: PropertyCreated, position?: string) => void;
  /** Published columns of a row changed. */
  "property-updated": (envelope: PropertyUpdated, position?: string) => void;
  /** A row is gone. */
  "property-deleted": (envelope: PropertyDeleted, position?: string) => void;
  /** Told to clients that asked for batches, in place of the single events. */
  "properties-batch": (envelope: PropertiesBatch, position?: string) => void;
  /** Told when the state changes, and once to every client that connects. */
  "bridge-status": (envelope: BridgeStatus, position?: string) => void;
  /** Told to one client, of its own token. */
  "auth-status": (envelope: AuthStatus, position?: string) => void;
  /** Told to one user, once for each change, whatever else its clients subscribed to. */
  "property-notification": (envelope: PropertyNotification, position?: string) => void;
}

/** What a client may emit, and what its ack is called with. */
export interface ClientToServerEvents {
  /** Hear more, with the current rows if asked for. */
  subscribe: (
    request: SubscribeRequest,
    ack: (answer: SubscribeAck) => void,
  ) => void;
  /** Hear less. */
  unsubscribe: (
    request: UnsubscribeRequest,
    ack: (answer: UnsubscribeAck) => void,
  ) => void;
  /** Go on with a fresh token. */
  authenticate: (
    request: AuthenticateRequest,
    ack: (answer: AuthenticateAck) => void,
  ) => void;
}
