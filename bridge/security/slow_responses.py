"""A bound on responses whose clients read slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SlowResponse:
    """One response that is being sent."""

    __slots__ = ("abort", "key")

    def __init__(self, key: str | None, abort: Callable[[], None]) -> None:
        self.key = key
        self.abort = abort


class SlowResponses:
    """At most `per_key` responses per key and `total` in total. Beyond it the one is aborted whose
    client has read nothing for the longest time: of the same key, or of all. The key None counts
    towards the total only.
    """

    def __init__(self, per_key: int, total: int) -> None:
        self._per_key = per_key
        self._total = total
        # In the order in which their clients last read something.
        self._responses: dict[SlowResponse, None] = {}

    def __len__(self) -> int:
        return len(self._responses)

    def add(self, response: SlowResponse) -> None:
        """Count a response, and abort another one if there are too many."""
        same = [each for each in self._responses if each.key == response.key is not None]
        self._responses[response] = None
        if len(same) >= self._per_key:
            self._abort(same[0])
        elif len(self._responses) > self._total:
            self._abort(next(iter(self._responses)))

    def progress(self, response: SlowResponse) -> None:
        """Note that the client has read something. Has no effect on one that is not counted."""
        if response in self._responses:
            del self._responses[response]
            self._responses[response] = None

    def remove(self, response: SlowResponse) -> None:
        """Stop counting a response. Idempotent."""
        self._responses.pop(response, None)

    def _abort(self, response: SlowResponse) -> None:
        self.remove(response)
        response.abort()
