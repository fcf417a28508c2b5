"""Transactions drawn from a seed: what they write depends on the dice and on nothing else.

Properties come from a fixed stock of keys. A statement about a key that is not in the table does
nothing, so the plan needs no knowledge of what the table holds.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests.chaos.truth import MARK

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

Statement: TypeAlias = tuple[str, tuple[Any, ...]]

STOCK: Final = 90
PLACES: Final = (
    ("TX", "Austin"),
    ("TX", "Dallas"),
    ("CA", "San Diego"),
    ("CA", None),
    ("NY", "New York"),
    ("OR", "Portland"),
    (None, "Nowhere"),
    ("", "Empty"),
)
NAMES: Final = (
    "Zoë & Søn",
    "東京タワー",
    "🏠 Loft 🌳",
    "Quote \"' \\ end",
    "tab\there",
    "e\u0301",
    "\u202eRTL",
)
FIRST: Final = (
    "insert into properties (id, name, state, city, price, internal_notes)"
    " select key, 'Listing ' || n, state, city, n, %s from"
    " unnest(%s::uuid[], %s::text[], %s::text[]) with ordinality as f(key, state, city, n)"
)
INSERT: Final = (
    "insert into properties (id, name, state, city, price, amenities, internal_notes)"
    " values (%s, %s, %s, %s, %s, %s, %s) on conflict (id) do nothing"
)
RENAME: Final = (
    "update properties set id = %s, price = %s where id = %s"
    " and not exists (select from properties where id = %s)"
)
LARGE_BYTES: Final = 20_000
PACES: Final = (0.5, 0.15, 0.06, 0.02)
"""Mean seconds between two transactions of one writer, from calm to a burst."""
PACE_LENGTH: Final = 40
"""Transactions until the pace changes."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """`hold`: seconds that it stays open after each statement. `undone`: the last so many
    statements are rolled back, by a savepoint or, if that is all, altogether.
    """

    statements: tuple[Statement, ...]
    hold: float
    undone: int
    pause: float


class Writes:
    """One writer's plan; its texts and numbers are unlike those of every other."""

    def __init__(self, dice: random.Random, keys: list[uuid.UUID], label: str) -> None:
        self._dice = dice
        self._keys = keys
        self._label = label
        self._count = 0
        self._acts: tuple[tuple[int, Callable[[], Statement]], ...] = (
            (30, self._price),
            (14, self._several),
            (6, self._unpublished),
            (12, self._move),
            (14, self._insert),
            (7, self._delete),
            (3, self._rename),
            (6, self._amenities),
            (3, self._tags),
            (4, self._name),
            (5, self._nulls),
            (4, self._status),
            (2, self._large),
            (3, self._many),
            (2, self._touch),
            (2, self._instants),
        )

    def __iter__(self) -> Iterator[Transaction]:
        """Without end."""
        dice = self._dice
        while True:
            pace = dice.choice(PACES)
            for _ in range(max(4, round(PACE_LENGTH * PACES[-2] / pace))):
                count = dice.choices((1, 2, 3, 6), (70, 15, 10, 5))[0]
                statements = tuple(self._statement() for _ in range(count))
                undone = dice.randint(1, count) if dice.random() < 0.08 else 0
                hold = dice.uniform(0.05, 0.6) if dice.random() < 0.04 else 0.0
                yield Transaction(statements, hold, undone, dice.expovariate(1 / pace))

    def first(self, count: int) -> Statement:
        """The table before the story."""
        keys = self._keys[:count]
        places = [self._dice.choice(PLACES) for _ in keys]
        return (
            FIRST,
            (MARK, keys, [state for state, _ in places], [city for _, city in places]),
        )

    def _statement(self) -> Statement:
        weights = [weight for weight, _ in self._acts]
        ((_, act),) = self._dice.choices(self._acts, weights)
        return act()

    def _key(self) -> uuid.UUID:
        return self._dice.choice(self._keys)

    def _number(self) -> int:
        self._count += 1
        return self._count * 1000 + self._dice.randrange(1000)

    def _text(self) -> str:
        return f"{self._label}{self._number()}"

    def _update(self, values: str, *parameters: Any) -> Statement:
        return f"update properties set {values} where id = %s", (*parameters, self._key())

    def _price(self) -> Statement:
        return self._update("price = %s", self._number())

    def _several(self) -> Statement:
        return self._update(
            "price = %s, units = %s, name = %s, latitude = %s, internal_notes = %s",
            self._number(),
            self._dice.randint(1, 400),
            self._text(),
            round(self._dice.uniform(-90, 90), 5),
            f"{MARK} {self._number()}",
        )

    def _unpublished(self) -> Statement:
        return self._update(
            "owner_contact = %s, cap_rate = %s",
            f"{MARK} {self._number()}",
            self._dice.randrange(999),
        )

    def _move(self) -> Statement:
        state, city = self._dice.choice(PLACES)
        if self._dice.random() < 0.4:
            return self._update("state = %s, city = %s", state, city)
        return self._update("state = %s, city = %s, price = %s", state, city, self._number())

    def _insert(self) -> Statement:
        state, city = self._dice.choice(PLACES)
        return (
            INSERT,
            (
                self._key(),
                self._text(),
                state,
                city,
                self._number(),
                json.dumps(self._json()),
                MARK,
            ),
        )

    def _delete(self) -> Statement:
        return "delete from properties where id = %s", (self._key(),)

    def _rename(self) -> Statement:
        old, new = self._key(), self._key()
        return (
            RENAME,
            (new, self._number(), old, new),
        )

    def _json(self) -> Any:
        number = self._number()
        return self._dice.choice(
            (
                {},
                {"pool": True, "n": number, "x": number / 8},
                {"a": {"b": [1, 2.5, None, {"c": "東京"}], "n": number}},
                {"list": list(range(self._dice.randrange(6))), "at": "2026-01-05 09:00:00+02"},
                {"z": 1.0, "e": 1e3, "n": str(number)},
            )
        )

    def _amenities(self) -> Statement:
        return self._update("amenities = %s", json.dumps(self._json()))

    def _tags(self) -> Statement:
        tags = [self._dice.choice(NAMES) for _ in range(self._dice.randrange(4))]
        return self._update("tags = %s", tags)

    def _name(self) -> Statement:
        return self._update("name = %s", f"{self._dice.choice(NAMES)} {self._text()}")

    def _nulls(self) -> Statement:
        column = self._dice.choice(("price", "units", "latitude", "longitude"))
        return self._update(f"{column} = case when {column} is null then 7 end")

    def _status(self) -> Statement:
        return self._update("status = %s", self._dice.choice(("available", "pending", "sold")))

    def _large(self) -> Statement:
        # md5 does not compress, so the value is stored out of line.
        if self._dice.random() < 0.3:
            return self._update("address = %s", self._text())
        return self._update(
            "address = (select string_agg(md5(n::text || %s), '') from generate_series(1, %s) n)",
            self._text(),
            self._dice.randrange(80, LARGE_BYTES // 32),
        )

    def _many(self) -> Statement:
        keys = self._dice.sample(self._keys, 15)
        return (
            "update properties set price = price + %s where id = any(%s)",
            (self._number(), keys),
        )

    def _touch(self) -> Statement:
        return self._update("price = price")

    def _instants(self) -> Statement:
        return self._update(
            "created_at = %s::timestamptz + %s * interval '1 microsecond'",
            "2026-01-05 10:00:00+01",
            self._number() * 10,
        )
