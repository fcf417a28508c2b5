"""Sign-outs: tokens that are refused though they have not expired yet.

Supabase can't take a token back that it gave; ending a session there only means that it gets no
fresh one. What is listed here holds until the last of its tokens has expired.
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
"""`user` or `session`, which one, and when, in Unix seconds."""


class RevocationList:
    """Kept in `store`, if there is one; else they are forgotten at the end of the process."""

    def __init__(self, store: RevocationStore | None, clock: Clock, *, keep: float) -> None:
        """`keep` seconds after a sign-out no token from before it is alive."""
        self._store = store
        self._clock = clock
        self._keep = keep
        self._users: dict[str, float] = {}
        self._sessions: dict[str, float] = {}  # both: when, in Unix seconds

    def __len__(self) -> int:
        return len(self._users) + len(self._sessions)

    async def load(self) -> None:
        """Take up those that are stored. Raises `errors.LogUnusableError`."""
        if self._store is None:
            return
        for kind, name, at in await self._store.load():
            known = self._of_kind(kind)
            known[name] = max(at, known.get(name, at))
        self._prune()

    def add(self, *, session: str | None = None, user: str | None = None) -> Sequence[Revocation]:
        """Refuse the tokens of a session, or those that a user was given until now. Gives what is
        to be stored.
        """
        now = self._clock.wall()
        self._prune()
        each = (("session", session), ("user", user))
        added = [(kind, name, now) for kind, name in each if name is not None]
        for kind, name, at in added:
            self._of_kind(kind)[name] = at
        return added

    async def store(self, added: Sequence[Revocation]) -> None:
        """When this returns, it is stored. Raises `errors.LogUnusableError`."""
        if self._store is not None:
            for kind, name, at in added:
                await self._store.put(kind, name, at, oldest=at - self._keep)

    def check(self, claims: Claims) -> None:
        """Raises `RequestRejected` with `signed_out` if the token is one of those."""
        # A token tells its second only: one of the same second may be from before.
        by_user = claims.issued_at <= self._users.get(claims.user, float("-inf"))
        if by_user or claims.session in self._sessions:
            raise RequestRejected(
                Code.SIGNED_OUT, "the session of this token was ended: sign in again"
            )

    def _of_kind(self, kind: str) -> dict[str, float]:
        return self._users if kind == "user" else self._sessions

    def _prune(self) -> None:
        """Those of which no token can be alive."""
        oldest = self._clock.wall() - self._keep
        for known in (self._users, self._sessions):
            for name in [name for name, at in known.items() if at < oldest]:
                del known[name]
