// Many clients of the official library in one process. Prints a JSON line for each thing that
// happens to a client; "c" is its name:
//
//   {"c", "connected": auth, "recovered": bool, "transport": name}
//   {"c", "event": envelope, "position": the last argument}
//   {"c", "requested": request}   {"c", "request": request, "ack": ack}
//   {"c", "disconnected": reason}
//
// node chaos_clients.mjs CLIENTS, where CLIENTS is JSON: [{name, url, options, auth, snapshots}].
// A client with snapshots requests one at the start of each session that was not recovered. Commands
// on stdin, a JSON line each:
//
//   {"c", "request": {"name": "subscribe", "argument": {...}}}   sent after the ack of those before
//   {"c", "drop": true}      closes the connection, as when a page is suspended
//   {"c", "goodbye": true}   disconnects, and connects again in a new session
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const RETRY_MS = 300;
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

class Client {
  constructor({ name, url, options, auth, snapshots }) {
    this.name = name;
    this.named = auth;
    this.snapshots = snapshots;
    this.requests = [];
    this.turn = 0;
    this.socket = io(url, {
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      timeout: 4000,
      ...options,
      auth: (give) => give(this.named),
    });
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", (reason) => print({ c: name, disconnected: reason }));
    this.socket.onAny((_, event, position) => print({ c: name, event, position }));
  }

  connected() {
    const { recovered } = this.socket;
    const transport = this.socket.io.engine.transport.name;
    print({ c: this.name, connected: this.named, recovered: Boolean(recovered), transport });
    if (!recovered) {
      this.requests = this.requests.filter((request) => !request.first);
      for (const { argument } of this.requests) delete argument.after;
      if (this.snapshots) {
        const { regions, properties } = this.named;
        const argument = { regions, properties, snapshot: true };
        this.requests.unshift({ name: "subscribe", argument, first: true });
      }
    }
    this.send();
  }

  send() {
    clearTimeout(this.timer);
    const request = this.requests[0];
    if (!request || !this.socket.connected) return;
    const turn = ++this.turn;
    const { name, argument } = structuredClone(request);
    print({ c: this.name, requested: { name, argument } });
    this.socket.emit(name, argument, (ack) => {
      print({ c: this.name, request: { name, argument }, ack });
      if (turn === this.turn) this.acknowledged(request, ack);
    });
  }

  acknowledged(request, ack) {
    if (!ack.ok) {
      if (ack.error.code === "cursor_gone") delete request.argument.after;
      this.timer = setTimeout(() => this.send(), RETRY_MS);
      return;
    }
    const { regions, properties } = ack;
    // A handshake without regions and properties would subscribe to everything.
    const empty = regions && !regions.length && !properties.length;
    this.named = { ...this.named, regions: empty ? ["nowhere"] : (regions ?? []), properties };
    if (ack.more) request.argument.after = ack.more;
    else this.requests.shift();
    this.send();
  }
}

const clients = new Map();
for (const options of JSON.parse(process.argv[2])) clients.set(options.name, new Client(options));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    const client = clients.get(command.c);
    if (command.request) {
      client.requests.push(command.request);
      if (client.requests.length === 1) client.send();
    }
    if (command.drop) client.socket.io.engine?.close();
    if (command.goodbye) client.socket.disconnect().connect();
  })
  .on("close", () => process.exit(0));
