// Many clients on the official library in one process. Prints a JSON line for everything that
// happens to one; "c" is its name:
//
//   {"c", "connected": auth, "recovered": bool, "transport": name}
//   {"c", "event": envelope, "position": the last argument}
//   {"c", "asked": request}   {"c", "request": request, "answer": ack}
//   {"c", "disconnected": reason}
//
// node chaos_fleet.mjs CLIENTS, where CLIENTS is JSON: [{name, url, options, auth, snapshots}].
// A client that takes snapshots asks for one whenever it is new to the bridge. Takes commands on
// stdin, a JSON line each:
//
//   {"c", "request": {"name": "subscribe", "argument": {...}}}   made when those before it are
//   {"c", "drop": true}      its connection ends, as when a page sleeps
//   {"c", "goodbye": true}   it leaves in order, and comes anew
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const RETRY_MS = 300;
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

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
    this.socket.on("disconnect", (reason) => say({ c: name, disconnected: reason }));
    this.socket.onAny((_, event, position) => say({ c: name, event, position }));
  }

  connected() {
    const { recovered } = this.socket;
    const transport = this.socket.io.engine.transport.name;
    say({ c: this.name, connected: this.named, recovered: Boolean(recovered), transport });
    if (!recovered) {
      this.requests = this.requests.filter((request) => !request.first);
      for (const { argument } of this.requests) delete argument.after;
      if (this.snapshots) {
        const { regions, properties } = this.named;
        const argument = { regions, properties, snapshot: true };
        this.requests.unshift({ name: "subscribe", argument, first: true });
      }
    }
    this.ask();
  }

  ask() {
    clearTimeout(this.timer);
    const request = this.requests[0];
    if (!request || !this.socket.connected) return;
    const turn = ++this.turn;
    const { name, argument } = structuredClone(request);
    say({ c: this.name, asked: { name, argument } });
    this.socket.emit(name, argument, (answer) => {
      say({ c: this.name, request: { name, argument }, answer });
      if (turn === this.turn) this.answered(request, answer);
    });
  }

  answered(request, answer) {
    if (!answer.ok) {
      if (answer.error.code === "cursor_gone") delete request.argument.after;
      this.timer = setTimeout(() => this.ask(), RETRY_MS);
      return;
    }
    const { regions, properties } = answer;
    // A handshake that names nothing would ask for everything.
    const nothing = regions && !regions.length && !properties.length;
    this.named = { ...this.named, regions: nothing ? ["nowhere"] : (regions ?? []), properties };
    if (answer.more) request.argument.after = answer.more;
    else this.requests.shift();
    this.ask();
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
      if (client.requests.length === 1) client.ask();
    }
    if (command.drop) client.socket.io.engine?.close();
    if (command.goodbye) client.socket.disconnect().connect();
  })
  .on("close", () => process.exit(0));
