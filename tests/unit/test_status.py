from __future__ import annotations

import json

from bridge.contract.events import CONTRACT
from bridge.gateway.upstream_status import GRACE_SECONDS, Teller, Upstream

LIVE = Upstream(live=True, reconciled=True, passing=False)
DOWN = Upstream(live=False, reconciled=True, passing=False)


def states(teller: Teller) -> str:
    """Its state, which a type checker doesn't see change."""
    return teller.state


def test_it_is_stale_until_the_source_is_live_and_catching_up_until_the_table_is_read() -> None:
    teller = Teller(100.0)
    assert states(teller) == "stale"
    assert not teller.look(Upstream(live=False, reconciled=False, passing=False), 1, 101)
    assert teller.look(Upstream(live=True, reconciled=False, passing=True), 2, 102)
    assert states(teller) == "catching-up"
    assert teller.look(LIVE, 3, 103)
    assert states(teller) == "live"
    assert teller.since == 103


def test_a_short_absence_is_not_told_however_often_the_source_tries() -> None:
    teller = Teller(0.0)
    teller.look(LIVE, 0, 0)
    assert not teller.look(DOWN, GRACE_SECONDS / 2, 1)
    assert not teller.look(LIVE, GRACE_SECONDS, 2)
    assert not teller.look(DOWN, GRACE_SECONDS * 2, 3)
    assert teller.look(DOWN, GRACE_SECONDS * 2.1, 4)
    assert states(teller) == "stale"
    assert not teller.look(DOWN, GRACE_SECONDS * 9, 5)
    assert teller.since == 4


def test_a_pass_is_catching_up() -> None:
    teller = Teller(0.0)
    teller.look(LIVE, 0, 0)
    assert teller.look(Upstream(live=True, reconciled=True, passing=True), 1, 1)
    assert states(teller) == "catching-up"
    assert teller.look(LIVE, 2, 2)


def test_its_envelope() -> None:
    teller = Teller(1672531200.5)
    assert json.loads(teller.envelope()) == {
        "event": "bridge-status",
        "data": {"state": "stale", "since": "2023-01-01T00:00:00.500Z", "contract": CONTRACT},
    }
