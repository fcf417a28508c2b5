"""What the writer counts, and the round trip that the pings show."""

from __future__ import annotations

from bridge.clock import ManualClock
from bridge.gateway.delivery.broadcaster import Broadcaster
from bridge.gateway.delivery.meter import DeliveryMeter
from bridge.gateway.engineio.encoding import EncodedEvent, join_events
from bridge.gateway.engineio.heartbeat import Heartbeat


class Pinged:
    def ping(self) -> None: ...

    def timed_out(self) -> None: ...


def test_broadcast_counts_each_client_and_each_byte_once() -> None:
    meter = DeliveryMeter()
    events = [EncodedEvent("property-updated", b"{}", "e-1") for _ in range(2)]
    packets = join_events(events, positions=False)
    assert meter.packed(["a", "b", "c"], events, packets) is packets
    assert meter.events == 6
    assert meter.bytes == 3 * sum(len(each.frames) for each in packets)


def test_delivery_delay_is_the_time_from_the_append() -> None:
    meter = DeliveryMeter(wall=lambda: 100.2)
    meter.written([EncodedEvent("property-updated", b"{}", "e-1", 100.0)])
    counts = meter.delay.counts()
    assert sum(counts.counts) == 1
    assert counts.counts[counts.bounds.index(0.25)] == 1


def test_delivery_delay_is_not_negative_if_the_clocks_differ() -> None:
    meter = DeliveryMeter(wall=lambda: 90.0)
    meter.written([EncodedEvent("property-updated", b"{}", "e-1", 100.0)])
    assert meter.delay.counts().total == 0
    assert meter.delay.counts().counts[0] == 1


def test_events_count_as_written_after_the_last_write_alone() -> None:
    done: list[list[str]] = []
    seen: list[int] = []
    steps: list[object] = []
    it: Broadcaster[str, str, str, list[str]] = Broadcaster(
        pack=lambda events, queues: [(list(queues), events)],
        write=lambda _queues, _packets: seen.append(len(done)),
        call_soon=steps.append,
        written=done.append,
    )
    it.add("event", ["a", "b"])
    assert done == []
    it.flush()
    assert seen == [0]
    assert done == [["event"]]


def test_round_trip_is_from_the_ping_to_the_answer() -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(10, 20, clock=clock.monotonic, call_later=clock.call_later)
    target = Pinged()
    heartbeat.schedule(target)
    clock.advance(10)
    clock.advance(0.3)
    heartbeat.schedule(target)
    counts = heartbeat.round_trip.counts()
    assert sum(counts.counts) == 1
    assert 0.29 < counts.total < 0.4


def test_answer_without_a_ping_has_no_round_trip() -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(10, 20, clock=clock.monotonic, call_later=clock.call_later)
    target = Pinged()
    heartbeat.schedule(target)
    heartbeat.schedule(target)
    assert sum(heartbeat.round_trip.counts().counts) == 0
