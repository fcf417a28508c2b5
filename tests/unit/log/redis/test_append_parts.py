"""A very large append is split where nothing belongs together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.log.redis import append_parts
from bridge.log.redis.append_parts import parts_of
from bridge.sandbox.redis import RedisServer
from tests.support.redis import event, numbers, opened, unused_name


def test_commit_of_256_changes_is_one_part() -> None:
    events = [event(n % 256, "x" * 5_000) for n in range(768)]
    rows = [(n, b"y" * 15_000) for n in range(256)]
    assert parts_of(events, rows) == [(events, rows)]


@given(
    keys=st.lists(st.integers(0, 12), max_size=40),
    others=st.sets(st.integers(100, 130)),
    limit=st.integers(1, 6),
)
def test_parts_keep_the_order_and_each_key_is_in_one_part(
    keys: list[int], others: set[int], limit: int
) -> None:
    events = [event(key, str(number)) for number, key in enumerate(keys)]
    rows = [(key, None if key % 3 else b"[]") for key in {*keys, *others}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_parts, "MAX_EVENTS", limit)
        patch.setattr(append_parts, "MAX_ROWS", limit)
        parts = parts_of(events, rows)
    assert [e for part, _ in parts for e in part] == events
    assert sorted(row for _, part in parts for row in part) == sorted(rows)
    homes: dict[object, int] = {}
    for number, (part, updates) in enumerate(parts):
        for key in {*(e.key for e in part), *(key for key, _ in updates)}:
            assert homes.setdefault(key, number) == number
        assert len(updates) <= max(limit, len({e.key for e in part}))


async def test_large_append_is_received_as_several_commits_and_returned_as_one(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_parts, "MAX_EVENTS", 10)
    async with opened(redis_server.url, unused_name()) as made:
        await made.lease.acquired()
        commits = made.log.follow(made.log.head)
        rows = [(n, b"[1]") for n in range(25)]
        commit = await made.log.append([event(n) for n in range(25)], rows)
        received = [await anext(commits) for _ in range(3)]
        assert [len(one.entries) for one in received] == [10, 10, 5]
        assert [len(one.rows) for one in received] == [10, 10, 5]
        assert numbers(commit.entries) == list(range(25))
        assert commit.rows == rows
        assert commit.number == received[-1].number
        assert made.log.head.seq == 25


async def test_thousands_of_rows_are_stored_and_deleted_in_one_append(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url, unused_name()) as made:
        await made.lease.acquired()
        await made.log.append([], [(n, b"[1]") for n in range(5_000)])
        await made.log.append([], [(n, None) for n in range(4_990)])
        left = {key for portion in [rows async for rows in made.log.rows()] for key, _ in portion}
        assert left == set(range(4_990, 5_000))
        await made.log.append([event(1)], [])  # the number of rows agrees with the stored one
