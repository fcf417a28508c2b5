// How a page uses the types: this must compile.
import { io, type Socket } from "socket.io-client";
import type {
  ClientToServerEvents,
  ConnectRefusal,
  Envelope,
  ErrorCode,
  HandshakeAuth,
  Json,
  PropertyRow,
  ServerToClientEvents,
} from "../../../deploy/web/lib/bridge/contract";

const auth: HandshakeAuth = { regions: ["TX"], properties: [7, "p1"], batch: true };
const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:8000", {
  auth: (give) => give(auth),
});
const rows = new Map<string, PropertyRow>();

socket.on("property-created", ({ data }) => {
  rows.set(String(data.property_id), data);
  const further: Json | undefined = data["address"];
  console.log(data.price === null ? "no price" : data.price.toFixed(2), further);
});
socket.on("property-updated", (envelope, position) => {
  const { changes, moved, property } = envelope.data;
  for (const [column, { old, new: now }] of Object.entries(changes)) {
    console.log(column, old, now, position?.length);
  }
  if (moved !== undefined && property !== undefined) {
    console.log(moved.from.join(), moved.to.join(), property.name?.toUpperCase());
  }
});
socket.on("property-deleted", ({ data }) => rows.delete(String(data.property_id)));
socket.on("properties-batch", ({ data }) => data.events.forEach(apply));
socket.on("bridge-status", ({ data }) => {
  const state: "live" | "catching-up" | "stale" = data.state;
  console.log(state, data.since);
});
socket.on("auth-status", async ({ data }) => {
  if (data.state === "expiring") {
    const answer = await socket.emitWithAck("authenticate", { token: "fresh" });
    console.log(answer.ok ? answer.expires_at : answer.error.message);
  }
});
socket.on("property-notification", ({ data }) => console.log(data.title, data.severity));
socket.on("connect_error", (error) => {
  const refusal = (error as Error & Partial<ConnectRefusal>).data;
  if (refusal) console.log(advice(refusal.code));
});

function apply(envelope: Envelope): void {
  switch (envelope.event) {
    case "property-created":
      rows.set(String(envelope.data.property_id), envelope.data);
      break;
    case "property-deleted":
      rows.delete(String(envelope.data.property_id));
      break;
  }
}

function advice(code: ErrorCode): string {
  return code === "token_expired" ? "get a fresh token" : code;
}

socket.emit("subscribe", { regions: ["TX"], snapshot: true }, (answer) => {
  if (answer.ok) {
    for (const row of answer.snapshot ?? []) rows.set(String(row.property_id), row);
    if (answer.more !== undefined) console.log("more", answer.more, answer.offset);
  } else {
    console.log(advice(answer.error.code));
  }
});
socket.emit("unsubscribe", {}, (answer) => console.log(answer.ok && answer.regions));
