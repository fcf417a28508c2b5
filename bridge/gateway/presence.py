"""Users with a client that is connected or may reconnect. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import KeysView


class Presence:
    """Counts the clients of each user. Every `add` must be paired with one `remove`."""

    def __init__(self) -> None:
        self._clients: dict[str, int] = {}

    @property
    def users(self) -> KeysView[str]:
        """A live view of the users."""
        return self._clients.keys()

    def add(self, user: str | None) -> None:
        """Count a client of `user`; None, a client without a user, is ignored."""
        if user is not None:
            self._clients[user] = self._clients.get(user, 0) + 1

    def remove(self, user: str | None) -> None:
        if user is None:
            return
        self._clients[user] -= 1
        if not self._clients[user]:
            del self._clients[user]
