"""`CommitRecorder` records the committed states of every row in commit order, and nothing else."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from bridge.projection import Projection
from tests.support.commit_recorder import CommitRecorder
from tests.support.expected_table import ExpectedTable
from tests.support.writer import Writer

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox

PROJECTION = Projection()


def prices(table: ExpectedTable, key: str) -> list[Any]:
    """Return the price of each recorded state of a property; "none" where it did not exist."""
    return ["none" if row is None else row["price"] for row in table.states[key]]


@pytest.fixture
async def key(sandbox: Sandbox) -> str:
    await sandbox.execute("truncate properties")
    key = str(uuid.uuid4())
    await sandbox.execute("insert into properties (id, name, price) values (%s, 'One', 1)", (key,))
    return key


@pytest.fixture
async def recorder(sandbox: Sandbox, key: str) -> CommitRecorder:
    recorder = CommitRecorder(ExpectedTable(PROJECTION))
    await recorder.install(sandbox.execute)
    return recorder


async def test_statements_are_recorded_in_commit_order(
    sandbox: Sandbox, recorder: CommitRecorder, key: str
) -> None:
    other = str(uuid.uuid4())
    for query in (
        "update properties set price = 2",
        "update properties set internal_notes = 'changes no published column'",
        "update properties set price = 3",
        f"update properties set id = '{other}'",
        "truncate properties",
        f"insert into properties (id, name, price) values ('{key}', 'One', 4)",
        "delete from properties",
    ):
        await sandbox.execute(query)
    await recorder.catch_up(sandbox.execute)
    await recorder.verify(sandbox.execute)
    assert prices(recorder.table, key) == [1, 2, 3, "none", 4, "none"]
    assert prices(recorder.table, other) == ["none", 3, "none"]
    assert recorder.table.rows == {}


async def test_rolled_back_statement_is_not_recorded(
    sandbox: Sandbox, recorder: CommitRecorder, key: str
) -> None:
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute("update properties set price = 99")
        await connection.rollback()
    await sandbox.execute("update properties set price = 2")
    await recorder.catch_up(sandbox.execute)
    assert prices(recorder.table, key) == [1, 2]


async def test_transaction_that_commits_after_later_ones_were_read_is_recorded(
    sandbox: Sandbox, recorder: CommitRecorder, key: str
) -> None:
    other = str(uuid.uuid4())
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute("update properties set price = 2")
        await sandbox.execute(
            "insert into properties (id, name, price) values (%s, 'Two', 1)", (other,)
        )
        await recorder.catch_up(sandbox.execute)
        assert prices(recorder.table, key) == [1]
        assert prices(recorder.table, other) == ["none", 1]
        await connection.commit()
    await recorder.catch_up(sandbox.execute)
    assert prices(recorder.table, key) == [1, 2]
    assert prices(recorder.table, other) == ["none", 1]


async def test_each_commit_is_recorded_once(
    sandbox: Sandbox, recorder: CommitRecorder, key: str
) -> None:
    await sandbox.execute("update properties set price = 2")
    for _ in range(3):
        await recorder.catch_up(sandbox.execute)
    assert recorder.table.commits == 1
    await sandbox.execute("update properties set price = 3")
    await recorder.reload(sandbox.execute)
    await recorder.catch_up(sandbox.execute)
    assert prices(recorder.table, key) == [1, 2, 3]


async def test_missed_record_fails_the_check_of_the_number_of_rows(
    sandbox: Sandbox, recorder: CommitRecorder
) -> None:
    await sandbox.execute("alter table properties disable trigger record_commit")
    await sandbox.execute("insert into properties (name) values ('Unrecorded')")
    await sandbox.execute("alter table properties enable trigger record_commit")
    await recorder.catch_up(sandbox.execute)
    with pytest.raises(AssertionError, match="recorded commits"):
        await recorder.verify(sandbox.execute)


async def test_writer_waits_for_commits(sandbox: Sandbox) -> None:
    writer = Writer(sandbox.execute, ExpectedTable(PROJECTION), pause=0.001)
    await writer.begin(3)
    assert len(writer.table.rows) == 3
    async with writer.writing():
        await writer.until_written(10)
    assert writer.table.commits >= 10
    before = {key: list(states) for key, states in writer.table.states.items()}
    await writer.reload()
    assert writer.table.states == before
