"""One way to attack: what is done in a case, and what a client may get of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.errors import Code
from tests.fuzz.stand import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from tests.fuzz.stand import Stand

CODES = "|".join(code.value for code in Code)

Play: TypeAlias = "Callable[[Stand, Random], Awaitable[str]]"


@dataclass(frozen=True)
class Attack:
    """`play` gives what the client got, in a few words; `gets` is a pattern of all that it may."""

    name: str
    play: Play
    gets: str

    async def case(self, stand: Stand, dice: Random) -> str:
        """Play one case. Raises `Fault` if the client got something that it may not."""
        got = await self.play(stand, dice)
        if not re.fullmatch(self.gets, got):
            raise Fault(f"{self.name}: a client got {got!r}, which is not documented")
        return got
