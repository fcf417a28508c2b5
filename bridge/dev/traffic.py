"""Generates a slow stream of realistic changes to the listings."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PLACES = (
    # city, state, latitude, longitude, a street
    ("Austin", "TX", 30.2672, -97.7431, "South Lamar Blvd"),
    ("Houston", "TX", 29.7604, -95.3698, "Westheimer Rd"),
    ("Dallas", "TX", 32.7767, -96.7970, "Greenville Ave"),
    ("San Diego", "CA", 32.7157, -117.1611, "El Cajon Blvd"),
    ("Sacramento", "CA", 38.5816, -121.4944, "Fulton Ave"),
    ("Tampa", "FL", 27.9506, -82.4572, "Fletcher Ave"),
    ("Orlando", "FL", 28.5383, -81.3792, "Semoran Blvd"),
    ("Atlanta", "GA", 33.7490, -84.3880, "Piedmont Ave"),
    ("Phoenix", "AZ", 33.4484, -112.0740, "Thomas Rd"),
    ("Denver", "CO", 39.7392, -104.9903, "Leetsdale Dr"),
    ("Charlotte", "NC", 35.2271, -80.8431, "Monroe Rd"),
    ("Nashville", "TN", 36.1627, -86.7816, "Nolensville Pike"),
)
FIRST = ("Amber", "Bluebonnet", "Chestnut", "Driftwood", "Elm", "Foxglove", "Granite", "Heron")
SECOND = ("Bluff", "Court", "Gate", "Heights", "Knoll", "Mill", "Orchard", "Springs")
KIND = ("Apartments", "Flats", "Lofts", "Residences")
RETRY_SECONDS = 1.0
"""Seconds between attempts to connect while the database is unavailable."""


class TrafficGenerator:
    """Writes to the listings, one change per `interval` seconds on average.

    Kind, row and values of each change are drawn from `rng`, so the same seed on the same rows
    produces the same changes. Rows are selected by their rank in key order, not at random by the
    database.
    """

    def __init__(self, database_url: str, rng: random.Random, interval: float = 2.0) -> None:
        self._url = database_url
        self._rng = rng
        self._interval = interval
        self._actions: tuple[tuple[int, Callable[[_Connection], Awaitable[str]]], ...] = (
            (40, self._reprice),
            (30, self._change_status),
            (14, self._insert),
            (8, self._delete),
            (5, self._correct_units),
            (3, self._relocate),
        )

    async def run(self) -> None:
        """Write changes until cancelled. Reconnects after the database was unavailable."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True
                ) as connection:
                    while True:
                        await asyncio.sleep(self._rng.expovariate(1 / self._interval))
                        await self.step(connection)
            except psycopg.OperationalError as error:
                log.info("traffic paused, the database is unavailable: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def step(self, connection: _Connection) -> str:
        """Write and commit one change. Return a short description of it."""
        weights = [weight for weight, _ in self._actions]
        ((_, action),) = self._rng.choices(self._actions, weights)
        description = await action(connection)
        log.debug("traffic: %s", description)
        return description

    async def _reprice(self, connection: _Connection) -> str:
        row = await self._pick(connection, "status <> 'sold' and price is not null")
        if row is None:
            return await self._insert(connection)
        # Prices fall more often than they rise.
        factor = self._rng.choice((0.95, 0.96, 0.97, 0.98, 0.98, 0.99, 1.02))
        price = max(25_000, round(row["price"] * factor / 25_000) * 25_000)
        await _update(connection, row["id"], price=price)
        return f"{row['name']} is repriced to {price}"

    async def _change_status(self, connection: _Connection) -> str:
        """Move from available to pending to sold; one in five pending ones returns to available."""
        row = await self._pick(connection, "status <> 'sold'")
        if row is None:
            return await self._insert(connection)
        if row["status"] == "available":
            status = "pending"
        else:
            status = "available" if self._rng.random() < 0.2 else "sold"  # noqa: PLR2004
        await _update(connection, row["id"], status=status)
        return f"{row['name']} is {status}"

    async def _insert(self, connection: _Connection) -> str:
        rng = self._rng
        city, state, latitude, longitude, street = rng.choice(PLACES)
        name = f"{rng.choice(FIRST)} {rng.choice(SECOND)} {rng.choice(KIND)}"
        units = rng.choice((12, 24, 36, 48, 72, 96, 120, 168, 216))
        await connection.execute(
            "insert into public.properties (id, name, address, city, state, price, units,"
            " latitude, longitude) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                uuid.UUID(int=rng.getrandbits(128), version=4),
                name,
                f"{rng.randrange(100, 9900)} {street}, {city}, {state}",
                city,
                state,
                units * rng.randrange(110, 290) * 1000,
                units,
                round(latitude + rng.uniform(-0.05, 0.05), 4),
                round(longitude + rng.uniform(-0.05, 0.05), 4),
            ),
        )
        return f"{name} is new in {city}, {state}"

    async def _delete(self, connection: _Connection) -> str:
        # Sold listings first, so that the table does not become empty.
        row = await self._pick(connection, "status = 'sold'") or await self._pick(connection)
        if row is None:
            return await self._insert(connection)
        await connection.execute("delete from public.properties where id = %s", (row["id"],))
        return f"{row['name']} is deleted"

    async def _correct_units(self, connection: _Connection) -> str:
        row = await self._pick(connection, "units is not null")
        if row is None:
            return await self._insert(connection)
        units = max(1, row["units"] + self._rng.choice((-2, -1, 1, 2)))
        await _update(connection, row["id"], units=units)
        return f"{row['name']} has {units} units"

    async def _relocate(self, connection: _Connection) -> str:
        """Correct the city of a listing to one of another state, which changes its region."""
        row = await self._pick(connection)
        if row is None:
            return await self._insert(connection)
        city, state, latitude, longitude, street = self._rng.choice(
            [place for place in PLACES if place[1] != row["state"]]
        )
        await _update(
            connection,
            row["id"],
            address=f"{self._rng.randrange(100, 9900)} {street}, {city}, {state}",
            city=city,
            state=state,
            latitude=latitude,
            longitude=longitude,
        )
        return f"{row['name']} moves to {city}, {state}"

    async def _pick(self, connection: _Connection, where: str = "true") -> dict[str, Any] | None:
        """Return a row that matches `where`, or None. `where` is interpolated: constants only."""
        cursor = await connection.execute(
            "with fitting as (select id, name, state, price, units, status,"  # noqa: S608
            " row_number() over (order by id) - 1 as rank, count(*) over () as total"
            f" from public.properties where {where})"
            " select id, name, state, price, units, status from fitting"
            " where rank = floor(%s::float8 * total)",
            (self._rng.random(),),
        )
        row = await cursor.fetchone()
        if row is None or cursor.description is None:
            return None
        return dict(zip((column.name for column in cursor.description), row, strict=True))


_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def _update(connection: _Connection, key: uuid.UUID, **values: object) -> None:
    assignments = ", ".join(f"{column} = %({column})s" for column in values)
    await connection.execute(
        f"update public.properties set {assignments} where id = %(key)s",  # noqa: S608
        {**values, "key": key},
    )
