from __future__ import annotations

from bridge.security.rate_limit import Allowance


def test_a_burst_then_as_many_as_are_filled_in() -> None:
    allowance = Allowance.full(per_second=2, burst=3, now=10)
    assert [allowance.take(10) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(10.4)
    assert allowance.take(10.5)
    assert not allowance.take(10.6)


def test_rest_fills_it_to_the_brim_and_not_beyond() -> None:
    allowance = Allowance.full(per_second=2, burst=3, now=0)
    allowance.take(0)
    assert [allowance.take(1000) for _ in range(4)] == [True, True, True, False]


def test_refusals_do_not_count() -> None:
    allowance = Allowance.full(per_second=1, burst=1, now=0)
    allowance.take(0)
    for tenth in range(1, 10):
        assert not allowance.take(tenth / 10)
    assert allowance.take(1.01)
