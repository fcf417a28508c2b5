"""The tokens that clients came with: who bears one, until when, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge.clock import timestamp
from bridge.contract.events import AuthStatus, AuthStatusData
from bridge.contract.parse import parse_token
from bridge.errors import Code, RequestRejected
from bridge.gateway.timers import DeadlineTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.auth.authenticator import Authenticator, Identity
    from bridge.auth.claims import Claims
    from bridge.clock import Clock
    from bridge.contract.events import AuthState
    from bridge.gateway.hub import Hub
    from bridge.rights import Rights


log = logging.getLogger(__name__)


@dataclass(slots=True)
class _TrackedToken:
    """What is kept of a client's token. Times are Unix seconds."""

    user: str
    session: str | None
    expires_at: float
    key: str | None
    revoked: bool = False
    """Whether the project has taken back the key that its token is signed with."""


class TokenExpiry:
    """Follows the tokens of clients, by their sids. One timer serves all.

    A client is told, as `auth-status`, some time before its token ends, and when it has ended; then
    its connection is ended, in a way that makes its library come back by itself.
    """

    def __init__(
        self,
        access: Authenticator,
        *,
        hub: Hub[str],
        clock: Clock,
        warning: float,
        tell: Callable[[str, bytes], None],
        part: Callable[[str], None],
    ) -> None:
        """`tell` tells a client an `auth-status` after all that it was told before; `part` ends its
        connection after that. `warning` is in seconds.
        """
        self._access = access
        self._hub = hub
        self._clock = clock
        self._warning = warning
        self._tell = tell
        self._part = part
        self._bearers: dict[str, _TrackedToken] = {}
        self._of_user: dict[str, dict[str, None]] = {}
        self._of_session: dict[str, dict[str, None]] = {}
        self._deadlines = DeadlineTimer(
            self._due,
            wall=clock.wall,
            call_later=lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call),
        )
        access.on_keys_revoked(self._revoke)

    def __len__(self) -> int:
        return len(self._bearers)

    async def authenticate(self, auth: Any, header: str | None) -> Identity:
        """Of a handshake, by the token in its `auth`, or by that of its connection's header where
        that has none. Raises `RequestRejected`.
        """
        token = parse_token(auth)
        return await self._access.authenticate(header if token is None else token)

    def track(self, sid: str, claims: Claims | None) -> None:
        """The client is here, with a token or without one, in place of any that it had before."""
        self.untrack(sid)
        if claims is None:
            return
        bearer = _TrackedToken(claims.user, claims.session, claims.expires_at, claims.key)
        self._bearers[sid] = bearer
        self._of_user.setdefault(claims.user, {})[sid] = None
        if claims.session is not None:
            self._of_session.setdefault(claims.session, {})[sid] = None
        if self._warning > 0:
            self._deadlines.set(sid, claims.expires_at - self._warning)
        else:
            self._deadlines.set(sid, self._access.terms.ends(claims.expires_at))

    def untrack(self, sid: str) -> None:
        """The client is gone. Twice, or of who bore none, is fine."""
        bearer = self._bearers.pop(sid, None)
        if bearer is None:
            return
        self._deadlines.cancel(sid)
        _discard(self._of_user, bearer.user, sid)
        if bearer.session is not None:
            _discard(self._of_session, bearer.session, sid)

    async def refresh(self, sid: str, argument: Any, grant: Callable[[str, Rights], bool]) -> bytes:
        """`authenticate`: the client has another token. Gives the ack.

        `grant` sets the client's rights and returns whether they changed. Raises
        `RequestRejected` and changes nothing: the earlier token stays in force.
        """
        if self._access.mode == "off":
            raise RequestRejected(Code.NOT_SUPPORTED, "this bridge checks no tokens")
        token = parse_token(argument)
        if token is None:
            raise RequestRejected(Code.BAD_REQUEST, "expected an object with a token: {token: ...}")
        admission = await self._access.authenticate(token)
        now = self._hub.subscription(sid)
        if now is None:
            raise RequestRejected(Code.NOT_READY, "the connection has ended")
        if now.rights.user not in (None, admission.rights.user):
            raise RequestRejected(
                Code.TOKEN_INVALID,
                "expected a token of the same user: to be another one, connect anew",
            )
        assert admission.claims is not None, "it was admitted by a token"
        changed = grant(sid, admission.rights)
        self.track(sid, admission.claims)
        if changed:
            self._send_auth_status(sid, "changed")
        return orjson.dumps({"ok": True, "expires_at": timestamp(admission.claims.expires_at)})

    async def sign_out(self, *, session: str | None = None, user: str | None = None) -> int:
        """Refuse the tokens of a session, or those that a user has, and end the connections of
        their bearers; return their number. Raises `errors.LogUnusableError` if the revocation
        could not be stored; it is in force all the same.
        """
        sids = self._of_session.get(session, {}) if session is not None else {}
        sids = {**sids, **(self._of_user.get(user, {}) if user is not None else {})}
        added = self._access.sign_outs.add(session=session, user=user)
        for sid in sids:
            self._end(sid, "signed_out")
        await self._access.sign_outs.store(added)
        return len(sids)

    def close(self) -> None:
        self._deadlines.stop()

    def _revoke(self, keys: Collection[str]) -> None:
        """Tokens that these keys signed have ended. A few clients at a time are told so, as they
        may be all that there are.
        """
        now, count = self._clock.wall(), 0
        for sid, bearer in self._bearers.items():
            if bearer.key in keys:
                bearer.revoked = True
                self._deadlines.set(sid, now)
                count += 1
        if count:
            log.warning(
                "%d connections end: their tokens are signed with a key that is none of the "
                "project's any more",
                count,
            )

    def _due(self, sid: str) -> None:
        bearer = self._bearers[sid]
        ends = self._access.terms.ends(bearer.expires_at)
        if bearer.revoked or self._clock.wall() >= ends:
            self._end(sid, "token_expired")
            return
        self._send_auth_status(sid, "expiring")
        self._deadlines.set(sid, ends)

    def _end(self, sid: str, why: AuthState) -> None:
        try:
            self._send_auth_status(sid, why)
        except Exception:
            # Whatever can't be said to it, it has to go; and so have the others.
            log.exception("client %s could not be told that its token has ended", sid)
        self.untrack(sid)
        self._part(sid)

    def _send_auth_status(self, sid: str, state: AuthState) -> None:
        subscription = self._hub.subscription(sid)
        if subscription is None:
            return
        regions = subscription.regions
        data = AuthStatusData(
            state=state,
            expires_at=timestamp(self._bearers[sid].expires_at),
            regions=None if regions is None else list(regions),
            properties=list(subscription.properties),
        )
        self._tell(sid, AuthStatus(data=data).model_dump_json().encode())


def _discard(index: dict[str, dict[str, None]], name: str, sid: str) -> None:
    sids = index[name]
    del sids[sid]
    if not sids:
        del index[name]
