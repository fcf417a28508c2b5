// The bridge's wire contract. Generated; to update it:
//   bridge schema --format typescript --out deploy/web/lib/bridge/contract.ts

/** Any JSON value, as Supabase sends it. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/**
 * The key of a row, as in the table. An integer past 2^53 - 1, which JavaScript can't hold, is a
 * string of its digits.
 */
export type PropertyId = string | number;

/** RFC 3339 in UTC with `Z`, with the fraction of the database. */
export type Timestamp = string;

/** The published columns of a row: the documented ones, then those of the settings. */
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
  address: Json;
  status: Json;
  /** Further columns, by the bridge's settings. */
  [column: string]: Json;
}

/** A row was inserted, or became visible to the client. */
export interface PropertyCreated {
  event: "property-created";
  data: PropertyCreatedData;
}

/** A column's value as last sent to clients, and its current value. */
export interface FieldChange {
  /** The value last sent; null if there was none. */
  old: Json;
  /** The current value; null if there is none. */
  new: Json;
}

/** The regions that a property left and entered. */
export interface Move {
  /** The regions of the row before the change, widest first. */
  from: string[];
  /** The regions of the row after the change, widest first. */
  to: string[];
}

/** The changed columns of a row, and its regions if it moved. */
export interface PropertyUpdatedData {
  property_id: PropertyId;
  /** Changed values by column, without the key and `updated_at`. */
  changes: { [column: string]: FieldChange };
  /** The row's own `updated_at`, else the commit time. */
  updated_at: Timestamp;
  /** Present if the row moved to another region. The event is sent to both regions. */
  moved?: Move;
  /** With `moved`: the complete new row, for clients that did not have it. */
  property?: PropertyCreatedData;
}

/** Published columns of a row changed. */
export interface PropertyUpdated {
  event: "property-updated";
  data: PropertyUpdatedData;
}

/** A deleted row, and the time of its deletion. */
export interface PropertyDeletedData {
  property_id: PropertyId;
  /** The commit time, or the time at which the bridge found the row missing. */
  deleted_at: Timestamp;
}

/** A row was deleted, or is no longer visible to the client. */
export interface PropertyDeleted {
  event: "property-deleted";
  data: PropertyDeletedData;
}

/** A change of a property that one user watches, or of a property in a watched region. */
export interface PropertyNotificationData {
  property_id: PropertyId;
  kind: "status-changed" | "price-dropped" | "price-raised" | "new-listing";
  severity: "info" | "important";
  /** One line of text, to be displayed. */
  title: string;
  /** One sentence of text, to be displayed. */
  body: string;
  /** Changed values by column, as in `property-updated`. */
  changes: { [column: string]: FieldChange };
  created_at: Timestamp;
}

/** Sent to one user, once per change, independent of the subscriptions of the user's clients. */
export interface PropertyNotification {
  event: "property-notification";
  data: PropertyNotificationData;
}

/**
 * Events in order, each in its own envelope. Several changes of one property are coalesced into
 * their net change.
 */
export interface PropertiesBatchData {
  events: (PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification)[];
}

/** Sent to clients that requested batches, instead of single events. */
export interface PropertiesBatch {
  event: "properties-batch";
  data: PropertiesBatchData;
}

/**
 * State of the bridge relative to the table, and the time since when.
 * - `live`: clients are up to date with the table, except for the stream's lag;
 * - `catching-up`: changes are received, and the table is scanned for missed ones;
 * - `stale`: no changes are received.
 */
export interface BridgeStatusData {
  state: "live" | "catching-up" | "stale";
  since: Timestamp;
  /** Version of the wire contract. */
  contract: string;
}

/** Sent to every client when the state changes, and once to each client that connects. */
export interface BridgeStatus {
  event: "bridge-status";
  data: BridgeStatusData;
}

/**
 * State of a client's token and rights.
 * - `expiring`: the token expires soon, at `expires_at`: send `authenticate` with a new one;
 * - `token_expired`: the token has expired and the connection is closed. The client library
 *   reconnects by itself, which succeeds with a new token;
 * - `signed_out`: an operator revoked the session, and the connection is closed;
 * - `changed`: the client's rights have changed. `regions` and `properties` are its whole
 *   subscription from now on; it no longer receives events of others.
 */
export interface AuthStatusData {
  state: "expiring" | "token_expired" | "signed_out" | "changed";
  /** The expiry of the token. */
  expires_at: Timestamp | null;
  /** The regions of the subscription; null: all that the rights allow. */
  regions: string[] | null;
  /** The properties of the subscription, in addition to the regions. */
  properties: PropertyId[];
}

/** Sent to one client, about its own token. */
export interface AuthStatus {
  event: "auth-status";
  data: AuthStatusData;
}

/** The name of a region: `TX`, or `TX/Austin` if regions have two levels. */
export type Region = string;

/** The id of a property in a request: `42` and `"42"` are the same. */
export type GivenPropertyId = string | number;

/**
 * The `auth` of a client that connects. All members are optional. The client library adds `pid` and
 * `offset` itself when it reconnects.
 */
