"""Users who can be told anything: who has a client here, or one that may come back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import KeysView


class Presence:
    """Whoever says that a client of a user came has to say that it went."""

    def __init__(self) -> None:
        self._clients: dict[str, int] = {}

    @property
    def users(self) -> KeysView[str]:
        """The users, now and whenever it is looked at again."""
        return self._clients.keys()

    def add(self, user: str | None) -> None:
        """None: a client without a user."""
        if user is not None:
            self._clients[user] = self._clients.get(user, 0) + 1

    def remove(self, user: str | None) -> None:
        if user is None:
            return
        self._clients[user] -= 1
        if not self._clients[user]:
            del self._clients[user]
