"""The type of a fault, and a registry of faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from tests.chaos.environment import Environment

Inject: TypeAlias = "Callable[[Environment, random.Random, float], Awaitable[None]]"
"""Inject a fault, and return when it is over. Takes a random generator of its own, and how many
seconds a lasting fault lasts."""


class UnavailableError(Exception):
    """The fault can't be injected on this machine or with these settings."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`weight`: how often it is injected, relative to the others."""

    name: str
    weight: int
    inject: Inject


class Faults:
    """A list of faults; calling it returns a decorator that adds one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __call__(self, name: str, weight: int = 2) -> Callable[[Inject], Inject]:
        def add(inject: Inject) -> Inject:
            self._faults.append(Fault(name, weight, inject))
            return inject

        return add
