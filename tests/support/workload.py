"""Random transactions that depend on the seed alone, not on the contents of the table.

Keys are drawn from a fixed set. A statement with a key that is not in the table has no effect.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests.support.expected_table import UNPUBLISHED_MARK

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

Statement: TypeAlias = tuple[str, tuple[Any, ...]]

KEYS: Final = 90
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
FIRST_ROWS: Final = (
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
"""Mean seconds between two transactions, from few writes to a burst."""
PACE_LENGTH: Final = 40
"""Transactions until the pace changes, at the second shortest pace."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of a writer.

    `hold`: seconds that it stays open after each statement. `rolled_back`: number of its last
    statements that are rolled back, to a savepoint or, if these are all, with the transaction.
    `pause`: seconds until the next transaction.
    """

    statements: tuple[Statement, ...]
    hold: float
    rolled_back: int
    pause: float


class Workload:
    """An endless sequence of transactions; texts differ from those of every other `label`."""

    def __init__(self, rng: random.Random, keys: list[uuid.UUID], label: str) -> None:
        self._rng = rng
        self._keys = keys
        self._label = label
        self._count = 0
        self._statements: tuple[tuple[int, Callable[[], Statement]], ...] = (
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
        rng = self._rng
        while True:
            pace = rng.choice(PACES)
            for _ in range(max(4, round(PACE_LENGTH * PACES[-2] / pace))):
                count = rng.choices((1, 2, 3, 6), (70, 15, 10, 5))[0]
                statements = tuple(self._statement() for _ in range(count))
                rolled_back = rng.randint(1, count) if rng.random() < 0.08 else 0
                hold = rng.uniform(0.05, 0.6) if rng.random() < 0.04 else 0.0
                yield Transaction(statements, hold, rolled_back, rng.expovariate(1 / pace))

    def first(self, count: int) -> Statement:
        """Return the statement that inserts the first `count` rows."""
        keys = self._keys[:count]
        places = [self._rng.choice(PLACES) for _ in keys]
        return (
            FIRST_ROWS,
            (UNPUBLISHED_MARK, keys, [state for state, _ in places], [city for _, city in places]),
        )

    def _statement(self) -> Statement:
        weights = [weight for weight, _ in self._statements]
        ((_, statement),) = self._rng.choices(self._statements, weights)
        return statement()

    def _key(self) -> uuid.UUID:
        return self._rng.choice(self._keys)

    def _number(self) -> int:
        self._count += 1
        return self._count * 1000 + self._rng.randrange(1000)

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
            self._rng.randint(1, 400),
            self._text(),
            round(self._rng.uniform(-90, 90), 5),
            f"{UNPUBLISHED_MARK} {self._number()}",
        )

    def _unpublished(self) -> Statement:
        return self._update(
            "owner_contact = %s, cap_rate = %s",
            f"{UNPUBLISHED_MARK} {self._number()}",
            self._rng.randrange(999),
        )

    def _move(self) -> Statement:
        state, city = self._rng.choice(PLACES)
        if self._rng.random() < 0.4:
            return self._update("state = %s, city = %s", state, city)
        return self._update("state = %s, city = %s, price = %s", state, city, self._number())

    def _insert(self) -> Statement:
        state, city = self._rng.choice(PLACES)
        return (
            INSERT,
            (
                self._key(),
                self._text(),
                state,
                city,
                self._number(),
                json.dumps(self._json()),
                UNPUBLISHED_MARK,
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
        return self._rng.choice(
            (
                {},
                {"pool": True, "n": number, "x": number / 8},
                {"a": {"b": [1, 2.5, None, {"c": "東京"}], "n": number}},
                {"list": list(range(self._rng.randrange(6))), "at": "2026-01-05 09:00:00+02"},
                {"z": 1.0, "e": 1e3, "n": str(number)},
            )
        )

    def _amenities(self) -> Statement:
        return self._update("amenities = %s", json.dumps(self._json()))

    def _tags(self) -> Statement:
        tags = [self._rng.choice(NAMES) for _ in range(self._rng.randrange(4))]
        return self._update("tags = %s", tags)

    def _name(self) -> Statement:
        return self._update("name = %s", f"{self._rng.choice(NAMES)} {self._text()}")

    def _nulls(self) -> Statement:
        column = self._rng.choice(("price", "units", "latitude", "longitude"))
        return self._update(f"{column} = case when {column} is null then 7 end")

    def _status(self) -> Statement:
        return self._update("status = %s", self._rng.choice(("available", "pending", "sold")))

    def _large(self) -> Statement:
        # md5 does not compress, so the value is stored out of line.
        if self._rng.random() < 0.3:
            return self._update("address = %s", self._text())
        return self._update(
            "address = (select string_agg(md5(n::text || %s), '') from generate_series(1, %s) n)",
            self._text(),
            self._rng.randrange(80, LARGE_BYTES // 32),
        )

    def _many(self) -> Statement:
        keys = self._rng.sample(self._keys, 15)
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
