"""Names of the keys of one bridge. They share a hash tag, so that they are in one slot.

| key | type | holds |
|---|---|---|
| `lease` | string with PX | token of the leader: process and term |
| `meta` | hash | `schema`, `shape`, `epoch`, `head`, `appends`, `term`, `top`, `rows` and others |
| `stream` | stream | entries `<seq>-<sub>`, of appends, notes and beats; `seq`: the head |
| `rows` | hash | key (JSON) to row, as `rows.RowStore` encodes it |
| `terms` | list | ended terms, each with the number of its last append |
| `machines` | hash | process to the time of its last beat (Unix ms, Redis's clock) |
| `epochs` | list | earlier epochs of the history, each with the number of its last event |
| `sessions` | hash | name to owner and session |
| `revocations` | sorted set | `kind:name` by time (Unix seconds); outlives a history |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SCHEMA: Final = 1
"""Version of the keys. A bridge does not start on those of a later one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the bridge `name`."""

    name: str

    def __call__(self, key: str) -> str:
        return f"{{bridge:{self.name}}}:{key}"

    @property
    def of_scripts(self) -> tuple[str, ...]:
        """The keys of every script, in order."""
        names = ("lease", "meta", "stream", "rows", "terms", "machines", "sessions", "epochs")
        return tuple(map(self, names))
