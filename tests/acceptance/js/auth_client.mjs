// The official client with a token that changes: `auth` is a function, as with a library that keeps
// users signed in. Prints a JSON line for everything that happens:
//
//   {"connected": id, "recovered": bool}   {"disconnected": reason}   {"ack": answer}
//   {"refused": error.data, "message": error.message, "active": whether it tries again by itself}
//   {"event": name, "data": envelope.data, "position": the last argument}
//
// node auth_client.mjs URL [OPTIONS], where OPTIONS is JSON merged into io()'s own; its `token` is
// the first one. Takes commands on stdin, a JSON line each:
//
//   {"token": next}   {"connect": true}   {"emit": name, "args": [...]}   {"end": true}
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const [url, options = "{}"] = process.argv.slice(2);
let { token, ...rest } = JSON.parse(options);
const socket = io(url, {
  reconnectionDelay: 50,
  reconnectionDelayMax: 100,
  ...rest,
  auth: (give) => give({ token }),
});

socket.on("connect", () => say({ connected: socket.id, recovered: socket.recovered }));
socket.on("disconnect", (reason) => say({ disconnected: reason }));
socket.on("connect_error", (error) =>
  say({ refused: error.data ?? null, message: error.message, active: socket.active }),
);
socket.onAny((event, { data }, position) => say({ event, data, position }));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if ("token" in command) token = command.token;
    if (command.connect) socket.connect();
    if (command.emit) socket.emit(command.emit, ...command.args, (ack) => say({ ack }));
    if (command.end) socket.disconnect();
  })
  .on("close", () => process.exit(0));
