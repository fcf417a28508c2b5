"""One scenario per fault of Realtime."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.source.base import SourceState
from tests.integration.scenario import ScenarioList
from tests.support import faults
from tests.support.faults import LostChanges

if TYPE_CHECKING:
    from tests.integration.scenario import ScenarioRun

STREAM = ScenarioList()


@STREAM.add("no fault")
async def _(run: ScenarioRun) -> None:
    await run.written(60)


# Changes that are missing, repeated or unreadable.


@STREAM.add("the channel is mute")
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.mute()
    await run.written()


@STREAM.add("every channel is mute for a while, new ones too")
async def _(run: ScenarioRun) -> None:
    await faults.MUTE_ALL.start(run.target)
    await run.until_down()
    await run.until_live()
    await run.fault_time()
    await faults.MUTE_ALL.stop(run.target)


@STREAM.add("five changes are dropped")
async def _(run: ScenarioRun) -> None:
    before = run.sandbox.faults.dropped
    run.sandbox.faults.drop(5)
    await run.until(lambda: run.sandbox.faults.dropped >= before + 5)


@STREAM.add("the last change is dropped, and none follows", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    before = run.sandbox.faults.dropped
    run.sandbox.faults.drop()
    await run.writer.change(run.keys[0])
    await run.until(lambda: run.sandbox.faults.dropped > before)


@STREAM.add("changes are repeated")
async def _(run: ScenarioRun) -> None:
    before = run.sandbox.faults.duplicated
    run.sandbox.faults.duplicate(20)
    await run.until(lambda: run.sandbox.faults.duplicated >= before + 20)


@STREAM.add("a frame is over 1 MiB")
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.oversize()
    await run.until_down()
    await run.until_live()


@STREAM.add("frames are not JSON")
async def _(run: ScenarioRun) -> None:
    before = run.sandbox.faults.garbled
    run.sandbox.faults.garble(5)
    await run.until(lambda: run.sandbox.faults.garbled >= before + 5)


@STREAM.add("the rate limit drops changes")
async def _(run: ScenarioRun) -> None:
    await faults.RATE_LIMIT.start(run.target)
    await run.written()
    await faults.RATE_LIMIT.stop(run.target)


# Subscriptions that are accepted and do not work.


@STREAM.add("`system` ok is late")
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.late_system(run.timing.fault_seconds)
    await run.sandbox.faults.close()
    await run.until_down()
    await run.until_live()


@STREAM.add("joins are accepted and no `system` ok follows for a while")
async def _(run: ScenarioRun) -> None:
    await faults.NO_SYSTEM.start(run.target)
    await run.until(lambda: run.rig.source.status().state is SourceState.JOINED)
    await run.fault_time()
    await run.fault_time()
    await faults.NO_SYSTEM.stop(run.target)


async def _end_subscription(run: ScenarioRun, fault: str) -> None:
    await run.target.fault(fault)
    await run.until_down()
    await run.written()


for fault, name in faults.CHANNEL_FAULTS.items():
    STREAM.add(name)(partial(_end_subscription, fault=fault))


# Connections.


async def _close(run: ScenarioRun, code: int) -> None:
    await run.target.fault("close", code=code)
    await run.until_down()
    await run.written()


for code in faults.CLOSE_CODES:
    STREAM.add(f"the socket closes with {code}")(partial(_close, code=code))


@STREAM.add("connections are refused for a while")
async def _(run: ScenarioRun) -> None:
    await faults.REFUSE.start(run.target)
    await run.fault_time()
    await faults.REFUSE.stop(run.target)


@STREAM.add("the connection is half open")
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.half_open()
    await run.written()


@STREAM.add("the server restarts")
async def _(run: ScenarioRun) -> None:
    await run.sandbox.faults.restart(run.timing.fault_seconds)
    await run.fault_time()


# The replication slot.


@STREAM.add("the stream stalls for a while, then continues")
async def _(run: ScenarioRun) -> None:
    await faults.STALL.start(run.target)
    await run.written()
    await run.fault_time()
    await faults.STALL.stop(run.target)


@STREAM.add("the stream stalls until it is taken for mute, then delivers the past")
async def _(run: ScenarioRun) -> None:
    await faults.STALL.start(run.target)
    await run.until_down()
    await run.until_live()
    await faults.STALL.stop(run.target)


@STREAM.add("pending changes are lost without a notice")
async def _(run: ScenarioRun) -> None:
    lost = LostChanges("lose_pending")
    await lost.start(run.target)
    await run.written()
    await lost.stop(run.target)


@STREAM.add("the subscription is rebuilt, and pending changes are lost")
async def _(run: ScenarioRun) -> None:
    lost = LostChanges("rebuild")
    await lost.start(run.target)
    await run.written()
    await lost.stop(run.target)


@STREAM.add("the poller is killed, and its slot is lost")
async def _(run: ScenarioRun) -> None:
    poller = run.sandbox.realtime.poller
    slots = poller.slots_lost
    lost = LostChanges("kill_poller")
    await lost.start(run.target)
    await run.written()
    await lost.stop(run.target)
    await run.until(lambda: poller.slots_lost > slots and poller.backend_pid is not None)


@STREAM.add("polls fail five times in a row")
async def _(run: ScenarioRun) -> None:
    poller = run.sandbox.realtime.poller
    run.sandbox.faults.fail_polls(5)
    await run.until(lambda: not poller.failing_polls and poller.backend_pid is not None)
    await run.written()


@STREAM.add("the poller gives up after six failures, and its channels stay joined")
async def _(run: ScenarioRun) -> None:
    poller = run.sandbox.realtime.poller
    gave_up = poller.gave_up
    run.sandbox.faults.fail_polls()
    await run.until(lambda: poller.gave_up > gave_up)
    await run.written()


@STREAM.add("the poller has given up, and the last change is not followed", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await run.sandbox.faults.stop_cdc()
    await run.writer.change(run.keys[0])


@STREAM.add("subscriptions time out in the database for a while")
async def _(run: ScenarioRun) -> None:
    await faults.DATABASE_TIMEOUTS.start(run.target)
    await run.until_down()
    await run.written()
    await run.fault_time()
    await faults.DATABASE_TIMEOUTS.stop(run.target)


@STREAM.add("one fault after the other")
async def _(run: ScenarioRun) -> None:
    for fault, options in (
        ("drop", {"count": 3}),
        ("duplicate", {"count": 3}),
        ("close", {"code": 1006}),
        ("mute", {}),
        ("phx_error", {}),
        ("kill_poller", {}),
        ("system_error", {}),
        ("lose_pending", {}),
        ("stale_phx_close", {}),
        ("garble", {"count": 2}),
        ("fail_polls", {"count": 2}),
        ("stop_cdc", {}),
    ):
        await run.target.fault(fault, **options)
        await run.written(5)
