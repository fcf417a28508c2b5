"""The contract's client with a user's token, run as it stands, while users sign in and out."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.acceptance.conftest import SECONDS
from tests.acceptance.node import BINARY
from tests.acceptance.test_documents import CONTRACT, block
from tests.integration.test_auth import OTHER, REGIONS, Site, site, token
from tests.tokens import USER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BEFORE: Final = """
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
const print = (line) => console.log(JSON.stringify(line));
let listener;
const supabase = {
  auth: {
    getSession: async () => ({ data: { session } }),
    onAuthStateChange: (each) => setTimeout(() => (listener = each)("INITIAL_SESSION", session)),
  },
};
"""
"""As supabase-js; `url` and `session` are defined before."""

AFTER: Final = """
socket.on("connect", () => print({ connected: socket.id, recovered: socket.recovered }));
socket.on("auth-status", ({ data }) => print({ status: data.state, regions: data.regions }));
createInterface({ input: process.stdin }).on("line", (line) => {
  const { event, next } = JSON.parse(line);
  session = next;
  listener(event, session);
  print({ emitted: event });
});
"""


def session(user: str, *regions: str, **claims: Any) -> dict[str, Any]:
    return {"access_token": token(*regions, sub=user, **claims), "user": {"id": user}}


class ShownClient:
    """A process that prints a JSON line for each connect and `auth-status`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[dict[str, Any]] = []

    async def until(self, key: str) -> dict[str, Any]:
        """Return the next line with this key."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while True:
                line: dict[str, Any] = json.loads(await self._process.stdout.readline())
                self.lines.append(line)
                if key in line:
                    return line

    async def auth_state(self, event: str, session: dict[str, Any] | None) -> None:
        assert self._process.stdin is not None
        command = {"event": event, "next": session}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.until("emitted")

    def count(self, key: str) -> int:
        return sum(key in line for line in self.lines)


@asynccontextmanager
async def shown_client(js: Path, at: Site, first: dict[str, Any]) -> AsyncIterator[ShownClient]:
    """The client after its first connect."""
    code = f"const url = {json.dumps(at.url)};\nlet session = {json.dumps(first)};\n"
    code += BEFORE + block(CONTRACT, "js", "onAuthStateChange") + AFTER
    process = await asyncio.create_subprocess_exec(
        *(BINARY, "--input-type=module", "-e", code),
        cwd=js,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        client = ShownClient(process)
        await client.until("connected")
        yield client
    finally:
        process.kill()
        await process.wait()


async def until_bearers(at: Site, number: int) -> None:
    """Wait until so many clients have a token: the end of a closed connection follows."""
    async with asyncio.timeout(SECONDS):
        while at.bearers != number:
            await asyncio.sleep(0.01)


async def clients_of(at: Site, user: str) -> int:
    return await at.gateway.token_expiry.sign_out(user=user)


async def test_shown_client_is_the_other_user_when_another_one_signs_in(js: Path) -> None:
    async with site(**REGIONS) as at, shown_client(js, at, session(USER, "TX")) as client:
        await client.auth_state("SIGNED_IN", session(OTHER, "TX"))
        assert (await client.until("connected"))["recovered"] is False
        await until_bearers(at, 1)
        assert await clients_of(at, USER) == 0
        assert await clients_of(at, OTHER) == 1


@pytest.mark.once
async def test_shown_client_is_anonymous_when_the_user_signs_out(js: Path) -> None:
    async with site() as at, shown_client(js, at, session(USER)) as client:
        assert at.bearers == 1
        await client.auth_state("SIGNED_OUT", None)
        await client.until("connected")
        await until_bearers(at, 0)


@pytest.mark.once
async def test_shown_client_sends_a_fresh_token_on_the_open_connection(js: Path) -> None:
    async with site(**REGIONS) as at, shown_client(js, at, session(USER, "TX", "CA")) as client:
        await client.auth_state("TOKEN_REFRESHED", session(USER, "TX"))
        assert (await client.until("status"))["status"] == "changed"
        assert client.count("connected") == 1


@pytest.mark.once
async def test_shown_client_keeps_its_connection_when_the_same_user_is_reported_again(
    js: Path,
) -> None:
    first = session(USER, "TX", "CA")
    async with site(**REGIONS) as at, shown_client(js, at, first) as client:
        await client.auth_state("SIGNED_IN", first)  # as each time the tab becomes visible
        await client.auth_state("TOKEN_REFRESHED", session(USER, "TX"))
        await client.until("status")
        assert client.count("connected") == 1
