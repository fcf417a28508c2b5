"""Sends requests to another machine, where Fly's proxy carries them: by the header `fly-replay`.

A session of Engine.IO lives in one process, whose name begins its sid. Polls that the proxy gives
to another machine are replayed to the right one, as long as that one sends beats: a request is
never pinned to a machine that is gone. Its client is refused instead, connects again and recovers.
A machine that is stopping has new clients served elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from bridge.security.rejection import DENIAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

REPLAYED = b"fly-replay-src"
"""Header of a request that was replayed already."""


class FlyReplay:
    """Decides for one machine."""

    def __init__(self, process: str, machine: str, machine_of: Callable[[str], str | None]) -> None:
        """`machine_of` returns the machine of another process; None: it is not known to run."""
        self._process = process
        self._machine = machine
        self._machine_of = machine_of

    def target(self, scope: Scope) -> str | None:
        """Return where a request has to be replayed; None: it is served here."""
        query = scope.get("query_string", b"")
        if b"sid=" not in query or _is_replayed(scope):
            return None
        process, dot, _ = parse_qs(query.decode("latin-1")).get("sid", [""])[0].rpartition(".")
        if not dot or process == self._process:
            return None
        machine = self._machine_of(process)
        return None if machine in (None, self._machine) else f"instance={machine}"

    @staticmethod
    def elsewhere(scope: Scope) -> str | None:
        """Return where a request is replayed that this machine does not serve any more."""
        return None if _is_replayed(scope) else "elsewhere=true"


def _is_replayed(scope: Scope) -> bool:
    return any(name == REPLAYED for name, _ in scope["headers"])


async def replay(scope: Scope, receive: Receive, send: Send, target: str) -> None:
    """Answer a request so that the proxy sends it to `target`. Without that proxy it fails."""
    kind = ""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if DENIAL not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013})
            return
        kind = "websocket."
    start: dict[str, Any] = {"type": f"{kind}http.response.start", "status": 409}
    headers = [
        (b"fly-replay", target.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
    ]
    await send({**start, "headers": headers})
    await send({"type": f"{kind}http.response.body", "body": b""})
