"""`bridge listen`: a client that prints the events it receives, one envelope per line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


async def listen(
    url: str,
    *,
    path: str,
    regions: Sequence[str],
    properties: Sequence[str],
    out: Callable[[str], None],
    err: Callable[[str], None],
) -> int:
    """Print the events of the bridge at `url` until cancelled. Return exit code 1 if the bridge
    can't be reached.

    A path in `url` is the mount path of the bridge: `http://host/live` and `/socket.io` give
    `/live/socket.io`.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    full_path = parts.path.rstrip("/") + path
    auth = {"regions": list(regions), "properties": list(properties)}

    async def on_event(_name: str, envelope: Any, *_: Any) -> None:
        out(json.dumps(envelope, ensure_ascii=False))

    # A session of our own: the library does not close its own when it is cancelled.
    async with aiohttp.ClientSession() as http:
        client = socketio.AsyncClient(handle_sigint=False, http_session=http)
        client.on("*", on_event)
        client.on("connect", lambda: err("connected"))
        client.on("disconnect", lambda reason: err(f"disconnected: {reason}"))
        try:
            await client.connect(
                f"{parts.scheme}://{parts.netloc}",
                socketio_path=full_path,
                auth=auth,
                # python-socketio's client rejects polling responses of more than 16 packets.
                transports=["websocket"],
            )
            await client.wait()
        except NotConnected as error:
            err(f"can't connect to {url} (path {full_path}): {error}")
            return 1
        finally:
            await client.disconnect()
    return 0
