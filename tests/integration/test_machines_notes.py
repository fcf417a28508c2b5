"""What machines send each other: sign-outs, users to notify, and who is there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.fakes import row
from tests.integration.test_notifications import ANN, BOB, a_watch, token
from tests.raw_client import client
from tests.support.machines import Machines, machines, move, receive_prices
from tests.tokens import SECRET

if TYPE_CHECKING:
    from tests.raw_client import Client
    from tests.support.machines import Machine

SETTINGS: dict[str, Any] = {"supabase_jwt_secret": SECRET, "auth": "optional"}
NOTIFYING: dict[str, Any] = {**SETTINGS, "watchers": "watches"}


def notified(one: Client) -> list[str]:
    return [
        envelope["data"]["title"]
        for name, envelope, *_ in one.events
        if name == "property-notification"
    ]


def present(machine: Machine) -> set[str]:
    """Return the users that a machine knows to be anywhere."""
    assert machine.bridge._running is not None
    coordination = machine.bridge._running.group.coordination
    assert coordination is not None
    assert coordination._presence is not None
    return set(coordination._presence.users)


async def until_present(machine: Machine, *users: str) -> None:
    async with asyncio.timeout(10):
        while present(machine) != set(users):
            await asyncio.sleep(0.02)


async def sell(here: Machines, *, seen_by: Client) -> None:
    """Sell p1, and wait until a client has received it."""
    await change_status(here, "available", seen_by)
    await change_status(here, "sold", seen_by)


async def change_status(here: Machines, status: str, seen_by: Client) -> None:
    here.price += 1
    change = here.table.write(row("p1", status=status, price=here.price))
    (await here.until_led()).source.put(change)
    async with asyncio.timeout(10):
        while not any(f'"new":{here.price}' in packet for packet in texts(seen_by)):
            seen_by.receive_packet(await seen_by.next_packet())


def texts(one: Client) -> list[str]:
    return [json.dumps(event, separators=(",", ":")) for event in one.events]


async def test_sign_out_at_one_machine_closes_the_connections_at_all() -> None:
    async with machines(3, **SETTINGS) as here:
        first, second, third = here.all
        async with client(second.url, auth=token(ANN)) as one, client(second.url) as other:
            assert await third.gateway.sign_out(sub=ANN) == 1
            async with asyncio.timeout(10):
                await one.until_closed()
            assert one.events[-1][1]["data"]["state"] == "signed_out"
            for machine in (first, second, third):
                move(one, machine)
                packet = await one.send_connect()
                assert packet is not None
                assert "signed_out" in packet
            await here.change()
            while not other.events:
                other.receive_packet(await other.next_packet())


async def test_sign_out_that_a_machine_missed_is_applied_when_the_log_is_back() -> None:
    async with machines(2, **SETTINGS) as here:
        first, second = here.all
        async with client(second.url, auth=token(ANN)) as one:
            second.log.cut()
            await first.gateway.sign_out(sub=ANN)
            second.log._held = None  # what was sent meanwhile is lost
            await asyncio.sleep(0.1)
            second.log.error = None
            async with asyncio.timeout(10):
                await one.until_closed()


async def test_user_at_another_machine_is_notified_once() -> None:
    async with machines(2, a_watch("w1", ANN, property="p1"), **NOTIFYING) as here:
        first, second = here.all
        async with (
            client(second.url, auth=token(ANN)) as ann,
            client(first.url, auth=token(ANN)) as tab,
            client(second.url, auth=token(BOB)) as bob,
        ):
            await until_present(first, ANN, BOB)
            await sell(here, seen_by=bob)
            await here.change()
            for one in (ann, tab, bob):
                await receive_prices(one, 3)
            sold = "Listing p1 is now sold"
            assert (notified(ann), notified(tab), notified(bob)) == ([sold], [sold], [])


async def test_machine_that_takes_over_notifies_of_what_was_missed() -> None:
    async with machines(2, a_watch("w1", ANN, property="p1"), **NOTIFYING) as here:
        first, second = here.all
        async with client(second.url, auth=token(ANN)) as ann:
            await until_present(first, ANN)
            await change_status(here, "available", ann)
            first.log.cut()
            here.history.take_lease()
            here.table.write(row("p1", status="sold", updated_at="2026-01-05T09:30:00Z"))
            async with asyncio.timeout(10):
                while not notified(ann):
                    ann.receive_packet(await ann.next_packet())
            first.log.heal()
            await here.change()
            await receive_prices(ann, 3)
            assert notified(ann).count("Listing p1 is now sold") == 1


async def test_machine_that_starts_learns_the_users_of_the_others() -> None:
    async with machines(1, **NOTIFYING) as here, client(here.all[0].url, auth=token(ANN)):
        third = await here.add()
        await until_present(third, ANN)


async def test_user_is_present_until_it_has_left_all_machines() -> None:
    async with machines(3, recovery_seconds=0.2, **NOTIFYING) as here:
        first, second, third = here.all
        async with client(second.url, auth=token(ANN)) as one:
            async with client(third.url, auth=token(ANN)):
                await until_present(first, ANN)
            await asyncio.sleep(0.5)
            assert present(first) == {ANN}
            await one.close()
            await until_present(first)


async def test_users_that_were_missed_are_asked_for() -> None:
    async with machines(2, **NOTIFYING) as here:
        first, second = here.all
        first.log.cut()
        async with client(second.url, auth=token(ANN)):
            await until_present(second, ANN)
            await asyncio.sleep(0.2)
            first.log._held = None  # the note is lost
            first.log.error = None
            await until_present(first, ANN)


async def test_machine_that_ends_is_not_there_any_more() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with asyncio.timeout(10):
            while len((await first.status())["machines"]) != 2:
                await asyncio.sleep(0.02)
        here.all.remove(second)
        await second.stop()
        async with asyncio.timeout(10):
            while len((await first.status())["machines"]) != 1:
                await asyncio.sleep(0.02)
