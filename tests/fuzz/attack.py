"""An attack: the steps of one case, and the outcomes that are allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.errors import Code
from tests.fuzz.target import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from tests.fuzz.target import Target

CODES = "|".join(code.value for code in Code)

Play: TypeAlias = "Callable[[Target, Random], Awaitable[str]]"


@dataclass(frozen=True)
class Attack:
    """`play` runs one case and returns its outcome; `allowed` is a pattern of all allowed ones."""

    name: str
    play: Play
    allowed: str

    async def case(self, target: Target, dice: Random) -> str:
        """Run one case and return its outcome. Raise `Fault` if it is not allowed."""
        outcome = await self.play(target, dice)
        if not re.fullmatch(self.allowed, outcome):
            raise Fault(f"{self.name}: the outcome {outcome!r} is not documented")
        return outcome
