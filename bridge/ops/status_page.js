"use strict";
const element = (id) => document.getElementById(id);
const SECRET = "bridge-admin-secret";
const SHOWN = 50;
const SAMPLES = 720;
const RETRY_MS = 2000;
const SAMPLE_SECONDS = 5;
const CHARTS = [
  ["Changes/s", (now, before) => rate(now, before, "changes")],
  ["Events/s", (now, before) => rate(now, before, "events")],
  ["Clients", (now) => now.clients],
  ["updated_at to log, ms", (now) => now.latency ?? null],
];
let samples = [];
let latest = null;
let regionEvents = {};
let latency = null;

function rate(now, before, name) {
  // A restart or another leader counts from zero again.
  if (!before || now[name] < before[name] || now.at <= before.at) return null;
  return (now[name] - before[name]) / (now.at - before.at);
}

function make(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  for (const cell of cells) made.append(make("td", cell));
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const number = (value) =>
  value === null || value === undefined ? "-"
    : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });

function seconds(value) {
  if (value === null || value === undefined) return "-";
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  return `${number(value / 3600)} h`;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString();

function showVerdict(state, text, reason) {
  element("verdict").dataset.state = state;
  element("verdict").textContent = text;
  element("reason").textContent = reason ?? "";
}

function showStatus(status) {
  showVerdict(status.ready ? "ready" : "not-ready", status.ready ? "ready" : "not ready", status.reason);
  document.title = `${status.ready ? "ready" : "NOT READY"} - bridge status`;
  element("version").textContent = status.version;
  if (!status.source) return;
  element("content").hidden = false;
  const counts = status.pipeline.counts;
  const now = { ...status.sample, latency };
  const before = latest;
  latest = now;
  const tiles = {
    Source: status.source.state, "Proof of life": `${seconds(status.source.proof_seconds_ago)} ago`,
    Clients: number(status.clients), "Changes/s": number(rate(now, before, "changes")),
    Rows: number(status.pipeline.rows), Doubts: number(status.pipeline.doubts),
    Lag: `${number(status.lag.ms)} ms`, Role: `${status.role}, term ${status.term}`,
    "Slow clients closed": number(status.clients_cut_off), Uptime: seconds(status.uptime_seconds),
    Position: status.log_head,
  };
  element("tiles").replaceChildren(...Object.entries(tiles).map(([name, value]) => {
    const tile = document.createElement("div");
    tile.append(make("dt", name), make("dd", value));
    return tile;
  }));
  element("machines").replaceChildren(...(status.machines.length ? status.machines.map((each) =>
    row(each.process, each.machine, each.role, `${seconds(each.beat_seconds_ago)} ago`),
  ) : [row("this one", "", status.role, "")]));
  const shown = { activity: status.pipeline.activity, error: status.pipeline.error ?? status.source.error ?? status.log_error, ...counts };
  for (const [name, value] of Object.entries(status.recoveries)) shown[`recovery: ${name}`] = value;
  for (const [name, value] of Object.entries(status.refusals)) shown[`refused: ${name}`] = value;
  element("counts").replaceChildren(...Object.entries(shown).filter(([, value]) => value !== null)
    .map(([name, value]) => row(name, typeof value === "number" ? number(value) : value)));
  showRegions(status.room_clients, status.rooms);
  if (!samples.length || now.at - samples.at(-1).at >= SAMPLE_SECONDS) {
    addSample(now);
    latency = null;
  }
}

function showRegions(clients, rooms) {
  const names = [...new Set([...Object.keys(clients), ...Object.keys(regionEvents).map((name) => `region:${name}`)])];
  element("regions").replaceChildren(...names.slice(0, SHOWN).map((room) =>
    row(room, number(clients[room] ?? 0), number(regionEvents[room.replace(/^region:/, "")] ?? 0))));
  element("regions-note").textContent = `${number(rooms)} rooms have clients at this process. The largest are shown.`;
}

function addSample(sample) {
  samples = [...samples, sample].slice(-SAMPLES);
  showHistory();
}

function showHistory() {
  const timeline = element("timeline");
  const moments = [];
  timeline.setAttribute("viewBox", `0 0 ${Math.max(samples.length, 60)} 10`);
  timeline.replaceChildren();
  samples.forEach((sample, x) => {
    const before = samples[x - 1];
    timeline.append(drawn("rect", { x, y: 0, width: 1.05, height: 10, class: sample.ready ? "ready" : "down" }));
    if (!before) return;
    const gaps = sample.gaps - before.gaps, repaired = sample.repaired - before.repaired;
    if (gaps > 0 || repaired > 0) {
      timeline.append(drawn("rect", { x, y: 0, width: 1.05, height: 5, class: "gap" }));
    }
    if (gaps > 0) moments.push([sample.at, `${number(gaps)} gap in the stream`]);
    if (repaired > 0) moments.push([sample.at, `${number(repaired)} changes repaired`]);
    if (sample.state !== before.state) moments.push([sample.at, `source: ${before.state} → ${sample.state}`]);
    if (sample.role && before.role && sample.role !== before.role) moments.push([sample.at, `role: ${before.role} → ${sample.role}`]);
    if (sample.ready !== before.ready) moments.push([sample.at, sample.ready ? "ready" : `not ready: ${sample.reason}`]);
  });
  element("moments").replaceChildren(...moments.slice(-10).reverse().map(([at, text]) => {
    const item = make("li", "");
    item.append(make("time", clock(at)), ` ${text}`);
    return item;
  }));
  element("charts").replaceChildren(...CHARTS.map(([name, value]) => chart(name,
    samples.map((sample, index) => value(sample, samples[index - 1])))));
}

function chart(name, values) {
  const known = values.filter((value) => value !== null);
  const top = Math.max(1, ...known);
  const figure = document.createElement("figure");
  const caption = make("figcaption", name);
  caption.append(make("output", `${number(known.at(-1))} (max ${number(known.length ? Math.max(...known) : null)})`));
  const width = Math.max(values.length, 60);
  const svg = drawn("svg", { viewBox: `0 -1 ${width} 22`, preserveAspectRatio: "none", role: "img", "aria-label": name });
  const points = values.map((value, x) => (value === null ? null : `${x},${20 - (value / top) * 20}`));
  svg.append(drawn("polyline", { points: points.filter(Boolean).join(" ") }));
  figure.append(caption, svg);
  return figure;
}

function showEvents({ events, total, regions }) {
  for (const [name, count] of Object.entries(regions)) regionEvents[name] = (regionEvents[name] ?? 0) + count;
  element("skipped").textContent = total > events.length ? `${number(total - events.length)} more in the last second` : "";
  const list = element("events");
  const items = events.map(describe).reverse();
  const old = list.querySelectorAll("li[data-position]");
  list.replaceChildren(...[...items, ...old].slice(0, SHOWN));
  const last = events.at(-1);
  const updated = last.envelope?.data.updated_at;
  if (updated) latency = Math.max(0, last.at * 1000 - Date.parse(updated));
}

function describe(event) {
  const item = make("li", "");
  item.dataset.position = event.position;
  item.append(make("time", clock(event.at)), ` ${event.name} `, make("code", String(event.key)), ` ${event.regions.join(", ")}`);
  const changes = event.envelope?.data.changes;
  if (changes) {
    const diff = make("div", "", "diff");
    for (const [column, change] of Object.entries(changes)) {
      diff.append(`${column}: `, make("del", JSON.stringify(change.old)), " → ", make("ins", JSON.stringify(change.new)), "  ");
    }
    item.append(diff);
  } else if (!event.envelope) {
    item.append(make("div", "too long to show", "soft"));
  }
  return item;
}

const handlers = {
  history(past) { samples = past; showHistory(); },
  status: showStatus,
  events: showEvents,
};

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(message);
      handlers[name](JSON.parse(data));
    }
  }
}

