from __future__ import annotations

import json
from dataclasses import replace

from bridge.contract.events import CONTRACT_VERSION
from bridge.gateway.upstream_status import GRACE_SECONDS, UpstreamState, UpstreamStatus

LIVE = UpstreamState(live=True, reconciled=True, scanning=False)
DOWN = UpstreamState(live=False, reconciled=True, scanning=False)


def states(teller: UpstreamStatus) -> str:
    """Return the state; a function, since a type checker does not see it change."""
    return teller.state


def test_state_is_stale_until_live_and_catching_up_until_the_first_scan() -> None:
    teller = UpstreamStatus(100.0)
    assert states(teller) == "stale"
    assert not teller.update(UpstreamState(live=False, reconciled=False, scanning=False), 1, 101)
    assert teller.update(UpstreamState(live=True, reconciled=False, scanning=True), 2, 102)
    assert states(teller) == "catching-up"
    assert teller.update(LIVE, 3, 103)
    assert states(teller) == "live"
    assert teller.since == 103


def test_short_disconnects_do_not_change_the_state() -> None:
    teller = UpstreamStatus(0.0)
    teller.update(LIVE, 0, 0)
    assert not teller.update(DOWN, GRACE_SECONDS / 2, 1)
    assert not teller.update(LIVE, GRACE_SECONDS, 2)
    assert not teller.update(DOWN, GRACE_SECONDS * 2, 3)
    assert teller.update(DOWN, GRACE_SECONDS * 2.1, 4)
    assert states(teller) == "stale"
    assert not teller.update(DOWN, GRACE_SECONDS * 9, 5)
    assert teller.since == 4


def test_a_pass_is_catching_up() -> None:
    teller = UpstreamStatus(0.0)
    teller.update(LIVE, 0, 0)
    assert teller.update(UpstreamState(live=True, reconciled=True, scanning=True), 1, 1)
    assert states(teller) == "catching-up"
    assert teller.update(LIVE, 2, 2)


def test_state_is_stale_while_the_bridge_can_not_know() -> None:
    teller = UpstreamStatus(0.0)
    teller.update(LIVE, 0, 0)
    assert teller.update(replace(LIVE, blind=True), 1, 1)
    assert states(teller) == "stale"
    assert teller.update(LIVE, 2, 2)
    assert states(teller) == "live"


def test_envelope_has_state_and_time() -> None:
    teller = UpstreamStatus(1672531200.5)
    assert json.loads(teller.envelope()) == {
        "event": "bridge-status",
        "data": {
            "state": "stale",
            "since": "2023-01-01T00:00:00.500Z",
            "contract": CONTRACT_VERSION,
        },
    }
