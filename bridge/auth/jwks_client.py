"""Fetches and caches a project's public keys (JWKS).

- The first token triggers the first fetch. From then on the set is fetched every `refresh` seconds,
  which bounds how long a revoked key is still accepted. `on_removed` is called with the `kid`s of
  removed keys, so that clients authenticated with them can be closed.
- An unknown `kid` triggers a fetch. Concurrent lookups share one fetch, and two fetches start at
  least `pause` seconds apart: a flood of invented `kid`s costs one fetch per `pause` seconds and
  delays the first token of a new key by at most that long.
- A failed fetch leaves the keys unchanged: the last valid set is used during an outage.
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
"""The age of the caches from which Supabase serves the set."""

MIN_FETCH_INTERVAL_SECONDS: Final = 5.0

FETCH_SECONDS: Final = 5.0
"""Timeout of one fetch in total."""

HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Without compression, the size of the body is bounded by the bytes received."""

MAX_BYTES: Final = 65_536
"""Maximum size of a set. A key takes 200 to 500 bytes."""


class JwksUnavailableError(Exception):
    """The keys could not be fetched, so a token with an unknown key cannot be verified."""


class JwksClient:
    """Cache of the keys at one URL. Call `close` at the end."""

    def __init__(
        self,
        url: str,
        *,
        refresh: float = REFRESH_SECONDS,
        pause: float = MIN_FETCH_INTERVAL_SECONDS,
        timeout: float = FETCH_SECONDS,
    ) -> None:
        """`url` is the URL of the JWKS document. Times are seconds."""
        self.on_removed: Callable[[Collection[str]], None] = lambda _kids: None
        self._url = url
        self._refresh = refresh
        self._pause = pause
        self._timeout = timeout
        self._keys: jwks.Keys = {}
        self._rejected: tuple[str, ...] = ()
        self._error: str | None = "no keys have been fetched yet"
        self._fetch_started = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._used = asyncio.Event()
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    async def get_key(self, kid: str) -> jwt.PyJWK | None:
        """Return the key with this `kid`; None if the project has none. Raises
        `JwksUnavailableError`.
        """
        self._used.set()
        if kid not in self._keys:
            await self._fetch_shared()
            if kid not in self._keys and self._error is not None:
                raise JwksUnavailableError(self._error)
        return self._keys.get(kid)

    async def key_names(self) -> list[str]:
        """Fetch the keys and return their names. Raises `JwksUnavailableError` with the reason."""
        await self._fetch_shared()
        if self._error is not None:
            raise JwksUnavailableError(self._error)
        return [f"{key.algorithm_name} {kid}" for kid, key in self._keys.items()]

    async def run(self) -> None:
        """Fetch the keys every `refresh` seconds from their first use on, until cancelled."""
        await self._used.wait()
        while True:
            await asyncio.sleep(self._refresh)
            await self._fetch_shared()

    async def close(self) -> None:
        """Stop fetching. Idempotent."""
        self._closed = True
        self._error = self._error or "the bridge is stopping"
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._client is not None:
            await self._client.aclose()

    async def _fetch_shared(self) -> None:
        """Wait for a fetch to finish or fail. Concurrent callers share one."""
        if self._closed:
            return
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="fetch the project's keys")
        fetching = self._fetching
        # Shared with other callers, so it continues if this one is cancelled.
        await asyncio.wait([fetching])
        if not fetching.cancelled():
            fetching.result()

    async def _fetch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._fetch_started + self._pause - loop.time()))
            self._fetch_started = loop.time()
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
            self._client.stream("GET", self._url, headers=HEADERS) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"expected status 200, got {response.status_code}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError("expected an uncompressed body")
            async for chunk in response.aiter_raw(MAX_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"expected at most {MAX_BYTES} bytes, got more")
        return body

    def _store(self, found: jwks.KeySet) -> None:
        if self._error is not None and self._keys:
            log.warning("the signing keys of users' tokens can be fetched again")
        if found.rejected and found.rejected != self._rejected:
            log.warning("%s: rejected %s", self._url, "; ".join(found.rejected))
        before = self._keys
        self._keys, self._rejected, self._error = found.keys, found.rejected, None
        removed = {kid for kid, key in before.items() if not _same(key, found.keys.get(kid))}
        if removed:
            log.info("the project no longer publishes the keys %s", ", ".join(sorted(removed)))
            self.on_removed(removed)

    def _record_failure(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if self._error is None or not self._keys:
            log.error(
                "the signing keys of users' tokens can't be fetched from %s (%s); %s",
                self._url,
                reason,
                "until then the cached keys are used"
                if self._keys
                else "until then clients with tokens are rejected",
            )
        self._error = f"{self._url}: {reason}"


def _same(key: jwt.PyJWK, other: jwt.PyJWK | None) -> bool:
    """Whether both are the same key: another one may be published under the same `kid`."""
    return other is not None and key.key == other.key
