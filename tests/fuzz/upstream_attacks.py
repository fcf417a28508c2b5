"""A Realtime that sends anything: what comes of it is a change, or a gap that is read from the
table, and never an exception.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bridge.changes import Change, Gap
from bridge.options import realtime_options
from bridge.source.change_queue import ChangeQueue
from bridge.source.realtime.source import _Session
from bridge.source.realtime.watchdog import StreamWatchdog
from tests.fakes import FakeTable, row, settings
from tests.fuzz.attack import Attack
from tests.fuzz.material import text, value
from tests.fuzz.stand import Fault

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.stand import Stand


def payload(dice: Random) -> dict[str, Any]:
    """As Realtime sends them."""
    it = row(f"p{dice.randrange(100)}", price=dice.randrange(10**6))
    kind = dice.choice(("INSERT", "UPDATE", "DELETE"))
    return {
        "data": {
            "schema": "public",
            "table": "properties",
            "commit_timestamp": "2026-01-05T09:00:00.123Z",
            "type": kind,
            "columns": [{"name": name, "type": "text"} for name in it],
            "record": {} if kind == "DELETE" else it,
            "old_record": {"id": it["id"]} if kind != "INSERT" else None,
            "errors": None,
        },
        "ids": [1],
    }


def spoiled(dice: Random, it: Any, chance: float = 0.15) -> Any:
    """The same with members that are gone, renamed, or something else."""
    if dice.random() < chance / 3:
        return value(dice)
    if isinstance(it, dict):
        out = {}
        for name, member in it.items():
            if dice.random() < chance / 4:
                continue
            key = text(dice) if dice.random() < chance / 6 else name
            out[key] = spoiled(dice, member, chance)
        return out
    if isinstance(it, list):
        return [spoiled(dice, member, chance) for member in it]
    return it


async def _changes(stand: Stand, dice: Random) -> str:
    """From what the library hands over to what waits for the pipeline, and through it."""
    stand.exact = False  # what clients hear of this nobody can say beforehand
    inbox = ChangeQueue(10)
    session = _Session(OPTIONS, inbox, StreamWatchdog(OPTIONS.watchdog, stand.table))
    it = spoiled(dice, payload(dice))
    if not (isinstance(it, dict) and isinstance(it.get("data"), dict)):
        it = {"data": {"it": it}}  # the library's models let nothing else through
    session._on_change(it)
    if not len(inbox):
        return "not ours"
    [item] = inbox.get_many_nowait(10)
    if isinstance(item, Gap):
        return "gap"
    if not isinstance(item, Change) or isinstance(item.key, bool):
        raise Fault(f"a change is {item!r}")
    stand.source.put(item)
    return "change, doubtful" if item.truncated else "change"


async def _system(_stand: Stand, dice: Random) -> str:
    """Messages of the channel's state, of which one says that changes flow."""
    inbox = ChangeQueue(10)
    session = _Session(OPTIONS, inbox, StreamWatchdog(OPTIONS.watchdog, FakeTable()))
    session._on_system(value(dice))
    right = SimpleNamespace(extension=text(dice), status=text(dice), message=value(dice))
    session._on_system(right)
    if session._live_at is not None and right.extension != "postgres_changes":
        raise Fault("it was taken for the word that changes flow")
    return "passed over"


SETTINGS = settings()
OPTIONS = realtime_options(SETTINGS)

ATTACKS = (
    Attack("changes from Realtime", _changes, r"not ours|gap|change|change, doubtful"),
    Attack("system messages of Realtime", _system, r"passed over"),
)
