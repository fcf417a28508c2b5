"""Rate limits by key."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Code, RequestRejected
from bridge.security.rate_limit import RateLimiter


def granted(limiter: RateLimiter, key: str, now: float, tries: int, price: float = 1.0) -> int:
    return sum(limiter.acquire(key, now, price) == 0 for _ in range(tries))


def test_rate_limiter_grants_a_burst_and_no_more() -> None:
    assert granted(RateLimiter(1, 5), "a", 0.0, 20) == 5


def test_rate_limiter_refills_with_time_up_to_the_burst() -> None:
    limiter = RateLimiter(2, 5)
    assert granted(limiter, "a", 0.0, 20) == 5
    assert granted(limiter, "a", 1.0, 20) == 2
    assert granted(limiter, "a", 100.0, 20) == 5


def test_rate_limiter_counts_each_key_by_itself() -> None:
    limiter = RateLimiter(1, 5)
    granted(limiter, "a", 0.0, 20)
    assert granted(limiter, "b", 0.0, 20) == 5


def test_rejected_key_receives_the_seconds_to_wait() -> None:
    limiter = RateLimiter(0.5, 1)
    assert limiter.acquire("a", 10.0) == 0
    assert limiter.acquire("a", 10.0) == 2.0
    assert limiter.acquire("a", 11.5) == 0.5
    assert limiter.acquire("a", 12.0) == 0


def test_rejections_take_nothing() -> None:
    limiter = RateLimiter(1, 1)
    limiter.acquire("a", 0.0)
    for tenth in range(1, 10):
        assert limiter.acquire("a", tenth / 10) > 0
    assert limiter.acquire("a", 1.01) == 0


def test_rate_limiter_wait_takes_nothing() -> None:
    limiter = RateLimiter(1, 1)
    assert [limiter.wait("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert len(limiter) == 0
    assert limiter.acquire("a", 0.0) == 0


def test_key_none_is_never_limited() -> None:
    limiter = RateLimiter(1, 1)
    limiter.charge(None, 0.0, 100)
    assert [limiter.acquire(None, 0.0) for _ in range(5)] == [0.0] * 5
    assert len(limiter) == 0


def test_removed_key_starts_with_a_full_bucket() -> None:
    limiter = RateLimiter(1, 2)
    assert granted(limiter, "a", 0.0, 5) == 2
    limiter.remove("a")
    limiter.remove("never seen")
    assert len(limiter) == 0
    assert granted(limiter, "a", 0.0, 5) == 2


def test_rate_limiter_takes_the_price() -> None:
    assert granted(RateLimiter(1, 10), "a", 0.0, 20, price=5) == 2


def test_price_above_the_burst_takes_the_whole_bucket() -> None:
    limiter = RateLimiter(1, 10)
    assert granted(limiter, "a", 0.0, 20, price=50) == 1
    assert limiter.acquire("a", 0.0) > 0
    assert granted(limiter, "a", 10.0, 1, price=50) == 1


def test_full_buckets_are_evicted() -> None:
    limiter = RateLimiter(1, 2)
    for number in range(1000):
        limiter.acquire(number, number * 10.0)
    assert len(limiter) <= 2


def test_keys_are_bounded_under_a_flood() -> None:
    limiter = RateLimiter(1, 5, max_keys=100)
    for number in range(10_000):
        assert limiter.acquire(number, 0.0) == 0
        assert len(limiter) <= 100


def test_flood_of_keys_does_not_free_a_key_in_use() -> None:
    limiter = RateLimiter(1, 5, max_keys=100)
    grants = 0
    for number in range(2000):
        limiter.acquire(("other", number), 0.0)
        if number % 10 == 0:
            grants += limiter.acquire("a", 0.0) == 0
    assert grants <= 5 + 2000 // 100 * 5  # an evicted key starts with a full bucket of 5
    assert sys.getsizeof(limiter._full_at) < 100_000


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 4)), max_size=60),
    st.floats(0.5, 20),
    st.integers(1, 10),
)
def test_rate_limiter_never_exceeds_burst_and_rate(
    requests: list[tuple[float, float]], per_second: float, burst: int
) -> None:
    limiter = RateLimiter(per_second, burst)
    now = first = 1000.0
    spent = 0.0
    for pause, price in requests:
        now += pause
        if limiter.acquire("a", now, price) == 0:
            spent += min(price, burst)
        assert spent <= burst + (now - first) * per_second + 1e-6


def test_charge_beyond_the_bucket_delays_the_next_grant() -> None:
    limiter = RateLimiter(1, 10)
    limiter.charge("a", 0.0, 15)
    assert limiter.wait("a", 0.0) == 6.0
    assert limiter.wait("a", 6.0) == 0.0


def test_check_raises_until_the_lowest_price_is_refilled() -> None:
    limiter = RateLimiter(1, 10, min_price=0.5, reason="many rows")
    limiter.check("a", 0.0)
    limiter.charge("a", 0.0, 11.0)
    with pytest.raises(RequestRejected, match=r"^many rows; try again in 1\.5 s$") as rejected:
        limiter.check("a", 0.0)
    assert rejected.value.code is Code.RATE_LIMITED
    limiter.check("b", 0.0)
    limiter.check("a", 1.5)


def test_charge_takes_at_least_the_lowest_price() -> None:
    limiter = RateLimiter(1, 1, min_price=0.25)
    for _ in range(4):
        limiter.check("a", 0.0)
        limiter.charge("a", 0.0, 0.01)
    with pytest.raises(RequestRejected):
        limiter.check("a", 0.0)


def test_charge_delays_by_no_more_than_two_refills() -> None:
    limiter = RateLimiter(1, 10)
    limiter.charge("a", 0.0, 1_000_000)
    assert limiter.wait("a", 0.0) == 11.0
