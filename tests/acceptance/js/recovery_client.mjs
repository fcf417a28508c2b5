// The official client with listeners that are added before it connects. Prints a JSON line for each
// event:
//
//   {"connected": id, "recovered": bool, "transport": name}
//   {"event": name, "data": envelope.data, "position": the last argument}
//   {"disconnected": reason}   {"ack": answer}   {"known": {id: row}}
//
// node recovery_client.mjs URL [OPTIONS], where OPTIONS is JSON merged into io()'s own. Commands
// on stdin, a JSON line each:
//
//   {"emit": name, "args": [...]}   {"drop": true}   {"end": true}   {"goodbye": true}
//   {"snapshot": [region, ...]}     fetches a snapshot in pages and keeps it up to date
//   {"show": true}                  prints its rows
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const [url, options = "{}"] = process.argv.slice(2);
const socket = io(url, { reconnectionDelay: 50, reconnectionDelayMax: 100, ...JSON.parse(options) });

const known = new Map();
let regions = [];

const apply = ({ event, data }) => {
  const id = data.property_id;
  if (event === "property-created") known.set(id, data);
  if (event === "property-deleted") known.delete(id);
  if (event !== "property-updated") return;
  if (data.moved) {
    known.delete(id);
    if (data.moved.to.some((region) => regions.includes(region))) known.set(id, data.property);
  } else if (known.has(id)) {
    for (const [name, change] of Object.entries(data.changes)) known.get(id)[name] = change.new;
  }
};

const page = (after) => {
  socket.emit("subscribe", { regions, snapshot: true, ...(after && { after }) }, (ack) => {
    for (const row of ack.snapshot) known.set(row.property_id, row);
    if (ack.more) page(ack.more);
    else print({ ack: { ...ack, snapshot: null } });
  });
};

socket.on("connect", () => {
  print({
    connected: socket.id,
    recovered: socket.recovered,
    transport: socket.io.engine.transport.name,
  });
});
socket.on("disconnect", (reason) => print({ disconnected: reason }));
socket.on("connect_error", (error) => print({ refused: error.message }));
for (const name of [
  "property-created",
  "property-updated",
  "property-deleted",
  "properties-batch",
  "bridge-status",
  "property-notification",
]) {
  socket.on(name, (envelope, position) => {
    print({ event: name, data: envelope.data, position });
    for (const event of envelope.data.events ?? [envelope]) apply(event);
  });
}

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const command = JSON.parse(line);
    if (command.emit) print({ ack: await socket.emitWithAck(command.emit, ...(command.args ?? [])) });
    if (command.drop) socket.io.engine.close();
    if (command.goodbye) socket.disconnect().connect();
    if (command.snapshot) {
      regions = command.snapshot;
      page();
    }
    if (command.show) print({ known: Object.fromEntries(known) });
    if (command.end) socket.disconnect();
  })
  .on("close", () => {
    socket.disconnect();
    process.exit(0);
  });
