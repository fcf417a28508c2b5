"""Several machines over one log: who leads, and what followers serve."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.source.base import SourceState
from tests.raw_client import client
from tests.support.machines import machines, prices, receive_prices

BASE = 1_000_000


def steps(number: int) -> list[tuple[int, int]]:
    """Old and new prices of the first changes."""
    return [(BASE + n, BASE + n + 1) for n in range(number)]


async def test_clients_of_all_machines_receive_the_leaders_events() -> None:
    async with machines(3) as here:
        leader = await here.until_led(by=here.all[0])
        assert [machine.leads for machine in here.all] == [True, False, False]
        async with client(here.all[0].url) as one, client(here.all[2].url) as other:
            await here.change(3)
            assert await receive_prices(one, 3) == steps(3)
            assert await receive_prices(other, 3) == steps(3)
            assert [position for *_, position in one.events] == [
                position for *_, position in other.events
            ]
        assert leader.source.inbox is not None
        assert here.all[1].source.inbox is None, "a follower subscribes to nothing"


async def test_follower_is_ready_and_has_snapshots_without_a_source_of_its_own() -> None:
    async with machines(2) as here:
        follower = here.all[1]
        await follower.ready()
        async with client(follower.url) as one:
            ack = await one.request("subscribe", {"regions": ["TX"], "snapshot": True})
            assert [each["property_id"] for each in ack["snapshot"]] == ["p1"]


async def test_follower_takes_over_when_the_lease_lapses_and_emits_what_was_missed() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(second.url) as one:
            await here.change()
            first.log.cut()
            here.history.take_lease()
            here.change_unseen()
            await here.until_led(by=second)
            assert await receive_prices(one, 2) == steps(2)
            assert here.history.term == 2


async def test_fenced_leader_becomes_a_follower_and_its_clients_miss_nothing() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one:
            await here.change()
            first.log.cut()
            here.history.take_lease()
            here.change_unseen()
            await here.until_led(by=second)
            await here.change()
            first.log.heal()
            assert await receive_prices(one, 3) == steps(3)
            async with asyncio.timeout(20):
                while first.leads:
                    await asyncio.sleep(0.01)
            await here.change()
            assert await receive_prices(one, 4) == steps(4)
        assert first.bridge.failure is None


async def test_machine_that_takes_over_emits_what_was_missed_before_its_source_is_live() -> None:
    async with machines(2) as here:
        first, second = here.all
        second.source.connects = False
        async with client(second.url) as one:
            await here.change()
            first.log.cut()
            here.history.take_lease()
            here.change_unseen()
            assert await receive_prices(one, 2) == steps(2)
            assert second.source.inbox is None
            second.source.connects = True


async def test_released_lease_comes_back_to_a_machine_that_is_alone() -> None:
    async with machines(1) as here:
        here.history.take_lease()
        async with asyncio.timeout(20):
            while here.history.term == 1:
                await asyncio.sleep(0.01)
        await here.until_led(by=here.all[0])


async def test_status_of_a_follower_is_that_of_the_leaders_source() -> None:
    async with machines(2) as here:
        first, second = here.all
        await here.change()
        statuses: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while not statuses or statuses[-1]["pipeline"]["counts"].get("changes") != 1:
                statuses.append(await second.status())
                await asyncio.sleep(0.1)
        status = statuses[-1]
        assert (status["role"], status["term"], status["lag"]["entries"]) == ("follower", 1, 0)
        assert (await first.status())["role"] == "leader"
        assert status["source"]["state"] == "live"
        assert {each["role"] for each in status["machines"]} == {"leader", "follower"}
        metrics = (await second.get("/metrics")).text
        assert "bridge_leader 0.0" in metrics
        assert "bridge_machines 2.0" in metrics


async def test_clients_of_a_follower_receive_stale_while_the_leaders_source_is_down() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(second.url) as one:
            first.source.become(SourceState.DOWN)
            async with asyncio.timeout(10):
                while one.bridge_states[-1:] != ["stale"]:
                    one.receive_packet(await one.next_packet())
            first.source.become(SourceState.LIVE)
            async with asyncio.timeout(10):
                while one.bridge_states[-1] != "live":
                    one.receive_packet(await one.next_packet())


async def test_clients_stay_connected_while_the_log_is_away_and_miss_nothing() -> None:
    async with machines(2) as here:
        second = here.all[1]
        async with client(second.url) as one:
            second.log.cut()
            async with asyncio.timeout(10):
                while one.bridge_states[-1:] != ["stale"]:
                    one.receive_packet(await one.next_packet())
            await here.change(2)
            assert prices(one) == []
            second.log.heal()
            assert await receive_prices(one, 2) == steps(2)
            assert second.gateway.hub.counts().clients == 1


async def test_leader_that_can_not_follow_the_table_gives_the_lease_to_another_machine() -> None:
    async with machines(2, stale_after=1) as here:
        first, second = here.all
        async with client(second.url) as one:
            first.source.become(SourceState.DOWN)
            await here.until_led(by=second)
            await here.change()
            assert await receive_prices(one, 1) == steps(1)
        assert first.bridge.failure is None


async def test_leader_that_is_alone_keeps_the_lease_while_its_source_is_down() -> None:
    async with machines(1, stale_after=1) as here:
        [only] = here.all
        only.source.become(SourceState.DOWN)
        await asyncio.sleep(2)
        assert only.leads
        assert here.history.term == 1


async def test_defect_of_the_leaders_source_ends_its_process_and_another_one_leads() -> None:
    async with machines(2) as here:
        first, second = here.all
        first.source.fail(RuntimeError("a defect"))
        async with asyncio.timeout(20):
            while first.bridge.failure is None:
                await asyncio.sleep(0.01)
        assert str(first.bridge.failure) == "a defect"
        here.all.remove(first)
        await first.stop()
        await here.until_led(by=second)
