"""Users that are present at any process."""

from __future__ import annotations

import pytest

from bridge import shared_presence as module
from bridge.gateway.presence import Presence
from bridge.shared_presence import SharedPresence


def test_user_is_present_until_it_has_left_every_process() -> None:
    local = Presence()
    shared = SharedPresence(local)
    local.add("ann")
    shared.receive("b", b'{"all":["ann","bob"]}')
    assert set(shared.users) == {"ann", "bob"}
    local.remove("ann")
    assert set(shared.users) == {"ann", "bob"}
    shared.receive("b", b'{"joined":["eve","ann"],"left":["ann","nobody"]}')
    assert set(shared.users) == {"bob", "eve"}
    shared.forget("b")
    shared.forget("b")
    assert set(shared.users) == set()


def test_changes_sent_are_those_since_the_last_note() -> None:
    local = Presence()
    local.add("ann")
    shared = SharedPresence(local)
    local.add("ann")
    local.add("bob")
    local.add("eve")
    local.remove("eve")
    other = SharedPresence(Presence())
    other.receive("a", shared.take_changes())
    assert set(other.users) == {"ann", "bob"}
    assert (other.count("a"), shared.announced, shared.unsent) == (2, 2, 0)
    local.remove("bob")
    other.receive("a", shared.take_changes())
    assert set(other.users) == {"ann"}


def test_all_users_replace_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_USERS_PER_NOTE", 2)
    local = Presence()
    shared = SharedPresence(local)
    for user in "abcde":
        local.add(user)
    other = SharedPresence(Presence())
    other.receive("p", b'{"all":["x","a"]}')
    notes = list(shared.take_all())
    assert len(notes) == 3
    for note in notes:
        other.receive("p", note)
    assert set(other.users) == set("abcde")
    assert shared.unsent == 0
