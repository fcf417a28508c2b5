"""What a slot can stream, from a real PostgreSQL to the events of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from bridge.source.replication import spill, stream
from tests.integration.replication_rig import (
    ReplicationRig,
    drop_replication,
    replication_settings,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings

TABLE = """
create table public.homes (
  id int primary key, name text, state text, price numeric, notes text, tags text[]
)"""


@pytest.fixture
async def homes(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings of a bridge that follows an empty table `homes`, with the default identity."""
    await sandbox.execute(TABLE)
    yield replication_settings(
        sandbox,
        tmp_path,
        table="public.homes",
        columns=("name", "state", "price", "notes"),
        updated_at="",
        slot="bridge_homes",
        publication="bridge_homes",
    )
    await drop_replication(sandbox, "bridge_homes")
    await sandbox.execute("drop table public.homes")


def changes(rig: ReplicationRig, column: str) -> list[tuple[Any, Any]]:
    """Return old and new value of each update of a column."""
    return [
        (each["data"]["changes"][column]["old"], each["data"]["changes"][column]["new"])
        for each in rig.events
        if each["event"] == "property-updated" and column in each["data"]["changes"]
    ]


def kinds(rig: ReplicationRig) -> list[tuple[str, Any]]:
    return [
        (each["event"].removeprefix("property-"), each["data"]["property_id"])
        for each in rig.events
    ]