export interface HandshakeAuth {
  /** A Supabase access token. */
  token?: string | null;
  /**
   * Regions to subscribe to. A client that names neither regions nor properties receives all events
   * that its rights allow.
   */
  regions?: Region[] | null;
  /** Properties to subscribe to. */
  properties?: GivenPropertyId[] | null;
  /** Whether events are sent as `properties-batch`, which needs fewer frames for a burst. */
  batch?: boolean | null;
}

/**
 * Regions and properties to add to the subscription. The first ones that a client names replace its
 * initial subscription to everything; naming neither subscribes to everything again.
 */
export interface SubscribeRequest {
  regions?: Region[] | null;
  properties?: GivenPropertyId[] | null;
  /** Whether the ack contains the current rows of the named regions and properties. */
  snapshot?: boolean | null;
  /** For a further page of a snapshot: `more` of the previous ack. */
  after?: string | null;
}

/** A row of a snapshot or of `GET /properties`: all published columns. */
export type PropertyRow = PropertyCreatedData;

/**
 * The whole subscription of the client, with a snapshot if requested.
 *
 * The ack is ordered with the events: events received before it are included in its rows, events
 * received after it are not. While there is `more`, request it with `after` and the same regions.
 * Each page's rows replace the rows that the client has. An event that updates a property and
 * carries `property`, the row of a move, is stored like a creation. Any other event that updates or
 * deletes an unknown property is ignored, since a later page has its current row. A client that
 * reconnects before the last page begins again, also if it is recovered.
 */
export interface Subscribed {
  ok: true;
  /** Null: everything that the client's rights allow. */
  regions: string[] | null;
  properties: PropertyId[];
  /** With a snapshot: the log position at which the rows are valid. */
  offset?: string;
  /** With a snapshot that has further pages: the value of `after` for the next page. */
  more?: string;
  /** The current rows, if requested. */
  snapshot?: PropertyRow[];
}

/** The reason of a rejection. A rejected request changes nothing. */
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
  | "not_supported"
  /** the bridge failed to handle the request; its log has why */
  | "internal_error";

/** The reason of a rejection: a code for programs, a message for developers. */
export interface RefusalReason {
  code: ErrorCode;
  /** The expected value, and the one received. */
  message: string;
}

/** A rejected request changes nothing. */
export interface Refusal {
  ok: false;
  error: RefusalReason;
}

export type SubscribeAck = Subscribed | Refusal;

/** Regions and properties to remove from the subscription. Naming neither removes all. */
export interface UnsubscribeRequest {
  regions?: Region[] | null;
  properties?: GivenPropertyId[] | null;
}

/** The whole subscription of the client after the request. */
export interface Unsubscribed {
  ok: true;
  /** Null: everything that the client's rights allow. */
  regions: string[] | null;
  properties: PropertyId[];
}

export type UnsubscribeAck = Unsubscribed | Refusal;

/** A new token for this connection, sent before the expiry of the current one. */
export interface AuthenticateRequest {
  /** A Supabase access token of the same user. */
  token: string;
}

/** The token was accepted. */
export interface Authenticated {
  ok: true;
  /** The expiry of the token. */
  expires_at: Timestamp;
}

export type AuthenticateAck = Authenticated | Refusal;

/**
 * The bridge rejected the connection. The client library emits it as `connect_error`, with an
 * `Error` that has this `message` and `data`.
 */
export interface ConnectRefusal {
  message: string;
  data: RefusalReason;
}

/** Any envelope that the bridge emits, by `event`. */
export type Envelope =
  | PropertyCreated
  | PropertyUpdated
  | PropertyDeleted
  | PropertiesBatch
  | BridgeStatus
  | AuthStatus
  | PropertyNotification;

/**
 * Listeners of the events that the bridge emits.
 *
 * The listener's second argument, which it may omit, is the event's position in the log. The client
 * library uses it for recovery; it is not passed on by python-socketio.
 */
export interface ServerToClientEvents {
  /** A row was inserted, or became visible to the client. */
  "property-created": (envelope: PropertyCreated, position?: string) => void;
  /** Published columns of a row changed. */
  "property-updated": (envelope: PropertyUpdated, position?: string) => void;
  /** A row was deleted, or is no longer visible to the client. */
  "property-deleted": (envelope: PropertyDeleted, position?: string) => void;
  /** Sent to clients that requested batches, instead of single events. */
  "properties-batch": (envelope: PropertiesBatch, position?: string) => void;
  /** Sent to every client when the state changes, and once to each client that connects. */
  "bridge-status": (envelope: BridgeStatus, position?: string) => void;
  /** Sent to one client, about its own token. */
  "auth-status": (envelope: AuthStatus, position?: string) => void;
  /** Sent to one user, once per change, independent of the subscriptions of the user's clients. */
  "property-notification": (envelope: PropertyNotification, position?: string) => void;
}

/** Requests that a client may emit, with the arguments of their acks. */
export interface ClientToServerEvents {
  /** Add to the subscription; return the current rows if requested. */
  subscribe: (
    request: SubscribeRequest,
    ack: (answer: SubscribeAck) => void,
  ) => void;
  /** Remove from the subscription. */
  unsubscribe: (
    request: UnsubscribeRequest,
    ack: (answer: UnsubscribeAck) => void,
  ) => void;
  /** Replace the token of the connection. */
  authenticate: (
    request: AuthenticateRequest,
    ack: (answer: AuthenticateAck) => void,
  ) => void;
}
