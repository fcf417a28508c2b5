"""An HTTP balancer without sticky sessions: each request goes to the next server that answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NOT_FORWARDED: Final = frozenset({"connection", "transfer-encoding", "content-length", "host"})


class RoundRobin:
    """Created by `RoundRobin.open()`; clients connect to `url`. Requests only, no websockets."""

    def __init__(self, servers: Sequence[str], http: aiohttp.ClientSession) -> None:
        self.url = ""
        self.requests: dict[str, int] = dict.fromkeys(servers, 0)
        """Requests that each server has answered."""
        self._servers = list(servers)
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, *servers: str) -> AsyncIterator[RoundRobin]:
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            balancer = cls(servers, http)
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", balancer._forward)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            balancer.url = f"http://{host}:{port}"
            try:
                yield balancer
            finally:
                await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in NOT_FORWARDED]
        headers += [("Host", request.headers["Host"]), ("X-Forwarded-For", str(request.remote))]
        for _ in self._servers:
            server = self._servers.pop(0)
            self._servers.append(server)
            try:
                async with self._http.request(
                    request.method, server + request.raw_path, data=body or None, headers=headers
                ) as answer:
                    self.requests[server] += 1
                    return await _streamed(request, answer)
            except aiohttp.ClientConnectorError:
                continue  # that server does not run
            except aiohttp.ClientError:
                break
        return web.Response(status=502)


async def _streamed(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in NOT_FORWARDED:
            response.headers.add(name, value)
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response
