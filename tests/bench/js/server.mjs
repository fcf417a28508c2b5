// The peer: the official Socket.IO server, one room. Prints {"port": P}; then reads commands from
// stdin: "tell COUNT RATE BATCH", and "report", with constant counters: it closes no slow client.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { perMessageDeflate: false, pingInterval: 300_000, pingTimeout: 60_000 });
io.on("connection", (socket) => {
  for (const region of socket.handshake.auth.regions ?? []) socket.join(`region:${region}`);
});

function publish(seq) {
  const data = {
    t: 0,
    property_id: `5c1f2c9e-0d7e-4b51-8f0e-${String(seq).padStart(12, "0")}`,
    changes: { price: { old: 4250000, new: 4175000 }, status: { old: "available", new: "pending" } },
    updated_at: "2026-02-01T10:00:00.123456Z",
  };
  data.t = Number(process.hrtime.bigint());
  io.to("region:TX").emit("property-updated", { event: "property-updated", data }, `9f86d081-${1000000 + seq}`);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function run(count, rate, batch) {
  const start = performance.now();
  let seq = 0;
  for (let i = 0; i < count; i++) {
    const early = start + (i * 1000) / rate - performance.now();
    if (early > 0) await sleep(early);
    for (let b = 0; b < batch; b++) publish(seq++);
  }
  console.log(JSON.stringify({ told: true }));
}

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "report") {
    console.log(JSON.stringify({ cut_off: 0, cut_s: null, cut_kb: null }));
    return;
  }
  const [, count, rate, batch] = line.split(" ").map(Number);
  run(count, rate, batch);
});
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(JSON.stringify({ port: http.address().port }));
});