async def test_changed_key_is_a_deletion_and_a_creation(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set id = 2 where id = 1")
        await rig.until(lambda: len(rig.events) == 2)
        assert kinds(rig) == [("deleted", 1), ("created", 2)]
        assert rig.row(2) is not None


async def test_truncate_deletes_the_known_rows(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes select n, 'x', 'TX', n from generate_series(1, 5) n")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("truncate homes")
        await rig.until(lambda: len(rig.events) == 5)
        assert sorted(kinds(rig)) == [("deleted", n) for n in range(1, 6)]
        assert len(rig.commits) == 1


async def test_truncate_of_a_large_table_deletes_all_rows(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes select n, 'x', 'TX' from generate_series(1, 2500) n")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("begin; truncate homes; insert into homes values (1, 'new'); commit")
        await rig.until(lambda: len(rig.events) == 2501)
        assert kinds(rig)[-1] == ("created", 1)
        assert len(rig.pipeline.rows) == 1


async def test_truncate_of_another_table_deletes_nothing(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    await sandbox.execute("create table other (id int primary key)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("alter publication bridge_homes add table other")
        await sandbox.execute("insert into other values (1); truncate other")
        await sandbox.execute("update homes set price = 2")
        await rig.until(lambda: len(rig.events) == 1)
        assert kinds(rig) == [("updated", 1)]
    await sandbox.execute("drop table other")


@pytest.mark.parametrize("identity", ["default", "full"])
async def test_large_value_that_an_update_leaves_alone_stays(
    sandbox: Sandbox, homes: Settings, identity: str
) -> None:
    await sandbox.execute(f"alter table homes replica identity {identity}")
    await sandbox.execute("alter table homes alter notes set storage external")
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1, repeat('x', 100000))")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set price = 2")
        await sandbox.execute("update homes set notes = repeat('y', 100000)")
        await rig.until(lambda: len(rig.events) == 2)
        assert changes(rig, "price") == [(1, 2)]
        assert changes(rig, "notes") == [("x" * 100_000, "y" * 100_000)]


async def test_message_and_rolled_back_transaction_publish_nothing(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("select pg_logical_emit_message(true, 'other', 'text')")
        await sandbox.execute("begin; insert into homes values (1); rollback")
        await sandbox.execute("insert into homes values (2)")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("created", 2)]


async def test_partitioned_table_is_published_as_its_root(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "drop table homes;"
        "create table homes (id int, name text, state text, price numeric, notes text,"
        " primary key (id)) partition by range (id);"
        "create table homes_low partition of homes for values from (0) to (100);"
        "create table homes_high partition of homes for values from (100) to (200)"
    )
    await sandbox.execute("insert into homes values (1, 'a', 'TX')")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("insert into homes values (101, 'b', 'TX')")
        await sandbox.execute("update homes set id = 102 where id = 1")
        await rig.until(lambda: len(rig.events) == 3)
        assert kinds(rig) == [("created", 101), ("deleted", 1), ("created", 102)]


async def test_publication_with_a_column_list_and_a_row_filter_is_followed(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "create publication bridge_homes for table homes (id, name, state, price, notes)"
        " where (id < 100)"
    )
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("insert into homes values (100, 'hidden'), (1, 'seen')")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("created", 1)]
        assert rig.source.status().error is None


async def test_column_that_the_publication_omits_is_named(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("create publication bridge_homes for table homes (id, name, state)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("insert into homes values (1, 'a', 'TX', 5, 'n')")
        await rig.until(lambda: bool(rig.events))
        error = rig.source.status().error
        assert error is not None
        assert "price, notes" in error
        assert "bridge_homes" in error


async def test_added_column_changes_nothing(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set price = 2")
        await sandbox.execute("alter table homes add garage bool default true")
        await sandbox.execute("update homes set price = 3")
        await rig.until(lambda: len(rig.events) == 2)
        assert changes(rig, "price") == [(1, 2), (2, 3)]


async def test_retyped_column_is_compared_in_all_rows(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1), (2, 'b', 'TX', 2)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set name = 'c' where id = 1")
        await sandbox.execute("alter table homes alter price type text using price || ' $'")
        await sandbox.execute("update homes set name = 'd' where id = 1")
        await rig.until(lambda: len(changes(rig, "price")) == 2)
        assert changes(rig, "price") == [(1, "1 $"), (2, "2 $")]


async def test_dropped_column_keeps_its_value_and_is_named(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1, 'n')")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("alter table homes rename notes to remarks")
        await sandbox.execute("update homes set price = 2")
        await rig.until(lambda: bool(changes(rig, "price")))
        assert (rig.row(1) or {})["notes"] == "n"
        assert "notes" in (rig.source.status().error or "")


async def test_replica_identity_may_change(sandbox: Sandbox, homes: Settings) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        for n, identity in enumerate(("full", "default", "full")):
            await sandbox.execute(f"alter table homes replica identity {identity}")
            await sandbox.execute("update homes set price = %s", (n + 2,))
        await sandbox.execute("delete from homes")
        await rig.until(lambda: len(rig.events) == 4)
        assert changes(rig, "price") == [(1, 2), (2, 3), (3, 4)]
        assert kinds(rig)[-1] == ("deleted", 1)


# -- long transactions ------------------------------------------------------------------------


def in_progress(settings: Settings) -> Settings:
    """Return settings with which the server sends transactions of 64 kB before their commit."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    from pydantic import SecretStr

    streamed = f"{url}?options=-c%20logical_decoding_work_mem%3D64kB"
    return settings.model_copy(update={"database_url": SecretStr(streamed)})


async def test_transaction_in_progress_is_published_at_its_commit_in_order(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as writer,
    ):
        await rig.live()
        await writer.execute(
            "insert into homes select n, 'x', 'TX' from generate_series(1, 3000) n"
        )
        await writer.execute("update homes set name = 'y' where id <= 10")
        await writer.execute("savepoint s")
        await writer.execute("update homes set name = 'taken back'")
        await writer.execute("rollback to s")
        await writer.execute("update homes set name = 'z' where id <= 10")
        await sandbox.execute("insert into homes values (0, 'other')")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("created", 0)]
        await writer.commit()
        await rig.until(lambda: len(rig.events) == 3021)
        [streams] = await sandbox.execute(
            "select stream_txns from pg_stat_replication_slots where slot_name = 'bridge_homes'"
        )
        assert changes(rig, "name") == [("x", "y")] * 10 + [("y", "z")] * 10
        assert streams["stream_txns"] > 0
        assert len(rig.commits) == 2


async def test_transaction_in_progress_that_is_rolled_back_publishes_nothing(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as writer,
    ):
        await rig.live()
        await writer.execute("insert into homes select n, 'x' from generate_series(1, 3000) n")
        await writer.rollback()
        await sandbox.execute("insert into homes values (0, 'other')")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("created", 0)]


async def test_long_transaction_is_divided_and_resumed_where_the_log_is(
    sandbox: Sandbox, homes: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_CHANGES", 100)
    homes = homes.model_copy(update={"queue_changes": 1})
    await sandbox.execute("insert into homes select n, 'x', 'TX' from generate_series(1, 20) n")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        start = rig.log.head
    loop = "do $$ begin for n in 1..50 loop update homes set price = n; end loop; end $$"
    await sandbox.execute(loop)
    async with ReplicationRig.open(homes) as rig:
        await rig.until(lambda: bool(rig.events))
        assert all(len(commit) % 100 == 0 for commit in rig.commits)
    # Stopped in the middle of the transaction.
    assert "+" in (rig.log.progress.stream or "")
    async with ReplicationRig.open(homes) as rig:
        await rig.until(lambda: len(rig.logged(start)) >= 1000)
        await sandbox.execute("update homes set price = 51 where id = 1")
        await rig.until(lambda: len(rig.logged(start)) >= 1001)
        events = rig.logged(start)
    of_one = [each["data"] for each in events if each["data"]["property_id"] == 1]
    assert [each["changes"]["price"]["new"] for each in of_one] == [*range(1, 52)]
    assert len(events) == 1001


async def test_directory_without_space_leaves_long_transactions_to_the_server(
    sandbox: Sandbox, homes: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, _sub: int, _message: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill.SpilledTransaction, "add", full)
    async with ReplicationRig.open(in_progress(homes)) as rig:
        await rig.live()
        await sandbox.execute("insert into homes select n, 'x' from generate_series(1, 3000) n")
        await rig.until(lambda: len(rig.events) == 3000)
        assert rig.pipeline.status().counts.get("gaps", 0) == 1
