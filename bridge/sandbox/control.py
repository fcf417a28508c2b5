"""Faults on demand over HTTP, for processes that do not hold the `Sandbox` object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from bridge.sandbox.postgrest.faults import PostgrestFaults
    from bridge.sandbox.postgrest.server import PostgrestServer
    from bridge.sandbox.realtime.faults import Faults


class FaultControl:
    """`POST /_sandbox/faults` with `{"name": ..., <options>}`: names that begin with `rest-` are
    those of `RestFaults.apply`, all others those of `Faults.apply`. `GET` tells what they did, and
    what was read over REST.
    """

    def __init__(self, faults: Faults, rest_faults: PostgrestFaults, rest: PostgrestServer) -> None:
        self._faults = faults
        self._rest_faults = rest_faults
        self._rest = rest

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_sandbox/faults", self._apply),
            web.get("/_sandbox/faults", self._counters),
        ]

    async def _counters(self, _request: web.Request) -> web.Response:
        read = {"reads": self._rest.reads, "rows_given": self._rest.rows_given}
        return web.json_response(self._faults.counters() | read)

    async def _apply(self, request: web.Request) -> web.Response:
        # A page of any origin may post a form to loopback, but not JSON without asking first.
        if request.content_type != "application/json":
            return _rejection("expected Content-Type: application/json")
        try:
            asked = await request.json()
        except ValueError as error:
            return _rejection(f"expected JSON: {error}")
        if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
            return _rejection('expected an object with "name" and the options of that fault')
        name = asked.pop("name")
        try:
            if name.startswith("rest-"):
                self._rest_faults.apply(name, **asked)
            else:
                await self._faults.apply(name, **asked)
        except (TypeError, ValueError) as error:
            return _rejection(str(error))
        return web.json_response({"ok": True})


def _rejection(message: str) -> web.Response:
    return web.json_response({"ok": False, "error": message}, status=400)
