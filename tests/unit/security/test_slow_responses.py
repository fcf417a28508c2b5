"""The bound on responses whose clients read slowly."""

from __future__ import annotations

from bridge.security.slow_responses import SlowResponse, SlowResponses


class Responses:
    def __init__(self, per_key: int, total: int) -> None:
        self.slow = SlowResponses(per_key, total)
        self.aborted: list[str] = []

    def add(self, name: str, key: str | None) -> SlowResponse:
        response = SlowResponse(key, lambda: self.aborted.append(name))
        self.slow.add(response)
        return response


def test_response_within_the_bounds_is_not_aborted() -> None:
    responses = Responses(2, 3)
    for name, key in (("a", "x"), ("b", "x"), ("c", "y")):
        responses.add(name, key)
    assert (responses.aborted, len(responses.slow)) == ([], 3)


def test_oldest_response_of_a_key_beyond_its_bound_is_aborted() -> None:
    responses = Responses(2, 9)
    for name, key in (("other", "y"), ("a", "x"), ("b", "x"), ("c", "x")):
        responses.add(name, key)
    assert responses.aborted == ["a"]


def test_response_whose_client_reads_is_aborted_last() -> None:
    responses = Responses(9, 2)
    reading = responses.add("reading", "x")
    responses.add("stalled", "y")
    responses.slow.progress(reading)
    responses.add("c", "z")
    assert responses.aborted == ["stalled"]


def test_response_without_a_key_counts_towards_the_total_only() -> None:
    responses = Responses(1, 2)
    for name in ("a", "b", "c"):
        responses.add(name, None)
    assert responses.aborted == ["a"]


def test_removed_response_is_not_aborted() -> None:
    responses = Responses(1, 1)
    removed = responses.add("a", "x")
    responses.slow.remove(removed)
    responses.slow.remove(removed)
    responses.slow.progress(removed)
    responses.add("b", "x")
    assert (responses.aborted, len(responses.slow)) == ([], 1)
