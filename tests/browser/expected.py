"""Writes to the table, and the comparison of a page with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.support.expected_table import differences

if TYPE_CHECKING:
    from playwright.async_api import Page

    from bridge.sandbox import Sandbox

Rows = dict[str, dict[str, Any]]
"""Published columns by property."""

PROPERTY_EVENTS = ("property-created", "property-updated", "property-deleted")
COLUMNS = (
    "name", "city", "state", "price", "units", "latitude", "longitude", "address", "status",
)  # fmt: skip
SECONDS = 30.0

SHOWN = """([expected, columns]) => {
  const held = window.__bridge?.rows();
  if (!held || held.length !== Object.keys(expected).length) return false;
  const agrees = (row, key) => expected[key] && columns.every(
    (column) => JSON.stringify(row[column] ?? null) === JSON.stringify(expected[key][column]));
  if (!held.every((row) => agrees(row, row.property_id))) return false;
  const lists = [...document.querySelectorAll('[data-testid="listings"]')];
  const count = lists.reduce((sum, list) => sum + Number(list.dataset.count), 0);
  if (lists.length > 0 && count !== held.length) return false;
  return [...document.querySelectorAll('[data-testid="listing"]')].every((card) => {
    const row = expected[card.dataset.propertyId];
    return row && [...card.querySelectorAll("[data-field]")].every((field) =>
      !columns.includes(field.dataset.field)
      || field.dataset.value === JSON.stringify(row[field.dataset.field]));
  });
}"""


async def rows_of(sandbox: Sandbox, region: str | None = None) -> Rows:
    """Return the present rows of one region, or of all."""
    columns = ", ".join(COLUMNS)
    rows = await sandbox.execute(
        f"select id::text as property_id, {columns} from properties"
        " where %(region)s::text is null or state = %(region)s",
        {"region": region},
    )
    return by_id(rows)


async def set_price(sandbox: Sandbox, key: str, price: int) -> None:
    await sandbox.execute("update properties set price = %s where id = %s", (price, key))


async def insert(sandbox: Sandbox, name: str, state: str = "TX", **columns: Any) -> str:
    """Insert a row and return its key."""
    values = {"name": name, "city": "Anywhere", "state": state, "price": 1_000_000, **columns}
    names = ", ".join(values)
    [row] = await sandbox.execute(
        f"insert into properties ({names}) values ({', '.join(['%s'] * len(values))})"
        " returning id::text",
        list(values.values()),
    )
    return str(row["id"])


async def delete(sandbox: Sandbox, key: str) -> None:
    await sandbox.execute("delete from properties where id = %s", (key,))


async def move(sandbox: Sandbox, key: str, state: str) -> None:
    await sandbox.execute("update properties set state = %s where id = %s", (state, key))


async def pick(sandbox: Sandbox, number: int, region: str = "TX") -> list[dict[str, Any]]:
    """Return available rows of a region with a price, the newest, which are listed first."""
    rows = await sandbox.execute(
        "select id::text, price, name, status, units from properties where state = %s"
        " and price is not null and units is not null and status = 'available'"
        " order by created_at desc, id limit %s",
        (region, number),
    )
    assert len(rows) == number, f"expected {number} such rows in {region}, found {len(rows)}"
    return rows


def by_id(rows: list[dict[str, Any]]) -> Rows:
    return {str(row["property_id"]): {name: row[name] for name in COLUMNS} for row in rows}


async def until_shown(page: Page, expected: Rows) -> None:
    """Wait until the page holds exactly these rows, and its cards show their values."""
    try:
        await page.wait_for_function(
            SHOWN, arg=[expected, list(COLUMNS)], polling=50, timeout=SECONDS * 1000
        )
    except PlaywrightTimeout:
        held = by_id(await page.evaluate("window.__bridge.rows()"))
        at = datetime.now(UTC).time()
        raise AssertionError(f"{at}: {_difference(held, expected)}") from None


def _difference(held: Rows, expected: Rows) -> str:
    lines = [f"the page holds {len(held)} rows, expected are {len(expected)}"]
    lines += [f"{key} {text}" for key, text in differences(held, expected)]
    if len(lines) == 1:
        lines.append("the rows are equal, so a card or the count shows something else")
    return "\n".join(lines[:20])
