// Many clients of the official library in one process, with its default transports: polling, then an
// upgrade to a websocket. Prints {"upgraded": N} when all of them have, and for every line on stdin
// what they heard so far.
//
//   node fleet.mjs URL N [REGION]
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, number, region] = process.argv.slice(2);
const auth = region ? { regions: [region] } : {};
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const fleet = [];

for (let n = 0; n < Number(number); n++) {
  const one = { last: -1, first: -1, events: 0, gaps: 0, repeats: 0, connects: 0 };
  fleet.push(one);
  setTimeout(() => {
    const socket = io(url, { forceNew: true, reconnectionDelay: 50, auth });
    one.socket = socket;
    socket.on("connect", () => {
      one.connects++;
    });
    socket.on("property-updated", ({ data }) => {
      const seq = data.seq ?? Number(data.property_id.slice(-12));
      one.events++;
      if (one.last < 0) one.first = seq;
      else if (seq <= one.last) one.repeats++;
      else if (seq > one.last + 1) one.gaps++;
      one.last = seq;
    });
  }, n * 20);
}

const moved = (one) => one.socket?.connected && one.socket.io.engine.transport.name === "websocket";
const looking = setInterval(() => {
  if (!fleet.every(moved)) return;
  clearInterval(looking);
  say({ upgraded: fleet.length });
}, 50);

createInterface({ input: process.stdin }).on("line", () => {
  const sum = (key) => fleet.reduce((all, one) => all + one[key], 0);
  say({
    clients: fleet.length,
    events: sum("events"),
    gaps: sum("gaps"),
    repeats: sum("repeats"),
    reconnects: sum("connects") - fleet.length,
    behind: Math.min(...fleet.map((one) => one.last)),
    websockets: fleet.filter(moved).length,
  });
});
