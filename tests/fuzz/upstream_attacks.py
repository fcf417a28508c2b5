"""Attacks of the source: whatever Realtime sends becomes a change or a gap, never an exception."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bridge.changes import Change, Gap
from bridge.options import realtime_options
from bridge.source.change_queue import ChangeQueue
from bridge.source.column_types import ColumnTypes
from bridge.source.realtime.source import _Session
from bridge.source.realtime.watchdog import StreamWatchdog
from tests.fakes import FakeTable, row, settings
from tests.fuzz.attack import Attack
from tests.fuzz.inputs import text, value
from tests.fuzz.target import Fault

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.target import Target


def payload(dice: Random) -> dict[str, Any]:
    """Return a valid change payload of Realtime."""
    record = row(f"p{dice.randrange(100)}", price=dice.randrange(10**6))
    kind = dice.choice(("INSERT", "UPDATE", "DELETE"))
    return {
        "data": {
            "schema": "public",
            "table": "properties",
            "commit_timestamp": "2026-01-05T09:00:00.123Z",
            "type": kind,
            "columns": [{"name": name, "type": "text"} for name in record],
            "record": {} if kind == "DELETE" else record,
            "old_record": {"id": record["id"]} if kind != "INSERT" else None,
            "errors": None,
        },
        "ids": [1],
    }


def mutate(dice: Random, item: Any, chance: float = 0.15) -> Any:
    """Return `item` with members removed, renamed or replaced."""
    if dice.random() < chance / 3:
        return value(dice)
    if isinstance(item, dict):
        out = {}
        for name, member in item.items():
            if dice.random() < chance / 4:
                continue
            key = text(dice) if dice.random() < chance / 6 else name
            out[key] = mutate(dice, member, chance)
        return out
    if isinstance(item, list):
        return [mutate(dice, member, chance) for member in item]
    return item


async def _changes(target: Target, dice: Random) -> str:
    """Changes from the library's callback into the queue, and through the pipeline."""
    target.exact = False  # the events of these changes are not predictable
    queue = ChangeQueue(10)
    session = _Session(
        OPTIONS, queue, StreamWatchdog(OPTIONS.watchdog, target.table), ColumnTypes()
    )
    sent = mutate(dice, payload(dice))
    if not (isinstance(sent, dict) and isinstance(sent.get("data"), dict)):
        sent = {"data": {"sent": sent}}  # the library's models reject everything else
    session._on_change(sent)
    if not len(queue):
        return "not of the table"
    [item] = queue.get_many_nowait(10)
    if isinstance(item, Gap):
        return "gap"
    if not isinstance(item, Change) or isinstance(item.key, bool):
        raise Fault(f"a change is {item!r}")
    target.source.put(item)
    return "change, truncated" if item.truncated else "change"


async def _system(_stand: Target, dice: Random) -> str:
    """System messages of the channel; only one of postgres_changes means that changes flow."""
    queue = ChangeQueue(10)
    session = _Session(OPTIONS, queue, StreamWatchdog(OPTIONS.watchdog, FakeTable()), ColumnTypes())
    session._on_system(value(dice))
    message = SimpleNamespace(extension=text(dice), status=text(dice), message=value(dice))
    session._on_system(message)
    if session._live_at is not None and message.extension != "postgres_changes":
        raise Fault("a system message of another extension made the session live")
    return "ignored"


SETTINGS = settings()
OPTIONS = realtime_options(SETTINGS)

ATTACKS = (
    Attack("changes from Realtime", _changes, r"not of the table|gap|change|change, truncated"),
    Attack("system messages of Realtime", _system, r"ignored"),
)
