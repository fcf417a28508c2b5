"""`bridge check` names what reads do not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cli.check import check
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

TRIGGER = (
    "create trigger kept before update on places for each row execute function "
    "public.touch_updated_at()"
)


@pytest.fixture
async def places(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    await sandbox.execute(
        "create table places (id int primary key, state text, "
        "updated_at timestamptz default now());"
        "alter publication supabase_realtime add table places;"
        "grant select on places to service_role;"
        "insert into places select n, 'TX' from generate_series(1, 5) n"
    )
    try:
        yield sandbox
    finally:
        await sandbox.execute("alter role service_role bypassrls; drop table places")


async def checked(sandbox: Sandbox, **overrides: object) -> tuple[int, dict[str, str]]:
    """Return the exit code, and the lines by what they are about."""
    lines: list[str] = []
    settings = settings_of(
        sandbox,
        **{
            "table": "places",
            "columns": ("state",),
            "region": ("state",),
            "log": "memory:",
            **overrides,
        },
    )
    code = await check(settings, lines.append)
    subjects = dict.fromkeys(line[6:].partition(":")[0] for line in lines)
    return code, {
        subject: "\n".join(line for line in lines if line[6:].startswith(f"{subject}:"))
        for subject in subjects
    }


async def test_check_names_a_table_without_a_trigger(places: Sandbox) -> None:
    code, lines = await checked(places)
    assert code == 0
    assert lines["updated_at"].startswith("warn")
    assert "set by no trigger" in lines["updated_at"]
    assert "create trigger set_updated_at" in lines["updated_at"]
    assert lines["rights"] == "ok    rights: service_role sees all rows"


async def test_check_names_the_trigger_of_a_table(places: Sandbox) -> None:
    await places.execute(TRIGGER)
    _, lines = await checked(places)
    assert lines["updated_at"].endswith("updated_at is set in all rows; triggers: kept")


async def test_check_counts_rows_of_which_updated_at_is_null_or_in_the_future(
    places: Sandbox,
) -> None:
    await places.execute(TRIGGER)
    await places.execute(
        "insert into places values (6, 'TX', null), (7, 'TX', null), (8, 'TX', '2099-01-01')"
    )
    _, lines = await checked(places)
    assert "null in 2 rows;" in lines["updated_at"]
    assert "in the future in 1 rows;" in lines["updated_at"]


async def test_check_says_that_there_is_no_updated_at(places: Sandbox) -> None:
    _, lines = await checked(places, updated_at="")
    assert "updated_at: none" in lines["updated_at"]


async def test_check_fails_if_row_level_security_filters_the_reads(places: Sandbox) -> None:
    await places.execute(
        "alter role service_role nobypassrls; alter table places enable row level security"
    )
    code, lines = await checked(places)
    assert code == 1
    assert lines["rights"].startswith("FAIL  rights: row level security filters")


async def test_check_names_absent_functions(places: Sandbox) -> None:
    await places.execute("alter function bridge_rights(text, text) rename to hidden_rights")
    try:
        code, lines = await checked(places)
    finally:
        await places.execute("alter function hidden_rights(text, text) rename to bridge_rights")
    assert code == 0
    assert "BRIDGE_DELETE_HOLD" in lines["rights"]
    assert "whether a trigger keeps it was not checked" in lines["updated_at"]
