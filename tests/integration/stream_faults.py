"""Everything that Realtime is known to do wrong, one scenario each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.source.base import SourceState
from tests.integration.repertoire import Repertoire

if TYPE_CHECKING:
    from tests.integration.stage import Stage

STREAM = Repertoire()


@STREAM.scenario("nothing is wrong")
async def _(stage: Stage) -> None:
    await stage.written(60)


# Changes that do not come, or come wrong.


@STREAM.scenario("the channel is mute")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute()
    await stage.written()


@STREAM.scenario("every channel is mute for a while, new ones too")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute(new=True)
    await stage.until_down()
    await stage.until_live()
    await stage.pass_time()
    stage.sandbox.faults.unmute()


@STREAM.scenario("five changes are dropped")
async def _(stage: Stage) -> None:
    before = stage.sandbox.faults.dropped
    stage.sandbox.faults.drop(5)
    await stage.until(lambda: stage.sandbox.faults.dropped >= before + 5)


@STREAM.scenario("the last change is dropped, then silence", idle=True)
async def _(stage: Stage) -> None:
    before = stage.sandbox.faults.dropped
    stage.sandbox.faults.drop()
    await stage.writer.change(stage.keys[0])
    await stage.until(lambda: stage.sandbox.faults.dropped > before)


@STREAM.scenario("changes come twice")
async def _(stage: Stage) -> None:
    before = stage.sandbox.faults.duplicated
    stage.sandbox.faults.duplicate(20)
    await stage.until(lambda: stage.sandbox.faults.duplicated >= before + 20)


@STREAM.scenario("a frame is over 1 MiB")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.oversize()
    await stage.until_down()
    await stage.until_live()


@STREAM.scenario("frames are no JSON")
async def _(stage: Stage) -> None:
    before = stage.sandbox.faults.garbled
    stage.sandbox.faults.garble(5)
    await stage.until(lambda: stage.sandbox.faults.garbled >= before + 5)


@STREAM.scenario("the rate limit swallows changes")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.rate_limit(0)
    await stage.written()
    stage.sandbox.faults.rate_limit(None)


# Subscriptions that are not what they seem.


@STREAM.scenario("`system` ok comes late")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.late_system(stage.tempo.span)
    await stage.sandbox.faults.close()
    await stage.until_down()
    await stage.until_live()


@STREAM.scenario("joins are accepted and no `system` ok follows for a while")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.no_system()
    await stage.sandbox.faults.close()
    await stage.until(lambda: stage.line.source.status().state is SourceState.JOINED)
    await stage.pass_time()
    await stage.pass_time()
    stage.sandbox.faults.no_system(lifted=True)


async def _told(stage: Stage, fault: str) -> None:
    await stage.sandbox.faults.apply(fault)
    await stage.until_down()
    await stage.written()


for fault, name in (
    ("system_error", "`system` says error, the channel stays joined"),
    ("system_error_close", "`system` says error, and the channel is closed"),
    ("stale_phx_close", "a phx_close of an older join comes"),
    ("phx_close", "the server closes the channel"),
    ("phx_error", "the channel crashes"),
    ("expire_tokens", "the token expires"),
):
    STREAM.scenario(name)(partial(_told, fault=fault))


# Connections.


async def _closed(stage: Stage, code: int) -> None:
    await stage.sandbox.faults.close(code)
    await stage.until_down()
    await stage.written()


for code in (1000, 1001, 1006, 1011, 1012):
    STREAM.scenario(f"the socket closes with {code}")(partial(_closed, code=code))


@STREAM.scenario("connections are refused for a while")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.refuse(stage.tempo.span)
    await stage.sandbox.faults.close(1006)
    await stage.pass_time()


@STREAM.scenario("the connection is half open")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.half_open()
    await stage.written()


@STREAM.scenario("the server restarts")
async def _(stage: Stage) -> None:
    await stage.sandbox.faults.restart(stage.tempo.span)
    await stage.pass_time()


# The slot.


@STREAM.scenario("the stream stands still for a while, then goes on")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.stall()
    await stage.written()
    await stage.pass_time()
    stage.sandbox.faults.resume()


@STREAM.scenario("the stream stands still until it is taken for mute, then tells the past")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.stall()
    await stage.until_down()
    await stage.until_live()
    stage.sandbox.faults.resume()


@STREAM.scenario("pending changes are lost without a word")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.stall()
    await stage.written()
    await stage.sandbox.faults.lose_pending()
    stage.sandbox.faults.resume()


@STREAM.scenario("the subscription is rebuilt, and pending changes are lost")
async def _(stage: Stage) -> None:
    stage.sandbox.faults.stall()
    await stage.written()
    await stage.sandbox.faults.rebuild()


@STREAM.scenario("the poller is killed, and its slot with it")
async def _(stage: Stage) -> None:
    poller = stage.sandbox.realtime.poller
    lost = poller.slots_lost
    stage.sandbox.faults.stall()
    await stage.written()
    await stage.sandbox.faults.kill_poller()
    stage.sandbox.faults.resume()
    await stage.until(lambda: poller.slots_lost > lost and poller.backend_pid is not None)


@STREAM.scenario("one trouble after the other")
async def _(stage: Stage) -> None:
    faults = stage.sandbox.faults
    for trouble, options in (
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
    ):
        await faults.apply(trouble, **options)
        await stage.written(5)
