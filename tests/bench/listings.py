"""Fills the table with any number of listings, and changes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.bench.listener import Row
    from tests.chaos.platform import Platform

ROWS_PER_TRANSACTION: Final = 50_000
"""Rows per transaction of `fill`."""
CITIES: Final = (
    "array['Austin/TX', 'Dallas/TX', 'San Diego/CA', 'Fresno/CA', 'Reno/NV', 'Albany/NY']"
)


async def fill(platform: Platform, count: int) -> None:
    """Insert `count` listings without changes on Realtime, as if they had existed before."""
    await platform.fault("stall")
    for first in range(1, count + 1, ROWS_PER_TRANSACTION):
        last = min(count, first + ROWS_PER_TRANSACTION - 1)
        await platform.execute(
            "insert into properties (name, address, city, state, price, units, status, latitude,"
            " longitude, created_at, updated_at)"
            " select 'Listing number ' || n, n || ' North Lamar Boulevard, building ' || n % 7,"
            " split_part(place, '/', 1), split_part(place, '/', 2), 1000000 + n, 1 + n % 300,"
            " (array['available', 'pending', 'sold'])[1 + n % 3], 30 + (n % 1000) / 1e4,"
            " -97 - (n % 777) / 1e4, now() - interval '60 days',"
            " now() - interval '30 days' + n * interval '1 second'"
            f" from (select n, ({CITIES})[1 + n % 6] as place"
            f" from generate_series({first}, {last}) n) listings"
        )
        await platform.fault("lose_pending")
    await platform.fault("resume")
    await platform.execute("vacuum analyze properties")


async def keys(platform: Platform, count: int) -> list[str]:
    """Return the keys of `count` listings."""
    found = await platform.execute(f"select id::text from properties order by id limit {count}")
    return [key for (key,) in found]


async def reprice(platform: Platform, which: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Raise the price of each in one statement. Return the expected change of the price by key,
    `{"old": ..., "new": ...}`.
    """
    listed = ", ".join(f"'{key}'" for key in which)
    found = await platform.execute(
        f"update properties set price = price + 1 where id in ({listed})"
        " returning id::text, price::bigint"
    )
    return {key: {"old": price - 1, "new": price} for key, price in found}


async def delete(platform: Platform, which: Iterable[str]) -> set[str]:
    """Delete the listings in one statement. Return the deleted keys."""
    listed = ", ".join(f"'{key}'" for key in which)
    found = await platform.execute(
        f"delete from properties where id in ({listed}) returning id::text"
    )
    return {key for (key,) in found}


async def table(platform: Platform) -> dict[str, Row]:
    """Return the rows of the table by key, with the columns that listeners compare."""
    found = await platform.execute(
        "select id::text, name, city, state, price, units, status from properties"
    )
    await asyncio.sleep(0)
    return {
        key: {
            "name": name, "city": city, "state": state,
            "price": price, "units": units, "status": status,
        }
        for key, name, city, state, price, units, status in found
    }  # fmt: skip
