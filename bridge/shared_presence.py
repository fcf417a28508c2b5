"""The users that are present at any of the processes that share a log. No I/O.

Each process sends its users by notes: all of them when another process begins to follow, and from
then on each that joins or leaves. A user whose clients are at two
processes is present until it has left both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.gateway.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView

MAX_USERS_PER_NOTE: Final = 10_000
"""About 400 KB."""


class SharedPresence:
    """`local` counts the clients of this process."""

    def __init__(self, local: Presence) -> None:
        self._local = local
        self._everywhere = Presence()
        self._of_process: dict[str, set[str]] = {}
        self._changed: dict[str, bool] = {}
        self.announced = 0
        """Number of users of this process in the notes so far."""
        for user in local.users:
            self._on_change(user, present=True)
        local.on_change = lambda user, present: self._on_change(user, present=present)

    @property
    def users(self) -> KeysView[str]:
        """A live view of the users that are present at any process."""
        return self._everywhere.users

    @property
    def unsent(self) -> int:
        """Number of changes that `take_changes` has not returned yet."""
        return len(self._changed)

    def _on_change(self, user: str, *, present: bool) -> None:
        (self._everywhere.add if present else self._everywhere.remove)(user)
        self._changed[user] = present

    def take_changes(self) -> bytes:
        """Return the data of a note with what changed here since the last call."""
        changed, self._changed = self._changed, {}
        self.announced = len(self._local.users)
        joined = [user for user, present in changed.items() if present]
        left = [user for user, present in changed.items() if not present]
        return orjson.dumps({"joined": joined, "left": left})

    def take_all(self) -> Iterator[bytes]:
        """Yield the data of notes with all users of this process."""
        self._changed = {}
        users = list(self._local.users)
        self.announced = len(users)
        yield orjson.dumps({"all": users[:MAX_USERS_PER_NOTE]})
        for start in range(MAX_USERS_PER_NOTE, len(users), MAX_USERS_PER_NOTE):
            yield orjson.dumps({"joined": users[start : start + MAX_USERS_PER_NOTE], "left": []})

    def count(self, process: str) -> int:
        """Return the number of users of another process that are known here."""
        return len(self._of_process.get(process, ()))

    def receive(self, process: str, data: bytes) -> None:
        """Apply a note of another process."""
        note: dict[str, Any] = orjson.loads(data)
        users = self._of_process.setdefault(process, set())
        if "all" in note:
            self._remove(users, users.difference(note["all"]))
            self._add(users, note["all"])
            return
        self._add(users, note["joined"])
        self._remove(users, note["left"])

    def forget(self, process: str) -> None:
        """Remove the users of a process that has ended."""
        users = self._of_process.pop(process, set())
        self._remove(users, list(users))

    def _add(self, users: set[str], joined: Iterable[str]) -> None:
        for user in joined:
            if user not in users:
                users.add(user)
                self._everywhere.add(user)

    def _remove(self, users: set[str], left: Iterable[str]) -> None:
        for user in left:
            if user in users:
                users.remove(user)
                self._everywhere.remove(user)
