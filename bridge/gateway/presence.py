"""Users with a client that is connected or may reconnect. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, KeysView


class Presence:
    """Counts the clients of each user. Every `add` must be paired with one `remove`."""

    def __init__(self) -> None:
        self._clients: dict[str, int] = {}
        self.on_change: Callable[[str, bool], None] = lambda _user, _present: None
        """Called with a user and whether it is present now."""

    @property
    def users(self) -> KeysView[str]:
        """A live view of the users."""
        return self._clients.keys()

    def add(self, user: str | None) -> None:
        """Count a client of `user`; None, a client without a user, is ignored."""
        if user is None:
            return
        count = self._clients.get(user, 0)
        self._clients[user] = count + 1
        if not count:
            self.on_change(user, True)

    def remove(self, user: str | None) -> None:
        if user is None:
            return
        self._clients[user] -= 1
        if not self._clients[user]:
            del self._clients[user]
            self.on_change(user, False)
