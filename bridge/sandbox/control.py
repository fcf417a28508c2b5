"""Fault injection over HTTP, for processes other than the one that runs the `Sandbox`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from bridge.sandbox.postgres.faults import PostgresFaults
    from bridge.sandbox.postgrest.faults import PostgrestFaults
    from bridge.sandbox.postgrest.server import PostgrestServer
    from bridge.sandbox.realtime.faults import Faults


class FaultControl:
    """`POST /_sandbox/faults` with `{"name": ..., <options>}` injects a fault: names that begin
    with `rest-` are those of `PostgrestFaults.apply`, with `postgres-` those of
    `PostgresFaults.apply`, all others those of `Faults.apply`. `GET` returns the counters of
    Realtime's faults, of REST reads and of restarts of PostgreSQL.
    """

    def __init__(
        self,
        faults: Faults,
        rest_faults: PostgrestFaults,
        postgres_faults: PostgresFaults,
        rest: PostgrestServer,
    ) -> None:
        self._faults = faults
        self._rest_faults = rest_faults
        self._postgres_faults = postgres_faults
        self._rest = rest

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_sandbox/faults", self._apply),
            web.get("/_sandbox/faults", self._counters),
        ]

    async def _counters(self, _request: web.Request) -> web.Response:
        read = {"reads": self._rest.reads, "rows_given": self._rest.rows_given}
        restarts = {"restarts": self._postgres_faults.restarts}
        return web.json_response(self._faults.counters() | read | restarts)

    async def _apply(self, request: web.Request) -> web.Response:
        # A page of any origin may post a form to loopback, but JSON needs a CORS preflight.
        if request.content_type != "application/json":
            return _rejection("expected Content-Type: application/json")
        try:
            fault = await request.json()
        except ValueError as error:
            return _rejection(f"expected JSON: {error}")
        if not isinstance(fault, dict) or not isinstance(fault.get("name"), str):
            return _rejection('expected an object with "name" and the options of that fault')
        name = fault.pop("name")
        try:
            if name.startswith("rest-"):
                self._rest_faults.apply(name, **fault)
            elif name.startswith("postgres-"):
                self._postgres_faults.apply(name, **fault)
            else:
                await self._faults.apply(name, **fault)
        except (TypeError, ValueError) as error:
            return _rejection(str(error))
        return web.json_response({"ok": True})


def _rejection(message: str) -> web.Response:
    return web.json_response({"ok": False, "error": message}, status=400)
