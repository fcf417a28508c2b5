"""Which processes share a log, by their beats."""

from __future__ import annotations

from bridge.members import SILENT_SECONDS, Members


def names(members: Members, now: float) -> list[str]:
    return [member.process for member in members.alive(now)]


def test_process_is_alive_until_it_was_silent_for_too_long() -> None:
    members = Members("a")
    members.beat("a", "m1", "leader", 0)
    members.beat("b", "m2", "follower", 5)
    assert names(members, SILENT_SECONDS) == ["a", "b"]
    assert names(members, SILENT_SECONDS + 1) == ["b"]
    assert members.machine_of("b", SILENT_SECONDS + 1) == "m2"
    assert members.machine_of("a", SILENT_SECONDS + 1) is None


def test_process_that_ended_is_not_alive_and_is_forgotten_after_the_recovery_window() -> None:
    members = Members("a")
    members.beat("b", "m2", "follower", 0)
    members.left("b")
    members.left("unknown")
    assert members.others(1) == 0
    assert members.forget(100, 120) == []
    assert members.forget(121, 120) == ["b"]
    assert members.forget(121, 120) == []


def test_own_process_is_no_other() -> None:
    members = Members("a")
    members.beat("a", "m1", "leader", 0)
    assert members.others(0) == 0
