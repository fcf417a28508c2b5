"""Revoked users and sessions: their tokens are rejected before they expire.

Supabase cannot revoke an access token: after the end of a session it only issues no further ones. A
revocation is stored until the last of the affected tokens has expired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.auth.claims import Claims
    from bridge.clock import Clock
    from bridge.log.base import RevocationStore

Revocation: TypeAlias = "tuple[str, str, float]"
"""`user` or `session`, its id, and the time of the revocation in Unix seconds."""


class RevocationList:
    """Revocations, in memory and in `store`. Without a store they are lost at the end of the
    process.
    """

    def __init__(self, store: RevocationStore | None, clock: Clock, *, keep: float) -> None:
        """After `keep` seconds, no token from before a revocation is valid any more."""
        self._store = store
        self._clock = clock
        self._keep = keep
        self._users: dict[str, float] = {}
        self._sessions: dict[str, float] = {}  # both: time of the revocation, Unix seconds

    def __len__(self) -> int:
        return len(self._users) + len(self._sessions)

    async def load(self) -> Sequence[Revocation]:
        """Load the stored revocations, and return those that were not known. Raises
        `errors.LogUnusableError`.
        """
        stored = [] if self._store is None else await self._store.load()
        added = [revocation for revocation in stored if self.apply(*revocation)]
        self._prune()
        return added

    def apply(self, kind: str, name: str, at: float) -> bool:
        """Apply a revocation of this or another process; False if it is known."""
        revoked = self._of_kind(kind)
        if at <= revoked.get(name, float("-inf")):
            return False
        revoked[name] = at
        return True

    def add(self, *, session: str | None = None, user: str | None = None) -> Sequence[Revocation]:
        """Revoke a session, or all tokens that a user was issued until now. Return the revocations,
        to be passed to `store`.
        """
        now = self._clock.wall()
        self._prune()
        given = (("session", session), ("user", user))
        added = [(kind, name, now) for kind, name in given if name is not None]
        for kind, name, at in added:
            self._of_kind(kind)[name] = at
        return added

    async def store(self, added: Sequence[Revocation]) -> None:
        """Store revocations durably. Raises `errors.LogUnusableError`."""
        if self._store is not None:
            for kind, name, at in added:
                await self._store.put(kind, name, at, oldest=at - self._keep)

    def check(self, claims: Claims) -> None:
        """Raises `RequestRejected` with `signed_out` if the token is revoked."""
        # `iat` has a resolution of one second: a token of the same second may be older.
        by_user = claims.issued_at <= self._users.get(claims.user, float("-inf"))
        if by_user or claims.session in self._sessions:
            raise RequestRejected(
                Code.SIGNED_OUT, "the session of this token was revoked: sign in again"
            )

    def _of_kind(self, kind: str) -> dict[str, float]:
        return self._users if kind == "user" else self._sessions

    def _prune(self) -> None:
        """Delete revocations of which no token can be valid any more."""
        oldest = self._clock.wall() - self._keep
        for revoked in (self._users, self._sessions):
            for name in [name for name, at in revoked.items() if at < oldest]:
                del revoked[name]