async function askForSecret(response) {
  const body = await response.json();
  const used = sessionStorage.getItem(SECRET);
  sessionStorage.removeItem(SECRET);
  element("sign-in").hidden = response.status !== 401;
  element("content").hidden = true;
  showVerdict("unknown", response.status === 401 ? "secret needed" : "rejected", "");
  element("rejection").textContent = response.status === 401 && !used ? "" : body.error?.message ?? "";
  if (response.status !== 401) element("reason").textContent = body.error?.message ?? "";
}

async function connect() {
  const secret = sessionStorage.getItem(SECRET);
  const headers = secret ? { Authorization: `Bearer ${secret}` } : {};
  try {
    const response = await fetch("status/stream", { headers, cache: "no-store" });
    if (response.status === 401 || response.status === 403) return askForSecret(response);
    if (response.ok) {
      element("sign-in").hidden = true;
      await read(response);
    } else {
      showVerdict("lost", `the bridge answers ${response.status}`, "");
    }
  } catch {
    showVerdict("lost", "the bridge can't be reached", "This page tries again every 2 seconds.");
  }
  setTimeout(connect, RETRY_MS);
}

element("sign-in").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  sessionStorage.setItem(SECRET, element("secret").value);
  element("secret").value = "";
  connect();
});
connect();
