"""What a fault is, and a collection of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from tests.chaos.scene import Scene

Act: TypeAlias = "Callable[[Scene, random.Random, float], Awaitable[None]]"
"""Make the trouble, and return when it is over. Gets dice of its own, and how long trouble that
lasts is to last, in seconds."""


class NotHereError(Exception):
    """The trouble can't be had on this machine or with these settings."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`weight`: how often it happens, beside the others."""

    name: str
    weight: int
    act: Act


class Faults:
    """Added to by decorating what makes the trouble."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __call__(self, name: str, weight: int = 2) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            self._faults.append(Fault(name, weight, act))
            return act

        return add
