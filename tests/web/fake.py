"""A small app with the three npm commands of the real one, without Next.js."""

from __future__ import annotations

import json
from pathlib import Path

BUILD = """
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
const page = readFileSync("page.txt", "utf8");
if (page === "broken") {
  console.error("page.txt can't be built");
  process.exit(3);
}
mkdirSync(".next", { recursive: true });
writeFileSync(".next/page", page);
"""

START = """
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

// A child process, as Next.js starts some; optionally one that ignores SIGTERM.
const ignore = process.env.IGNORE_SIGTERM ? "process.on('SIGTERM', () => {});" : "";
const sleeper = ["-e", `${ignore} setInterval(() => {}, 1000); console.log("up")`];
const child = spawn(process.execPath, sleeper, { stdio: ["ignore", "pipe", "ignore"] });
await new Promise((resolve) => child.stdout.once("data", resolve));
createServer((request, response) => {
  if (request.url === "/end") {
    console.log("last output");
    process.exit(4);
  }
  const { BRIDGE_URL, BRIDGE_PATH, SUPABASE_URL } = process.env;
  const page = readFileSync(".next/page", "utf8");
  const pids = [process.pid, child.pid];
  response.end(JSON.stringify({ page, BRIDGE_URL, BRIDGE_PATH, SUPABASE_URL, pids }));
}).listen(process.env.PORT, process.env.HOSTNAME);
"""


def write(folder: Path, page: str = "one") -> Path:
    """Write such an app, neither installed nor built. Return its directory."""
    scripts = {"build": "node build.mjs", "start": "node start.mjs"}
    package = {"name": "fake", "version": "1.0.0", "private": True, "scripts": scripts}
    lock = {
        "name": "fake",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {"": {"name": "fake", "version": "1.0.0"}},
    }
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    (folder / "build.mjs").write_text(BUILD)
    (folder / "start.mjs").write_text(START)
    (folder / "page.txt").write_text(page)
    return folder
