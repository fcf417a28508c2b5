"""A project's public keys, fetched over HTTP when they are needed and kept.

- Nothing is fetched before the first token comes. From then on the set is fetched anew every
  `refresh` seconds, which is how long a key that was revoked is still believed. That one is gone is
  told to `on_gone`, for the sake of those who are here by it.
- A key that is not known is looked for in a fresh set. Whoever looks meanwhile waits for the same
  fetch, and between the beginnings of two of them there are `pause` seconds whatever comes: a flood
  of made-up keys costs a fetch every `pause` seconds, and delays the token of a new key by them.
- What can't be fetched or read leaves the keys as they are: through an outage the last good ones
  are believed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import httpx

from bridge.auth import jwks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import jwt

log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 600.0
"""Supabase serves the set from caches that are as old."""

MIN_FETCH_INTERVAL_SECONDS: Final = 5.0

FETCH_SECONDS: Final = 5.0
"""How long one fetch may take in all."""

HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""What is not compressed can't be larger than it looks."""

MAX_BYTES: Final = 65_536
"""Of one set. A key takes 200 to 500."""


class JwksUnavailableError(Exception):
    """The keys could not be had, so nothing can be said of a token of a key that is not known."""


class JwksClient:
    """Close it at the end."""

    def __init__(
        self,
        url: str,
        *,
        refresh: float = REFRESH_SECONDS,
        pause: float = MIN_FETCH_INTERVAL_SECONDS,
        timeout: float = FETCH_SECONDS,
    ) -> None:
        """`url` is that of the JWKS document. Times are seconds."""
        self.on_removed: Callable[[Collection[str]], None] = lambda _kids: None
        self._url = url
        self._refresh = refresh
        self._pause = pause
        self._timeout = timeout
        self._keys: jwks.Keys = {}
        self._passed_over: tuple[str, ...] = ()
        self._error: str | None = "nothing was fetched yet"
        self._began = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    async def get_key(self, kid: str) -> jwt.PyJWK | None:
        """The key of that name; None: the project has none. Raises `KeysUnavailable`."""
        self._wanted.set()
        if kid not in self._keys:
            await self._fetched()
            if kid not in self._keys and self._error is not None:
                raise JwksUnavailableError(self._error)
        return self._keys.get(kid)

    async def key_names(self) -> list[str]:
        """Fetch the keys, and say which there are. Raises `KeysUnavailable`, which says why."""
        await self._fetched()
        if self._error is not None:
            raise JwksUnavailableError(self._error)
        return [f"{key.algorithm_name} {kid}" for kid, key in self._keys.items()]

    async def run(self) -> None:
        """Fetch anew now and then, for ever."""
        await self._wanted.wait()
        while True:
            await asyncio.sleep(self._refresh)
            await self._fetched()

    async def close(self) -> None:
        """Nothing is fetched any more. Twice is fine."""
        self._closed = True
        self._error = self._error or "the bridge is stopping"
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._client is not None:
            await self._client.aclose()

    async def _fetched(self) -> None:
        """Return after a fetch, whatever came of it. All who wait share one."""
        if self._closed:
            return
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="fetch the project's keys")
        fetching = self._fetching
        # It is not only this caller's: it goes on if the caller is cancelled.
        await asyncio.wait([fetching])
        if not fetching.cancelled():
            fetching.result()

    async def _fetch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._began + self._pause - loop.time()))
            self._began = loop.time()
            self._store(jwks.parse_jwks(await self._body()))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            self._record_failure(error)
        finally:
            self._fetching = None

    async def _body(self) -> bytes:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout, follow_redirects=False)
        body = b""
        async with (
            asyncio.timeout(self._timeout),
            self._client.stream("GET", self._url, headers=HEADERS) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"expected status 200, came {answer.status_code}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError("expected a body that is not compressed")
            async for chunk in answer.aiter_raw(MAX_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"expected at most {MAX_BYTES} bytes, came more")
        return body

    def _store(self, found: jwks.KeySet) -> None:
        if self._error is not None and self._keys:
            log.warning("the keys of users' tokens can be fetched again")
        if found.rejected and found.rejected != self._passed_over:
            log.warning("%s: passed over %s", self._url, "; ".join(found.rejected))
        before = self._keys
        self._keys, self._passed_over, self._error = found.keys, found.rejected, None
        gone = {kid for kid, key in before.items() if not _same(key, found.keys.get(kid))}
        if gone:
            log.info("gone from the project's keys: %s", ", ".join(sorted(gone)))
            self.on_removed(gone)

    def _record_failure(self, error: Exception) -> None:
        said = str(error) or type(error).__name__
        if self._error is None or not self._keys:
            log.error(
                "the keys of users' tokens can't be fetched from %s (%s); %s",
                self._url,
                said,
                "those that are known are believed till then"
                if self._keys
                else "nobody with a token gets in till then",
            )
        self._error = f"{self._url}: {said}"


def _same(key: jwt.PyJWK, other: jwt.PyJWK | None) -> bool:
    """Another key can come under the name of one that is gone."""
    return other is not None and key.key == other.key
