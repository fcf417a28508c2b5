"""How many of each there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.security.concurrency import Crowd, Full, Place


def test_each_key_has_so_many_places() -> None:
    crowd = Crowd(2, 10)
    assert [type(crowd.enter("a")) for _ in range(3)] == [Place, Place, Full]
    assert isinstance(crowd.enter("b"), Place)


def test_all_together_have_so_many() -> None:
    crowd = Crowd(2, 3)
    assert [crowd.enter(str(n)) for n in range(4)][-1] is Full.ALL


def test_its_own_limit_is_told_first() -> None:
    crowd = Crowd(1, 1)
    crowd.enter("a")
    assert crowd.enter("a") is Full.KEY


def test_a_place_that_is_given_back_is_free_once() -> None:
    crowd = Crowd(1, 10)
    place = crowd.enter("a")
    assert isinstance(place, Place)
    place.give_back()
    place.give_back()
    assert crowd.total == 0
    assert isinstance(crowd.enter("a"), Place)
    assert crowd.enter("a") is Full.KEY


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=100))
def test_only_keys_with_places_are_remembered(steps: list[tuple[str, bool]]) -> None:
    crowd = Crowd(3, 6)
    held: dict[str, list[Place]] = {"a": [], "b": [], "c": []}
    for key, comes in steps:
        if comes:
            place = crowd.enter(key)
            if isinstance(place, Place):
                held[key].append(place)
        elif held[key]:
            held[key].pop().give_back()
        assert crowd.total == sum(map(len, held.values())) <= 6
        assert crowd._by_key == {key: len(places) for key, places in held.items() if places}
        assert all(len(places) <= 3 for places in held.values())


def test_who_has_no_key_is_counted_among_all_only() -> None:
    crowd = Crowd(1, 3)
    places = [crowd.enter(None) for _ in range(3)]
    assert all(isinstance(place, Place) for place in places)
    assert crowd.enter(None) is Full.ALL
    assert crowd.enter("a") is Full.ALL
    assert isinstance(places[0], Place)
    places[0].give_back()
    assert crowd.total == 2
    assert isinstance(crowd.enter("a"), Place)
