// Many clients of the official library in client process, with its default transports: polling, then an
// upgrade to a websocket. Prints {"upgraded": N} when all have upgraded, and for every line on stdin
// the counters of the events received so far.
//
//   node fleet.mjs URL N [REGION]
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, number, region] = process.argv.slice(2);
const auth = region ? { regions: [region] } : {};
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const fleet = [];

for (let n = 0; n < Number(number); n++) {
  const client = { last: -1, first: -1, events: 0, gaps: 0, repeats: 0, connects: 0 };
  fleet.push(client);
  setTimeout(() => {
    const socket = io(url, { forceNew: true, reconnectionDelay: 50, auth });
    client.socket = socket;
    socket.on("connect", () => {
      client.connects++;
    });
    socket.on("property-updated", ({ data }) => {
      const seq = data.seq ?? Number(data.property_id.slice(-12));
      client.events++;
      if (client.last < 0) client.first = seq;
      else if (seq <= client.last) client.repeats++;
      else if (seq > client.last + 1) client.gaps++;
      client.last = seq;
    });
  }, n * 20);
}

const upgraded = (client) => client.socket?.connected && client.socket.io.engine.transport.name === "websocket";
const waiting = setInterval(() => {
  if (!fleet.every(upgraded)) return;
  clearInterval(waiting);
  print({ upgraded: fleet.length });
}, 50);

createInterface({ input: process.stdin }).on("line", () => {
  const sum = (key) => fleet.reduce((all, client) => all + client[key], 0);
  print({
    clients: fleet.length,
    events: sum("events"),
    gaps: sum("gaps"),
    repeats: sum("repeats"),
    reconnects: sum("connects") - fleet.length,
    behind: Math.min(...fleet.map((client) => client.last)),
    websockets: fleet.filter(upgraded).length,
  });
});
