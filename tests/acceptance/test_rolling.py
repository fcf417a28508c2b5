"""A short rolling restart; `python -m tests.rolling` has 500 clients and the default drain."""

from __future__ import annotations

import pytest

from tests.rolling import Options, run


@pytest.mark.once
async def test_machines_restarted_in_turn_lose_and_repeat_nothing_and_every_client_recovers() -> (
    None
):
    result = await run(Options(machines=2, clients=20, rate=50, drain=1.5))
    print(result)
    assert not result.found
    assert result.not_recovered == 0
    assert result.recovered >= 16
    assert result.resubscribed >= 4
    assert result.received > 100
    assert [cause for cause, *_ in result.takeovers] == ["drained"]
    assert all(sum(drain) > 0 for drain in result.drains)
