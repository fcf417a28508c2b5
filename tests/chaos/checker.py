"""Compares what clients heard with what was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.truth import Place
from tests.chaos.violation import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.story import Story, Telling
    from tests.chaos.truth import Truth
    from tests.chaos.world import World

SHOWN = 5
"""States of a property around the place in question that are shown with a violation."""


class Checker:
    """`judge` when all is quiet, as often as it is; what was judged is forgotten."""

    def __init__(self, truth: Truth, world: World) -> None:
        self.truth = truth
        self.world = world
        self.blended = 0
        """States that were told with a large value of before, which is documented."""
        self._at: dict[tuple[str, str], int] = {}
        self._blends: set[tuple[str, str]] = set()

    def judge(self, stories: Sequence[Story]) -> list[Violation]:
        """All that was found since it was asked last, with what happened around it."""
        found: list[Violation] = []
        replayed = list(self.world.replay())
        for story in stories:
            found += story.violations
            story.violations.clear()
            fresh = [v for telling in story.tellings for v in self._judge(story.name, telling)]
            story.tellings.clear()
            fresh += self._owed(story)
            found += [_with_context(v, story, self._states(v)) for v in fresh]
        for violation in replayed:
            found.append(_with_context(violation, stories[0], self._states(violation)))
        self.world.forget()
        return sorted(found, key=lambda violation: violation.at)

    def unconverged(self, stories: Sequence[Story], at: float) -> list[Violation]:
        """What each client holds has to be the table as it is now."""
        found = []
        for story in stories:
            if not story.connected:
                found.append(Violation(Kind.UNCONVERGED, story.name, "is not connected", at))
            elif story.snapshots and not story.whole:
                found.append(Violation(Kind.UNCONVERGED, story.name, "has no whole snapshot", at))
            for key, what in story.differs(self.truth.now):
                violation = Violation(Kind.UNCONVERGED, story.name, what, at, key)
                found.append(_with_context(violation, story, self._states(violation)))
        return found

    def _judge(self, client: str, telling: Telling) -> Iterator[Violation]:
        whose = (client, telling.key)
        before = self._at.get(whose, -1)
        again = telling.fresh or whose in self._blends
        place, at = self.truth.place(telling.key, telling.state, before, again=again)
        self._at[whose] = at
        kind, what = Kind.REPEATED, "was told before"
        match place:
            case Place.LATER:
                self._blends.discard(whose)
                return
            case Place.BLENDED:
                self._blends.add(whose)
                self.blended += 1
                return
            case Place.SAME if again:
                self._blends.discard(whose)
                return
            case Place.EARLIER:
                kind, what = Kind.DISORDERED, "is of before what was told last"
            case Place.NOWHERE:
                kind, what = Kind.INVENTED, "never was"
        told = f"{'snapshot' if telling.fresh else 'state'} {telling.state} {what} (place {before})"
        yield Violation(kind, client, told, telling.at, telling.key)

    def _owed(self, story: Story) -> Iterator[Violation]:
        if story.batches:
            return  # a batch has one position for all that is in it; its states tell
        position = story.position
        history = None if position is None else self.world.histories.get(position.epoch)
        if position is None or history is None:
            return
        for span in story.spans.take(position.epoch, history.replayed or 0):
            yield from self.world.owed(story.name, span)

    def _states(self, violation: Violation) -> tuple[str, ...]:
        past = self.truth.past.get(violation.key, [])
        lines = [f"truth {n}: {str(row)[:400]}" for n, row in enumerate(past)]
        return tuple(lines[-SHOWN:])


def _with_context(violation: Violation, story: Story, states: Sequence[str]) -> Violation:
    return Violation(
        violation.kind,
        violation.client,
        violation.what,
        violation.at,
        violation.key,
        (*story.facts.around(violation.key, violation.at), *states),
    )
