"""How many of each there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.security.concurrency import ConcurrencyLimiter, LimitReached, Slot


def test_each_key_has_so_many_places() -> None:
    crowd = ConcurrencyLimiter(2, 10)
    assert [type(crowd.acquire("a")) for _ in range(3)] == [Slot, Slot, LimitReached]
    assert isinstance(crowd.acquire("b"), Slot)


def test_all_together_have_so_many() -> None:
    crowd = ConcurrencyLimiter(2, 3)
    assert [crowd.acquire(str(n)) for n in range(4)][-1] is LimitReached.ALL


def test_its_own_limit_is_told_first() -> None:
    crowd = ConcurrencyLimiter(1, 1)
    crowd.acquire("a")
    assert crowd.acquire("a") is LimitReached.KEY


def test_a_place_that_is_given_back_is_free_once() -> None:
    crowd = ConcurrencyLimiter(1, 10)
    place = crowd.acquire("a")
    assert isinstance(place, Slot)
    place.release()
    place.release()
    assert crowd.total == 0
    assert isinstance(crowd.acquire("a"), Slot)
    assert crowd.acquire("a") is LimitReached.KEY


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=100))
def test_only_keys_with_places_are_remembered(steps: list[tuple[str, bool]]) -> None:
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


def test_who_has_no_key_is_counted_among_all_only() -> None:
    crowd = ConcurrencyLimiter(1, 3)
    places = [crowd.acquire(None) for _ in range(3)]
    assert all(isinstance(place, Slot) for place in places)
    assert crowd.acquire(None) is LimitReached.ALL
    assert crowd.acquire("a") is LimitReached.ALL
    assert isinstance(places[0], Slot)
    places[0].release()
    assert crowd.total == 2
    assert isinstance(crowd.acquire("a"), Slot)
