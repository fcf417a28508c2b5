"""Clients with tokens connect, disconnect, refresh and are signed out while time passes: every
connected client has a valid token, and the others have been removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.auth import jwks
from bridge.clock import ManualClock
from bridge.contract.parse import RoomSelection
from bridge.errors import RequestRejected
from bridge.gateway import token_expiry as bearers
from bridge.options import authenticator
from tests.fakes import HubBySid, settings
from tests.support.examples import examples
from tests.tokens import SECRET, Key, claims, legacy

if TYPE_CHECKING:
    from bridge.gateway.client import ClientSession
    from bridge.rights import Rights

ISSUER = "http://127.0.0.1:9/auth/v1"
LEEWAY, WARNING = 5, 20

USERS = st.sampled_from(["ada", "bob"])
SESSIONS = st.sampled_from(["s1", "s2", "s3"])
LIVES = st.integers(1, 120)
CLIENTS = st.integers(0, 5)
KIDS = st.sampled_from(["k1", "k2"])
SIGNERS = st.sampled_from([None, "k1", "k2"])
"""Of a token: the legacy secret, or one of the project's keys."""


@dataclass
class Borne:
    user: str
    session: str
    issued_at: float
    expires_at: float
    key: Key | None = None
    warned: bool = False
    revoked: bool = False


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(wall=1_800_000_000.0)
        configured = settings(
            supabase_jwt_secret=SECRET,
            token_leeway=LEEWAY,
            token_warning_seconds=WARNING,
            regions_claim="app_metadata.regions",
        )
        access = authenticator(configured, "http://127.0.0.1:9", clock=self.clock)
        self.access = access
        self.hub = HubBySid(deliver=lambda _entry, _clients: None, max_rooms=10)
        self.told: list[tuple[str, str]] = []
        self.bearers = bearers.TokenExpiry(
            access,
            clock=self.clock,
            warning_seconds=WARNING,
            send=self.tell,
            close=self.part,
        )
        # The timer is the machine's own.
        self.bearers._deadlines._call_later = lambda _seconds, _call: None
        self.keys: dict[str, Key] = {}
        for kid in ("k1", "k2"):
            self.show(kid)
        self.borne: dict[str, Borne] = {}
        self.out_users: dict[str, float] = {}
        self.out_sessions: set[str] = set()
        self.parted: list[str] = []
        self.last = 0

    def run(self, work: Any) -> Any:
        """`work`, none of which waits for anything."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits")

    def tell(self, client: ClientSession, envelope: bytes) -> None:
        assert client.subscription is not None
        self.told.append((client.sid, orjson.loads(envelope)["data"]["state"]))

    def part(self, client: ClientSession) -> None:
        self.parted.append(client.sid)
        self.hub.remove(client.sid)
        self.bearers.untrack(client)

    def show(self, kid: str) -> None:
        """The project shows a new key of that name."""
        self.keys[kid] = Key("EdDSA", kid)
        shown = [key.jwk() for key in self.keys.values()]
        self.access._keys._store(jwks.parse_jwks(orjson.dumps({"keys": shown})))

    def token(self, user: str, session: str, life: int, kid: str | None) -> tuple[str, Borne]:
        now = int(self.clock.wall())
        values = claims(ISSUER, now, sub=user, session_id=session, exp=now + life)
        values["app_metadata"] = {"regions": [f"R-{user}"]}
        key = None if kid is None else self.keys[kid]
        token = legacy(values) if key is None else key.sign(values)
        return token, Borne(user, session, now, now + life, key)

    def refused(self, borne: Borne) -> bool:
        by_user = borne.issued_at <= self.out_users.get(borne.user, 0)
        return by_user or borne.session in self.out_sessions

    def grant(self, client: ClientSession, rights: Rights) -> bool:
        assert client.subscription is not None
        if client.subscription.rights == rights:
            return False
        self.hub.set_rights(client.sid, rights)
        return True

    @rule(user=USERS, session=SESSIONS, life=LIVES, kid=SIGNERS)
    def come(self, user: str, session: str, life: int, kid: str | None) -> None:
        token, borne = self.token(user, session, life, kid)
        try:
            admission = self.run(self.bearers.authenticate({"token": token}, None))
        except RequestRejected:
            assert self.refused(borne)
            return
        assert not self.refused(borne)
        self.last += 1
        sid = f"c{self.last}"
        self.hub.join(sid, RoomSelection(), rights=admission.rights)
        self.bearers.track(self.hub.client_of[sid], admission.claims)
        self.borne[sid] = borne

    @rule()
    def come_without(self) -> None:
        admission = self.run(self.bearers.authenticate({}, None))
        self.last += 1
        self.hub.join(f"c{self.last}", RoomSelection(), rights=admission.rights)
        self.bearers.track(self.hub.client_of[f"c{self.last}"], admission.claims)

    @rule(which=CLIENTS)
    def leave(self, which: int) -> None:
        clients = self.hub.sids
        if clients:
            sid = clients[which % len(clients)]
            self.hub.remove(sid)
            self.bearers.untrack(self.hub.client_of[sid])
            self.borne.pop(sid, None)

    @rule(which=CLIENTS, user=USERS, session=SESSIONS, life=LIVES, kid=SIGNERS)
    def renew(self, which: int, user: str, session: str, life: int, kid: str | None) -> None:
        clients = self.hub.sids
        if not clients:
            return
        sid = clients[which % len(clients)]
        token, borne = self.token(user, session, life, kid)
        before = self.hub.subscription(sid)
        was = self.borne.get(sid)
        allowed = not self.refused(borne) and (was is None or was.user == user)
        try:
            client = self.hub.client_of[sid]
            self.run(self.bearers.refresh(client, {"token": token}, self.grant))
        except RequestRejected:
            assert not allowed
            assert self.hub.subscription(sid) == before
            return
        assert allowed
        self.borne[sid] = borne

    @rule(kid=KIDS)
    def revoke(self, kid: str) -> None:
        gone = self.keys[kid]
        self.show(kid)
        for borne in self.borne.values():
            borne.revoked = borne.revoked or borne.key is gone

    @rule(user=USERS)
    def sign_out_user(self, user: str) -> None:
        mine = {sid for sid, borne in self.borne.items() if borne.user == user}
        self.signed_out(mine, {"user": user})
        self.out_users[user] = self.clock.wall()

    @rule(session=SESSIONS)
    def sign_out_session(self, session: str) -> None:
        mine = {sid for sid, borne in self.borne.items() if borne.session == session}
        self.signed_out(mine, {"session": session})
        self.out_sessions.add(session)

    def signed_out(self, mine: set[str], what: dict[str, str]) -> None:
        self.parted.clear()
        self.told.clear()
        assert self.run(self.bearers.sign_out(**what)) == len(mine)
        assert set(self.parted) == mine
        assert len(self.parted) == len(mine)
        assert set(self.told) == {(sid, "signed_out") for sid in mine}
        for sid in mine:
            del self.borne[sid]

    @rule(seconds=st.integers(1, 90))
    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.told.clear()
            self.parted.clear()
            self.bearers._deadlines._run_due()
            for sid, state in self.told:
                borne = self.borne[sid]
                if state == "expiring":
                    assert not borne.warned
                    assert not borne.revoked
                    assert borne.expires_at - WARNING <= self.clock.wall()
                    borne.warned = True
                else:
                    assert state == "token_expired"
                    assert borne.revoked or self.clock.wall() >= borne.expires_at + LEEWAY
                    assert sid in self.parted
            for sid in self.parted:
                del self.borne[sid]
            assert not any(borne.revoked for borne in self.borne.values())

    @invariant()
    def whoever_is_here_bears_a_good_token(self) -> None:
        clients = self.hub.client_of.values()
        assert {client.sid for client in clients if client.token} == set(self.borne)
        assert len(self.bearers) == len(self.borne)
        for sid, borne in self.borne.items():
            assert self.clock.wall() < borne.expires_at + LEEWAY + 1
            assert not self.refused(borne)
            subscription = self.hub.subscription(sid)
            assert subscription is not None
            assert subscription.rights.user == borne.user
            assert subscription.rights.regions == (f"R-{borne.user}",)

    @invariant()
    def nothing_is_kept_of_who_has_gone(self) -> None:
        of_user = {each.sid for these in self.bearers._of_user.values() for each in these}
        of_session = {each.sid for these in self.bearers._of_session.values() for each in these}
        assert of_user == of_session == set(self.borne)
        assert all(self.bearers._of_user.values())
        assert all(self.bearers._of_session.values())

    def teardown(self) -> None:
        self.run(self.access.close())


Machine.TestCase.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=40)
test_bearers = Machine.TestCase
