"""Faults of the REST endpoint, injected on demand."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.sandbox.postgrest.errors import PostgrestError, no_schema_cache

NAMES = ("rest-down", "rest-delay", "rest-hang", "rest-fail", "rest-heal")


class PostgrestFaults:
    """Faults of reads; each lasts until it is reset.

    `down`: 503, as PostgREST responds without its database. `delay`: seconds before every response.
    `hang`: requests receive no response until it is False.
    """

    def __init__(self) -> None:
        self.down = False
        self.delay = 0.0
        self._failures: list[int] = []
        self._answering = asyncio.Event()
        self._answering.set()

    @property
    def hang(self) -> bool:
        return not self._answering.is_set()

    @hang.setter
    def hang(self, value: bool) -> None:
        if value:
            self._answering.clear()
        else:
            self._answering.set()

    def fail_next(self, n: int = 1, status: int = 500) -> None:
        """Respond to the next `n` reads with `status`."""
        self._failures.extend([status] * n)

    def heal(self) -> None:
        """Reset every fault, and respond to hanging requests."""
        self.down = False
        self.delay = 0.0
        self._failures.clear()
        self.hang = False

    def apply(self, name: str, **options: Any) -> None:
        """Inject a fault by name: `rest-down` (on), `rest-delay` (seconds), `rest-hang` (on),
        `rest-fail` (n, status), `rest-heal`. Raises ValueError for another name or option.
        """
        try:
            match name:
                case "rest-down":
                    self._down(**options)
                case "rest-delay":
                    self._delay(**options)
                case "rest-hang":
                    self._hang(**options)
                case "rest-fail":
                    self.fail_next(**options)
                case "rest-heal":
                    self.heal(**options)
                case _:
                    raise ValueError(f"expected one of {', '.join(NAMES)}, got {name!r}")
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error

    async def inject(self) -> None:
        """Apply the faults to one request, before its response: wait or raise `PostgrestError`."""
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._answering.wait()
        if self.down:
            raise no_schema_cache()
        if self._failures:
            status = self._failures.pop(0)
            raise PostgrestError(status, "XX000", "fault injected by the sandbox")

    def _down(self, *, on: bool = True) -> None:
        self.down = on

    def _delay(self, *, seconds: float) -> None:
        self.delay = seconds

    def _hang(self, *, on: bool = True) -> None:
        self.hang = on
