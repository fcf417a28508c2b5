"""How often each of many may do something."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from bridge.security.rate_limit import RateLimiter


def taken(pace: RateLimiter, key: str, now: float, tries: int, price: float = 1.0) -> int:
    return sum(pace.acquire(key, now, price) == 0 for _ in range(tries))


def test_a_burst_is_let_through_and_no_more() -> None:
    assert taken(RateLimiter(1, 5), "a", 0.0, 20) == 5


def test_then_as_many_as_time_has_passed() -> None:
    pace = RateLimiter(2, 5)
    assert taken(pace, "a", 0.0, 20) == 5
    assert taken(pace, "a", 1.0, 20) == 2
    assert taken(pace, "a", 100.0, 20) == 5


def test_one_takes_nothing_from_another() -> None:
    pace = RateLimiter(1, 5)
    taken(pace, "a", 0.0, 20)
    assert taken(pace, "b", 0.0, 20) == 5


def test_who_is_refused_hears_when_it_may() -> None:
    pace = RateLimiter(0.5, 1)
    assert pace.acquire("a", 10.0) == 0
    assert pace.acquire("a", 10.0) == 2.0
    assert pace.acquire("a", 11.5) == 0.5
    assert pace.acquire("a", 12.0) == 0


def test_to_ask_how_long_counts_nothing() -> None:
    pace = RateLimiter(1, 1)
    assert [pace.wait("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert len(pace) == 0
    assert pace.acquire("a", 0.0) == 0


def test_what_is_dearer_takes_more() -> None:
    assert taken(RateLimiter(1, 10), "a", 0.0, 20, price=5) == 2


def test_what_is_dearer_than_all_takes_all() -> None:
    pace = RateLimiter(1, 10)
    assert taken(pace, "a", 0.0, 20, price=50) == 1
    assert pace.acquire("a", 0.0) > 0
    assert taken(pace, "a", 10.0, 1, price=50) == 1


def test_a_full_bucket_is_forgotten() -> None:
    pace = RateLimiter(1, 2)
    for number in range(1000):
        pace.acquire(number, number * 10.0)
    assert len(pace) <= 2


def test_a_flood_of_keys_takes_no_more_memory_than_is_set() -> None:
    pace = RateLimiter(1, 5, most=100)
    for number in range(10_000):
        assert pace.acquire(number, 0.0) == 0
        assert len(pace) <= 100


def test_a_flood_of_keys_does_not_free_who_keeps_asking() -> None:
    pace = RateLimiter(1, 5, most=100)
    let = 0
    for number in range(2000):
        pace.acquire(("other", number), 0.0)
        if number % 10 == 0:
            let += pace.acquire("a", 0.0) == 0
    assert let <= 5 + 2000 // 100 * 5  # it begins anew when it was forgotten, and then at most 5
    assert sys.getsizeof(pace._full_at) < 100_000


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 4)), max_size=60),
    st.floats(0.5, 20),
    st.integers(1, 10),
)
def test_never_more_than_burst_and_rate_allow(
    asked: list[tuple[float, float]], per_second: float, burst: int
) -> None:
    pace = RateLimiter(per_second, burst)
    now = first = 1000.0
    spent = 0.0
    for pause, price in asked:
        now += pause
        if pace.acquire("a", now, price) == 0:
            spent += min(price, burst)
        assert spent <= burst + (now - first) * per_second + 1e-6


def test_what_was_done_already_is_waited_for() -> None:
    pace = RateLimiter(1, 10)
    pace.charge("a", 0.0, 15)
    assert pace.wait("a", 0.0) == 6.0
    assert pace.wait("a", 6.0) == 0.0


def test_but_never_longer_than_the_bucket_takes_to_fill_twice() -> None:
    pace = RateLimiter(1, 10)
    pace.charge("a", 0.0, 1_000_000)
    assert pace.wait("a", 0.0) == 11.0
