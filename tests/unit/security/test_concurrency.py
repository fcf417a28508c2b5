"""Limits of concurrent uses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.security.concurrency import ConcurrencyLimiter, LimitReached, Slot


def test_slots_are_limited_per_key() -> None:
    crowd = ConcurrencyLimiter(2, 10)
    assert [type(crowd.acquire("a")) for _ in range(3)] == [Slot, Slot, LimitReached]
    assert isinstance(crowd.acquire("b"), Slot)


def test_slots_are_limited_in_total() -> None:
    crowd = ConcurrencyLimiter(2, 3)
    assert [crowd.acquire(str(n)) for n in range(4)][-1] is LimitReached.ALL


def test_limit_of_the_key_is_reported_first() -> None:
    crowd = ConcurrencyLimiter(1, 1)
    crowd.acquire("a")
    assert crowd.acquire("a") is LimitReached.KEY


def test_slot_is_released_once() -> None:
    crowd = ConcurrencyLimiter(1, 10)
    place = crowd.acquire("a")
    assert isinstance(place, Slot)
    place.release()
    place.release()
    assert crowd.total == 0
    assert isinstance(crowd.acquire("a"), Slot)
    assert crowd.acquire("a") is LimitReached.KEY


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=100))
def test_limiter_stores_only_keys_with_slots(steps: list[tuple[str, bool]]) -> None:
    crowd = ConcurrencyLimiter(3, 6)
    held: dict[str, list[Slot]] = {"a": [], "b": [], "c": []}
    for key, comes in steps:
        if comes:
            place = crowd.acquire(key)
            if isinstance(place, Slot):
                held[key].append(place)
        elif held[key]:
            held[key].pop().release()
        assert crowd.total == sum(map(len, held.values())) <= 6
        assert crowd._by_key == {key: len(places) for key, places in held.items() if places}
        assert all(len(places) <= 3 for places in held.values())


def test_key_none_counts_in_total_only() -> None:
    crowd = ConcurrencyLimiter(1, 3)
    places = [crowd.acquire(None) for _ in range(3)]
    assert all(isinstance(place, Slot) for place in places)
    assert crowd.acquire(None) is LimitReached.ALL
    assert crowd.acquire("a") is LimitReached.ALL
    assert isinstance(places[0], Slot)
    places[0].release()
    assert crowd.total == 2
    assert isinstance(crowd.acquire("a"), Slot)
