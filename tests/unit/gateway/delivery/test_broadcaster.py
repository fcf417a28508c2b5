"""Events of one iteration are sent together, in order, and in slices."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bridge.gateway.delivery import broadcaster as dispatch
from bridge.gateway.delivery.broadcaster import SLICE_WRITES, Broadcaster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class World:
    """A broadcaster, its event loop, and everything written to clients."""

    def __init__(self) -> None:
        self.heard: dict[str, list[int]] = {}
        self.writes: list[tuple[str, tuple[int, ...]]] = []
        self.packed = 0
        self.soon: list[Callable[[], None]] = []
        self.it: Broadcaster[str, str, int, tuple[int, ...]] = Broadcaster(
            pack=self._pack, write=self._give, call_soon=self.soon.append
        )

    def _pack(
        self, tellings: list[int], names: Iterable[str]
    ) -> list[tuple[list[str], tuple[int, ...]]]:
        self.packed += 1
        return [(list(names), tuple(tellings))]

    def _give(self, clients: list[str], parcel: tuple[int, ...]) -> None:
        for client in clients:
            self.writes.append((client, parcel))
            self.heard.setdefault(client, []).extend(parcel)

    def step(self) -> int:
        """Run one iteration of the loop and return its number of writes."""
        before = len(self.writes)
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()
        return len(self.writes) - before


def test_events_of_one_iteration_are_one_write_per_client_and_packed_once() -> None:
    world = World()
    for number in range(16):
        world.it.add(number, {"a": None, "b": None}.keys())
    assert world.writes == []
    world.step()
    assert world.writes == [("a", tuple(range(16))), ("b", tuple(range(16)))]
    assert world.packed == 1
    assert world.soon == []


def test_clients_of_different_rooms_get_their_own_in_order_and_share_parcels() -> None:
    world = World()
    for number in range(6):
        world.it.add(number, ["all", "tx1", "tx2"] if number % 2 else ["all", "ca"])
    world.step()
    assert world.heard == {"all": list(range(6)), "tx1": [1, 3, 5], "tx2": [1, 3, 5],
                           "ca": [0, 2, 4]}  # fmt: skip
    assert (len(world.writes), world.packed) == (4, 3)


def test_client_added_after_an_event_does_not_receive_it() -> None:
    world = World()
    room = {"a": None}
    world.it.add(1, room.keys())
    room["b"] = None
    world.it.add(2, room.keys())
    world.step()
    assert world.heard == {"a": [1, 2], "b": [2]}


def test_large_room_is_written_in_slices_and_later_events_are_joined() -> None:
    world = World()
    everybody = [f"c{n}" for n in range(SLICE_WRITES * 2 + 10)]
    world.it.add(0, everybody)
    assert world.step() == SLICE_WRITES
    for number in range(1, 5):
        world.it.add(number, everybody)
        assert len(world.soon) == 1
    assert world.step() == SLICE_WRITES
    while world.soon:
        assert world.step() <= SLICE_WRITES
    assert all(heard == list(range(5)) for heard in world.heard.values())
    assert len(world.writes) == 2 * len(everybody)


def test_catch_up_writes_everything_to_one_client_once() -> None:
    world = World()
    everybody = [f"c{n}" for n in range(SLICE_WRITES * 3)]
    world.it.add(0, everybody)
    world.step()
    world.it.add(1, everybody)
    late, early = everybody[-1], everybody[0]
    world.it.catch_up(late)
    world.it.catch_up(early)
    world.it.catch_up("nobody")
    assert world.heard[late] == world.heard[early] == [0, 1]
    while world.soon:
        world.step()
    assert all(heard == [0, 1] for heard in world.heard.values())


def test_removed_client_receives_only_what_is_added_after() -> None:
    world = World()
    everybody = [f"c{n}" for n in range(SLICE_WRITES * 2)]
    world.it.add(0, everybody)
    world.step()
    world.it.add(1, everybody)
    late, early = everybody[-1], everybody[0]
    world.it.remove(late)
    world.it.remove(early)
    world.it.add(2, everybody)
    while world.soon:
        world.step()
    assert (world.heard[early], world.heard[late], world.heard["c7"]) == ([0, 2], [2], [0, 1, 2])


def test_flush_leaves_nothing() -> None:
    world = World()
    world.it.add(0, [f"c{n}" for n in range(SLICE_WRITES * 3)])
    world.step()
    world.it.add(1, ["c0"])
    world.it.flush()
    assert len(world.writes) == SLICE_WRITES * 3 + 1
    while world.soon:
        assert world.step() == 0


def test_burst_with_distinct_recipients_keeps_its_order() -> None:
    world = World()
    for number in range(dispatch.MAX_RECIPIENT_SETS * 3):
        world.it.add(number, ["all", f"c{number}"])
    world.it.flush()
    assert world.heard["all"] == list(range(dispatch.MAX_RECIPIENT_SETS * 3))
    assert all(world.heard[f"c{n}"] == [n] for n in range(dispatch.MAX_RECIPIENT_SETS * 3))


@given(st.integers(0, 2**32))
def test_every_client_receives_all_its_events_in_order(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    clients = [f"c{n}" for n in range(rng.choice([3, 40, SLICE_WRITES + 50]))]
    due: dict[str, list[int]] = {}
    for number in range(rng.randrange(60)):
        told = rng.sample(clients, rng.randrange(1, len(clients) + 1))
        if rng.random() < 0.5:
            told = clients
        world.it.add(number, told)
        for client in told:
            due.setdefault(client, []).append(number)
        if rng.random() < 0.3:
            world.step()
        if rng.random() < 0.3:
            one = rng.choice(clients)
            world.it.catch_up(one)
            assert world.heard.get(one, []) == due.get(one, [])
    while world.soon:
        world.step()
    assert world.heard == due
