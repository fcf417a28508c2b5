"""An answer over HTTP that its client has to read in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from bridge.gateway.engineio.raw_websocket import TRANSPORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.types import Receive, Scope, Send


class Download(StreamingResponse):
    """JSON that is read within `seconds` or not to its end. `done` is called after it."""

    def __init__(
        self,
        body: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        seconds: float,
        done: Callable[[], None],
    ) -> None:
        super().__init__(body, media_type="application/json", headers=headers)
        self._seconds = seconds
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            transport = scope.get("extensions", {}).get(TRANSPORT)
            if transport is None:
                raise  # then the server has to end it
            transport.abort()
        finally:
            self._done()
