"""What else a slot can stream: row filters, partitions, origins, and transactions in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from bridge.sandbox.postgres.server import SUPERUSER
from bridge.source.base import SourceState
from tests.integration.replication_rig import ReplicationRig
from tests.integration.test_replication_stream import (
    changes,
    homes,
    in_progress,
    kinds,
)

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from bridge.settings import Settings

__all__ = ["homes"]

PARTITIONS = """
drop table homes;
create table homes (id int primary key, name text, state text, price numeric, notes text)
  partition by range (id);
create table homes_low partition of homes for values from (0) to (100);
create table homes_high partition of homes for values from (100) to (200);
insert into homes values (1, 'a', 'TX', 1), (101, 'b', 'TX', 1)"""


# -- columns ----------------------------------------------------------------------------------


async def test_dropped_column_that_is_added_again_is_compared_in_all_rows(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1, 'n'), (2, 'b', 'TX', 1, 'n')")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("alter table homes drop notes")
        await sandbox.execute("update homes set price = 2 where id = 1")
        await rig.until(lambda: "notes" in (rig.source.status().error or ""))
        await sandbox.execute("alter table homes add notes text default 'again'")
        await sandbox.execute("update homes set price = 3 where id = 1")
        await rig.until(lambda: len(changes(rig, "notes")) == 2)
        assert changes(rig, "notes") == [("n", "again")] * 2
        assert rig.source.status().error is None


async def test_change_after_a_column_before_it_was_dropped_has_its_own_values(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1, 'n', '{x}')")
    homes = homes.model_copy(update={"columns": ("state", "price", "notes")})
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set price = 2")
        await sandbox.execute("alter table homes drop name")
        await sandbox.execute("update homes set price = 3")
        await rig.until(lambda: len(rig.events) == 2)
        assert changes(rig, "price") == [(1, 2), (2, 3)]
        assert rig.row(1) == {"state": "TX", "price": 3, "notes": "n"}


async def test_column_added_within_a_transaction_is_followed(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute(
            "begin; update homes set price = 2; alter table homes alter price type text;"
            " update homes set price = '3 $'; commit"
        )
        await rig.until(lambda: len(changes(rig, "price")) == 2)
        assert changes(rig, "price") == [(1, 2), (2, "3 $")]


async def test_lost_connection_while_types_are_read_is_resumed(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'bridge' and backend_type = 'client backend'"
        )
        # The first change describes the table, of which one column's type is not known yet.
        await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
        await rig.until(lambda: bool(rig.events))
        await rig.until(lambda: rig.source.status().state is SourceState.LIVE)
        assert kinds(rig) == [("created", 1)]


# -- replica identity -------------------------------------------------------------------------


async def test_insert_is_followed_without_a_replica_identity(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("alter table homes replica identity nothing")
        await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            await sandbox.execute("update homes set price = 2")
        await sandbox.execute("alter table homes replica identity default")
        await sandbox.execute("update homes set price = 3")
        await rig.until(lambda: len(rig.events) == 2)
        assert changes(rig, "price") == [(1, 3)]


async def test_index_that_has_the_key_may_be_the_replica_identity(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "alter table homes alter state set not null;"
        "create unique index homes_identity on homes (state, id);"
        "alter table homes replica identity using index homes_identity;"
        "insert into homes values (1, 'a', 'TX', 1)"
    )
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set price = 2")
        await sandbox.execute("update homes set state = 'CA'")
        await sandbox.execute("update homes set id = 2")
        await sandbox.execute("delete from homes")
        await rig.until(lambda: ("deleted", 2) in kinds(rig))
        assert changes(rig, "price") == [(1, 2)]
        assert ("deleted", 1) in kinds(rig)
        assert len(rig.pipeline.rows) == 0


async def test_delete_that_does_not_show_the_key_is_found_by_a_comparison(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "alter table homes alter state set not null;"
        "create unique index homes_identity on homes (state);"
        "insert into homes values (1, 'a', 'TX', 1), (2, 'b', 'CA', 1)"
    )
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        gaps = rig.pipeline.status().counts["gaps"]
        await sandbox.execute("alter table homes replica identity using index homes_identity")
        await sandbox.execute("delete from homes where id = 1")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("deleted", 1)]
        assert rig.pipeline.status().counts["gaps"] == gaps + 1


# -- truncate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["truncate other, homes", "truncate owners cascade"])
async def test_truncate_of_several_tables_deletes_the_rows_of_the_table_only(
    sandbox: Sandbox, homes: Settings, statement: str
) -> None:
    await sandbox.execute(
        "create table other (id int primary key); create table owners (id int primary key);"
        "alter table homes add owner int references owners;"
        "insert into homes values (1, 'a', 'TX', 1), (2, 'b', 'TX', 1);"
        "insert into other values (1), (2), (3)"
    )
    try:
        async with ReplicationRig.open(homes) as rig:
            await rig.live()
            await sandbox.execute("alter publication bridge_homes add table other, owners")
            await sandbox.execute(f"begin; {statement}; insert into homes values (3, 'c'); commit")
            await rig.until(lambda: len(rig.events) == 3)
            assert sorted(kinds(rig)[:2]) == [("deleted", 1), ("deleted", 2)]
            assert kinds(rig)[2] == ("created", 3)
            assert len(rig.commits) == 1
    finally:
        await sandbox.execute("drop table other; drop table owners cascade")


# -- partitions -------------------------------------------------------------------------------


async def test_publication_of_partitions_is_named_with_the_sql(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(PARTITIONS)
    await sandbox.execute("create publication bridge_homes for table homes")
    async with ReplicationRig.open(homes) as rig:
        await rig.until(lambda: rig.source.status().error is not None)
        assert "SET (publish_via_partition_root = true)" in (rig.source.status().error or "")
        await sandbox.execute("alter publication bridge_homes set (publish_via_partition_root)")
        await rig.live()
        await sandbox.execute("update homes set price = 2 where id = 101")
        await rig.until(lambda: bool(rig.events))
        assert kinds(rig) == [("updated", 101)]


async def test_partition_is_followed_alone_by_its_own_name(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(PARTITIONS)
    await sandbox.execute("create publication bridge_homes for table homes")
    homes = homes.model_copy(update={"table": "public.homes_low"})
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set price = 2")
        await sandbox.execute("update homes set id = 102 where id = 1")
        await rig.until(lambda: len(rig.events) == 2)
        assert kinds(rig) == [("updated", 1), ("deleted", 1)]


async def test_truncate_of_the_root_deletes_the_rows_of_all_partitions(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(PARTITIONS)
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("truncate homes")
        await rig.until(lambda: len(rig.events) == 2)
        assert len(rig.pipeline.rows) == 0


async def test_truncate_of_one_partition_is_found_by_a_comparison(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(PARTITIONS)
    homes = homes.model_copy(update={"slot_compare_interval": 2.0})
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        # PostgreSQL does not send it to a publication of the root.
        await sandbox.execute("truncate homes_low")
        await sandbox.execute("update homes set price = 2 where id = 101")
        await rig.until(lambda: len(rig.events) == 2)
        assert kinds(rig) == [("updated", 101), ("deleted", 1)]


# -- row filters ------------------------------------------------------------------------------


async def test_row_that_moves_into_and_out_of_the_filter_is_created_and_deleted(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "alter table homes replica identity full;"
        "create publication bridge_homes for table homes where (state = 'TX');"
        "insert into homes values (1, 'a', 'TX', 1), (2, 'b', 'CA', 1)"
    )
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        await sandbox.execute("update homes set state = 'TX' where id = 2")
        await sandbox.execute("update homes set price = 2 where id = 2")
        await sandbox.execute("update homes set state = 'CA' where id = 1")
        await sandbox.execute("update homes set price = 2 where id = 1")
        await sandbox.execute("update homes set price = 3 where id = 2")
        await rig.until(lambda: len(rig.events) == 4)
        assert kinds(rig) == [("created", 2), ("updated", 2), ("deleted", 1), ("updated", 2)]


async def test_row_outside_of_the_filter_is_found_by_no_read(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute(
        "create publication bridge_homes for table homes where (id < 100 or id % 1000 = 1);"
        "insert into homes values (1, 'a', 'TX', 1), (100, 'b', 'CA', 1), (1001, 'c', 'CA', 1)"
    )
    async with ReplicationRig.open(homes) as rig:
        await rig.live()
        assert set(rig.pipeline.rows) == {1, 1001}
        assert await rig.table.keys(None, 10) == [1, 1001]
        assert await rig.table.keys(1, 10) == [1001]
        assert [row["id"] for row in await rig.table.rows([1, 100])] == [1]
        assert [row["id"] for row in await rig.table.page(1, 10)] == [1001]


# -- origins ----------------------------------------------------------------------------------


async def test_change_with_an_origin_is_published(sandbox: Sandbox, homes: Settings) -> None:
    async with (
        ReplicationRig.open(homes) as rig,
        await psycopg.AsyncConnection.connect(
            sandbox.postgres.url(SUPERUSER), autocommit=True
        ) as replica,
    ):
        await rig.live()
        await replica.execute("select pg_replication_origin_create('elsewhere')")
        await replica.execute("select pg_replication_origin_session_setup('elsewhere')")
        try:
            await replica.execute("insert into homes values (1, 'a', 'TX', 1)")
            await rig.until(lambda: bool(rig.events))
            assert kinds(rig) == [("created", 1)]
        finally:
            await replica.execute("select pg_replication_origin_session_reset()")
            await replica.execute("select pg_replication_origin_drop('elsewhere')")


# -- transactions in progress -----------------------------------------------------------------

MANY = "insert into homes select n, '{}', 'TX' from generate_series({}, {}) n"


async def test_two_transactions_in_progress_are_published_in_the_order_of_their_commits(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as first,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as second,
    ):
        await rig.live()
        for part in range(3):
            await first.execute(MANY.format("first", part * 1000, part * 1000 + 999))
            await second.execute(MANY.format("second", 10_000 + part * 1000, 10_999 + part * 1000))
        await second.commit()
        await first.commit()
        await rig.until(lambda: len(rig.events) == 6000)
        [streams] = await sandbox.execute(
            "select stream_txns from pg_stat_replication_slots where slot_name = 'bridge_homes'"
        )
        assert streams["stream_txns"] == 2
        assert kinds(rig) == [("created", n) for n in (*range(10_000, 13_000), *range(3000))]
        assert len(rig.commits) == 2


async def test_table_that_a_subtransaction_described_first_is_known_after_its_rollback(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as writer,
    ):
        await rig.live()
        await writer.execute("savepoint s")
        await writer.execute(MANY.format("taken back", 1, 3000))
        await writer.execute("rollback to s")
        await writer.execute(MANY.format("kept", 1, 3000))
        await writer.execute("savepoint t")
        await writer.execute("alter table homes alter price type text using 'typed'")
        await writer.execute(MANY.format("taken back", 4000, 7000))
        await writer.execute("rollback to t")
        await writer.execute(MANY.format("also kept", 4000, 4010))
        await writer.commit()
        await rig.until(lambda: len(rig.events) == 3011)
        assert {each["data"]["name"] for each in rig.events} == {"kept", "also kept"}
        assert rig.source.status().state is SourceState.LIVE


async def test_transaction_in_progress_at_the_end_of_a_session_is_received_again(
    sandbox: Sandbox, homes: Settings
) -> None:
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as writer,
    ):
        await rig.live()
        await writer.execute(MANY.format("a", 1, 3000))
        await sandbox.execute("insert into homes values (0, 'other')")
        await rig.until(lambda: bool(rig.events))
        await sandbox.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = 'bridge_homes'"
        )
        await rig.until(lambda: rig.source.status().state is not SourceState.LIVE)
        await writer.execute(MANY.format("b", 3001, 4000))
        await writer.commit()
        await rig.until(lambda: len(rig.events) >= 4001)
        assert kinds(rig) == [("created", n) for n in range(4001)]


async def test_key_of_a_truncate_in_a_transaction_in_progress_is_deleted_in_order(
    sandbox: Sandbox, homes: Settings
) -> None:
    await sandbox.execute("insert into homes values (1, 'a', 'TX', 1)")
    async with (
        ReplicationRig.open(in_progress(homes)) as rig,
        await psycopg.AsyncConnection.connect(sandbox.database_url) as writer,
    ):
        await rig.live()
        await writer.execute(MANY.format("x", 2, 3000))
        await writer.execute("truncate homes")
        await writer.execute(MANY.format("y", 1, 2))
        await writer.commit()
        await rig.until(lambda: len(rig.pipeline.rows) == 2 and len(rig.events) > 2999)
        assert kinds(rig)[-2:] == [("created", 1), ("created", 2)]
        assert len(rig.events) == 2999 + 3000 + 2
