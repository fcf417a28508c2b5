"""Tokens of connected clients: warns before they expire, and ends connections when they have."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import orjson

from bridge.clock import timestamp
from bridge.contract.events import AuthStatus, AuthStatusData
from bridge.contract.parse import parse_token
from bridge.errors import Code, RequestRejected
from bridge.gateway.client import ClientToken
from bridge.gateway.timers import DeadlineTimer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from bridge.auth.authenticator import Authenticator, Identity
    from bridge.auth.claims import Claims
    from bridge.clock import Clock
    from bridge.contract.events import AuthState
    from bridge.gateway.client import ClientSession
    from bridge.rights import Rights


log = logging.getLogger(__name__)


class TokenExpiry:
    """Tracks the `exp` of the tokens of connected clients. One timer serves all of them.

    A client receives `auth-status` some time before its token expires, and when it has expired;
    then its connection is closed in a way that makes its library reconnect by itself.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        clock: Clock,
        warning_seconds: float,
        send: Callable[[ClientSession, bytes], None],
        close: Callable[[ClientSession], None],
    ) -> None:
        """`send` sends an `auth-status` envelope to a client after all that was sent before;
        `close` closes its connection after that, and removes the client.
        """
        self._authenticator = authenticator
        self._clock = clock
        self._warning_seconds = warning_seconds
        self._send = send
        self._close = close
        self._of_user: dict[str, dict[ClientSession, None]] = {}
        self._of_session: dict[str, dict[ClientSession, None]] = {}
        self._deadlines: DeadlineTimer[ClientSession] = DeadlineTimer(
            self._on_due,
            clock=clock.wall,
            call_later=lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call),
        )
        authenticator.on_keys_revoked(self._on_keys_removed)
        self.announce: Callable[[str, str, float], Awaitable[int]] = _to_no_other_process
        """Called with kind, name and time of each sign-out that was applied here and is stored;
        returns the number of connections that it ends at other processes."""

    def __len__(self) -> int:
        """Number of clients with a token."""
        return len(self._deadlines)

    async def authenticate(self, auth: Any, header_token: str | None) -> Identity:
        """Authenticate the `auth` of a CONNECT packet: by its token, or by that of the
        connection's `Authorization` header if it has none. Raises `RequestRejected`.
        """
        token = parse_token(auth)
        return await self._authenticator.authenticate(header_token if token is None else token)

    def track(self, client: ClientSession, claims: Claims | None) -> None:
        """Track a client's token, in place of its earlier one; None: it has none."""
        self.untrack(client)
        if claims is None:
            return
        client.token = ClientToken(claims.user, claims.session, claims.expires_at, claims.key)
        self._of_user.setdefault(claims.user, {})[client] = None
        if claims.session is not None:
            self._of_session.setdefault(claims.session, {})[client] = None
        if self._warning_seconds > 0:
            self._deadlines.set(client, claims.expires_at - self._warning_seconds)
        else:
            self._deadlines.set(client, self._authenticator.requirements.ends(claims.expires_at))

    def untrack(self, client: ClientSession) -> None:
        """Stop tracking a client. Harmless for a client without a token."""
        token = client.token
        if token is None:
            return
        client.token = None
        self._deadlines.cancel(client)
        _discard(self._of_user, token.user, client)
        if token.session is not None:
            _discard(self._of_session, token.session, client)

    async def refresh(
        self, client: ClientSession, argument: Any, grant: Callable[[ClientSession, Rights], bool]
    ) -> bytes:
        """Handle an `authenticate` request with a new token, and return the ack.

        `grant` sets the client's rights and returns whether they changed. Raises
        `RequestRejected` and changes nothing: the earlier token stays in force.
        """
        if self._authenticator.mode == "off":
            raise RequestRejected(Code.NOT_SUPPORTED, "this bridge does not check tokens")
        token = parse_token(argument)
        if token is None:
            raise RequestRejected(Code.BAD_REQUEST, "expected an object with a token: {token: ...}")
        identity = await self._authenticator.authenticate(token)
        subscription = client.subscription
        if subscription is None:
            raise RequestRejected(Code.NOT_READY, "the connection has ended")
        if subscription.rights.user not in (None, identity.rights.user):
            raise RequestRejected(
                Code.TOKEN_INVALID,
                "expected a token of the same user: open a new connection for another user",
            )
        assert identity.claims is not None, "a token was given"
        changed = grant(client, identity.rights)
        self.track(client, identity.claims)
        if changed:
            self._send_auth_status(client, "changed", identity.claims.expires_at)
        return orjson.dumps({"ok": True, "expires_at": timestamp(identity.claims.expires_at)})

    async def sign_out(self, *, session: str | None = None, user: str | None = None) -> int:
        """Reject the tokens of a session, or those issued to a user so far, and close the
        connections of the clients that have one, here and at other processes; return their number.
        Raises `errors.LogUnusableError` if the revocation could not be stored; it is in force here
        all the same.
        """
        clients = self._of_session.get(session, {}) if session is not None else {}
        clients = {**clients, **(self._of_user.get(user, {}) if user is not None else {})}
        added = self._authenticator.revocations.add(session=session, user=user)
        for client in clients:
            self._end(client, "signed_out")
        await self._authenticator.revocations.store(added)
        return len(clients) + sum([await self.announce(*revocation) for revocation in added])

    def signed_out(self, kind: str, name: str, at: float) -> int:
        """Apply a sign-out of another process; return the number of connections that it ends."""
        if self._authenticator.revocations.apply(kind, name, at):
            return self._end_all(kind, name)
        return 0

    async def reload_revocations(self) -> None:
        """Apply the stored sign-outs that this process does not know. Raises
        `errors.LogUnusableError`.
        """
        for kind, name, _ in await self._authenticator.revocations.load():
            self._end_all(kind, name)

    def _end_all(self, kind: str, name: str) -> int:
        clients = list((self._of_user if kind == "user" else self._of_session).get(name, {}))
        for client in clients:
            self._end(client, "signed_out")
        return len(clients)

    def close(self) -> None:
        self._deadlines.stop()

    def _on_keys_removed(self, keys: Collection[str]) -> None:
        """End the tokens that these keys signed. The timer does so for some clients at a time, as
        they may be all clients.
        """
        now, count = self._clock.wall(), 0
        for clients in self._of_user.values():
            for client in clients:
                token = client.token
                if token is not None and token.key in keys:
                    token.key_removed = True
                    self._deadlines.set(client, now)
                    count += 1
        if count:
            log.warning(
                "closing %d connections: their tokens are signed with a key that the project has "
                "removed",
                count,
            )

    def _on_due(self, client: ClientSession) -> None:
        token = client.token
        assert token is not None, "its deadline is cancelled with it"
        ends = self._authenticator.requirements.ends(token.expires_at)
        if token.key_removed or self._clock.wall() >= ends:
            self._end(client, "token_expired")
            return
        self._send_auth_status(client, "expiring", token.expires_at)
        self._deadlines.set(client, ends)

    def _end(self, client: ClientSession, state: AuthState) -> None:
        try:
            assert client.token is not None, "it is tracked"
            self._send_auth_status(client, state, client.token.expires_at)
        except Exception:
            # The connection ends whatever could be sent, and so do those of the other clients.
            log.exception("the end of its token could not be sent to client %s", client.sid)
        self.untrack(client)
        self._close(client)

    def _send_auth_status(self, client: ClientSession, state: AuthState, expires_at: float) -> None:
        subscription = client.subscription
        if subscription is None:
            return
        regions = subscription.regions
        data = AuthStatusData(
            state=state,
            expires_at=timestamp(expires_at),
            regions=None if regions is None else list(regions),
            properties=list(subscription.properties),
        )
        self._send(client, AuthStatus(data=data).model_dump_json().encode())


async def _to_no_other_process(_kind: str, _name: str, _at: float) -> int:
    return 0


def _discard(index: dict[str, dict[ClientSession, None]], name: str, client: ClientSession) -> None:
    clients = index[name]
    del clients[client]
    if not clients:
        del index[name]
