"""A user is present while it has a client that is connected or may reconnect."""

from __future__ import annotations

from bridge.contract.parse import RoomSelection
from bridge.gateway.presence import Presence
from bridge.gateway.recovery.sessions import RecoveryLimits, RecoverySessions
from bridge.log.base import Position
from bridge.rights import UNRESTRICTED, Rights
from tests.fakes import HubBySid, SessionsBySid

ANN, BOB = Rights(user="ann"), Rights(user="bob")
ALL = RoomSelection((), ())
HEAD = Position("e", 0)


def hub(presence: Presence) -> HubBySid:
    return HubBySid(deliver=lambda _entry, _clients: None, max_rooms=9, presence=presence)


def test_a_user_is_there_from_the_first_client_to_the_last() -> None:
    presence = Presence()
    here = hub(presence)
    here.join("a", ALL, rights=ANN)
    here.join("b", ALL, rights=ANN, batching=True)
    here.remove("a")
    assert set(presence.users) == {"ann"}
    here.remove("b")
    here.remove("b")
    assert set(presence.users) == set()


def test_client_without_a_user_is_not_counted() -> None:
    presence = Presence()
    here = hub(presence)
    here.join("a", ALL, rights=UNRESTRICTED)
    here.remove("a")
    assert set(presence.users) == set()


def test_presence_does_not_depend_on_the_subscription() -> None:
    presence = Presence()
    here = hub(presence)
    here.join("a", ALL, rights=ANN)
    here.subscribe("a", RoomSelection(("TX",), ()))
    here.unsubscribe("a", ALL)
    here.set_rights("a", Rights(("TX",), user="ann"))
    here.remove("a")
    assert set(presence.users) == set()


def test_user_is_present_from_a_later_sign_in_on() -> None:
    presence = Presence()
    here = hub(presence)
    here.join("a", ALL)
    here.set_rights("a", ANN)
    assert set(presence.users) == {"ann"}
    here.remove("a")
    assert set(presence.users) == set()


class Sessions(SessionsBySid):
    def __init__(self, presence: Presence, *, seconds: float = 10, limit: int = 9) -> None:
        super().__init__()
        limits = RecoveryLimits(seconds, limit, 100, 1000)
        self.sessions = RecoverySessions(limits, presence=presence)


def gone(them: Sessions, sid: str, rights: Rights, now: float = 0.0) -> None:
    """Connect a client and end its connection."""
    here = hub(Presence())
    them.open(sid, here.join(sid, ALL, rights=rights), HEAD)
    them.disconnected(sid, now)


def test_user_is_present_until_its_session_expires() -> None:
    presence = Presence()
    them = Sessions(presence)
    gone(them, "a", ANN)
    assert set(presence.users) == {"ann"}
    them.sessions.expire(10)
    assert set(presence.users) == set()


def test_user_of_an_evicted_session_is_not_present() -> None:
    presence = Presence()
    them = Sessions(presence, limit=1)
    gone(them, "a", ANN)
    gone(them, "b", BOB)
    assert set(presence.users) == {"bob"}


def test_user_of_an_ended_session_is_not_present() -> None:
    presence = Presence()
    them = Sessions(presence)
    gone(them, "a", ANN)
    them.end("a")
    them.end("a")
    assert set(presence.users) == set()


def test_sessions_of_an_earlier_process_are_there_at_once() -> None:
    presence = Presence()
    before = Sessions(Presence())
    gone(before, "a", ANN)
    Sessions(presence).sessions.load(before.session_of.values(), 0.0)
    assert set(presence.users) == {"ann"}
