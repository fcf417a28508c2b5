"""What happened to a client lately, for whoever wants to know how something came about."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT: Final = 3000
SHOWN: Final = 6
"""Of a property, of the connection, and of all."""
AFTERWARDS: Final = 2.0
"""Seconds after the instant in question that are still of interest."""


@dataclass(frozen=True, slots=True)
class Fact:
    at: float
    key: str
    text: str


class Facts:
    def __init__(self) -> None:
        self._facts: deque[Fact] = deque(maxlen=KEPT)

    def note(self, at: float, key: str, text: str) -> None:
        """`key`: of the property that it is about; empty for what concerns the connection."""
        self._facts.append(Fact(at, key, text))

    def around(self, key: str, at: float) -> tuple[str, ...]:
        """The last ones of the property, of the connection and of all, a line each."""
        facts = [fact for fact in self._facts if fact.at <= at + AFTERWARDS]
        chosen: dict[int, Fact] = {}
        for some in (
            [fact for fact in facts if key and fact.key == key],
            [fact for fact in facts if not fact.key],
            facts,
        ):
            chosen |= {id(fact): fact for fact in some[-SHOWN:]}
        ordered = sorted(chosen.values(), key=lambda fact: fact.at)
        return tuple(f"{fact.at:8.2f} {fact.key[:8]} {fact.text}" for fact in ordered)


def brief(data: Mapping[str, Any]) -> str:
    """Of an event's data, what is of interest."""
    said = data.get("changes") or {k: v for k, v in data.items() if k != "property_id"}
    text = str(said)
    if "moved" in data:
        text += f" moved {data['moved']['from']} to {data['moved']['to']}"
    return text if len(text) < 260 else f"{text[:180]} … {text[-60:]}"
