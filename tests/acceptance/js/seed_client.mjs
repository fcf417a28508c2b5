// The seed document's client code without React: a socket created as in its SocketContext, the three
// listeners of its PropertyContext added on `connect` and removed on `disconnect`. Prints a JSON
// line for each event:
//
//   {"connected": id, "recovered": bool, "transport": name}
//   {"event": name, "data": envelope.data, "args": number of arguments}
//   {"disconnected": reason}   {"refused": {message, data}}   {"ack": answer}
//
// node seed_client.mjs URL [OPTIONS], where OPTIONS is JSON merged into io()'s own. Commands on
// stdin, a JSON line each: {"emit": name, "args": [...]}, {"drop": true} (loses the connection, then
// reconnects), {"auth": {...}} (of the next connection), {"end": true}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const [url, options = "{}"] = process.argv.slice(2);
const socket = io(url, { path: "/socket.io", autoConnect: true, ...JSON.parse(options) });

const names = ["property-updated", "property-created", "property-deleted"];

socket.on("connect", () => {
  print({
    connected: socket.id,
    recovered: socket.recovered,
    transport: socket.io.engine.transport.name,
  });
  for (const name of names) {
    socket.on(name, (event, ...more) => {
      print({ event: event.event, data: event.data, args: 1 + more.length });
    });
  }
});

socket.on("disconnect", (reason) => {
  for (const name of names) socket.off(name);
  print({ disconnected: reason });
});

socket.on("connect_error", (error) => {
  print({ refused: { message: error.message, data: error.data ?? null } });
});

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const command = JSON.parse(line);
    if (command.emit) print({ ack: await socket.emitWithAck(command.emit, ...(command.args ?? [])) });
    if (command.auth) socket.auth = command.auth;
    if (command.drop) socket.io.engine.close();
    if (command.end) socket.disconnect();
  })
  .on("close", () => {
    socket.disconnect();
    process.exit(0);
  });
