// The official client with a token that changes: `auth` is a function, as with a library that
// refreshes sessions. Prints a JSON line for each event:
//
//   {"connected": id, "recovered": bool}   {"disconnected": reason}   {"ack": answer}
//   {"refused": error.data, "message": error.message, "active": whether it reconnects}
//   {"event": name, "data": envelope.data, "position": the last argument}
//
// node auth_client.mjs URL [OPTIONS], where OPTIONS is JSON merged into io()'s own; its `token` is
// the first one. Commands on stdin, a JSON line each:
//
//   {"token": next}   {"connect": true}   {"emit": name, "args": [...]}   {"end": true}
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const [url, options = "{}"] = process.argv.slice(2);
let { token, ...rest } = JSON.parse(options);
const socket = io(url, {
  reconnectionDelay: 50,
  reconnectionDelayMax: 100,
  ...rest,
  auth: (give) => give({ token }),
});

socket.on("connect", () => print({ connected: socket.id, recovered: socket.recovered }));
socket.on("disconnect", (reason) => print({ disconnected: reason }));
socket.on("connect_error", (error) =>
  print({ refused: error.data ?? null, message: error.message, active: socket.active }),
);
socket.onAny((event, { data }, position) => print({ event, data, position }));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if ("token" in command) token = command.token;
    if (command.connect) socket.connect();
    if (command.emit) socket.emit(command.emit, ...command.args, (ack) => print({ ack }));
    if (command.end) socket.disconnect();
  })
  .on("close", () => process.exit(0));
