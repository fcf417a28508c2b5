"""A log that lost its history: processes go on with another one, and no client mistakes it."""

from __future__ import annotations

import asyncio

import pytest

from bridge.log import commit_feed
from tests.raw_client import client
from tests.support.machines import machines, move, receive_prices

BASE = 1_000_000


async def test_clients_of_a_lost_history_are_fresh_and_the_rows_are_read_silently() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one, client(second.url) as other:
            await here.change(2)
            for each in (one, other):
                await receive_prices(each, 2)
            here.history.lose()
            here.change_unseen()
            await one.until_closed()
            await other.until_closed()
            leader = await here.until_led()
            assert here.history.head.seq == 0, "the rows are read, nothing is emitted"
            for machine in here.all:
                await machine.snapshots_ready()
                assert machine.bridge.failure is None
            assert here.history.rows
            for each, machine in ((one, first), (other, second)):
                before = each.pid
                await each.connect()
                assert not each.recovered
                assert each.pid != before
                assert len(machine.gateway.sessions) == 1
                ack = await each.request("subscribe", {"snapshot": True})
                assert [row["price"] for row in ack["snapshot"]] == [BASE + 3]
            await here.change()
            for each in (one, other):
                assert (await receive_prices(each, 3))[-1] == (BASE + 3, BASE + 4)
            assert leader.leads


async def test_position_of_a_lost_history_is_not_resumed_by_a_number_of_the_new_one() -> None:
    """A follower at 2 must not skip the new 1 and 2."""
    async with machines(2) as here, client(here.all[1].url) as one:
        await here.change(2)
        await receive_prices(one, 2)
        await one.close()
        here.history.lose()
        await here.until_led()
        await here.all[1].snapshots_ready()
        await here.change(3)
        await one.connect()
        assert not one.recovered


async def test_process_too_far_behind_loads_again_and_its_clients_recover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_feed, "MAX_KEPT_COMMITS", 3)
    async with machines(2) as here:
        first, second = here.all
        async with client(second.url) as one:
            await here.change()
            await receive_prices(one, 1)
            second.log.cut()
            await here.change(10)
            second.log.heal()
            await one.until_closed()
            await second.snapshots_ready()
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 11) == [(BASE + n, BASE + n + 1) for n in range(11)]
            move(one, first)
        assert second.bridge.failure is None


async def test_leader_too_far_behind_stops_leading_before_its_rows_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_feed, "MAX_KEPT_COMMITS", 3)
    async with machines(1) as here:
        [only] = here.all
        await here.change()
        only.log.cut()
        for _ in range(10):  # as a burst that the event loop could not keep up with
            here.history.deliver((), (), None, ())
        only.log.heal()
        async with asyncio.timeout(10):
            while here.history.term == 1:
                await asyncio.sleep(0.01)
        await here.until_led(by=only)
        async with client(only.url) as one:
            await here.change()
            assert await receive_prices(one, 1) == [(BASE + 1, BASE + 2)]
        assert here.history.head.seq == 2
