"""The judge of the fault tests does not let wrong stories pass."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from tests.fakes import AT, row
from tests.integration.story import MARK, Client, Truth, Verdict, judge

PROJECTION = Projection()


class Story:
    """One property whose price was 1, 2 and 3, and a client who starts at 1."""

    def __init__(self) -> None:
        self.client = Client(PROJECTION)
        self.truth = Truth(PROJECTION)
        self.truth.begin([self.row(1)])
        for price in (2, 3):
            self.truth.commit(self.row(price))
        self.client.begin({"p1": self.row(1)})

    def row(self, price: int | None, **columns: Any) -> dict[str, Any]:
        return row("p1", price=price, **columns)

    def tell(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        [event] = diff.events_between(PROJECTION, "p1", old, new, AT)
        self.client.hear([Entry(Position("test", 1), event, 0.0)])

    def step(self, old: int, new: int) -> None:
        self.tell(self.row(old), self.row(new))

    def verdict(self) -> Verdict:
        return judge(self.truth, self.client)


def test_the_whole_story_is_good() -> None:
    story = Story()
    story.step(1, 2)
    story.step(2, 3)
    assert story.verdict().good


def test_a_story_without_its_middle_is_good() -> None:
    story = Story()
    story.step(1, 3)
    assert story.verdict().good


def test_a_story_without_its_end_is_lost() -> None:
    story = Story()
    story.step(1, 2)
    assert story.verdict().lost == 1


def test_going_back_is_out_of_order() -> None:
    story = Story()
    for step in ((1, 3), (3, 2), (2, 3)):
        story.step(*step)
    assert story.verdict().disordered == 1
    assert story.verdict().repeated == 1


def test_telling_twice_is_a_repetition_and_a_wrong_old_value() -> None:
    story = Story()
    story.step(1, 3)
    story.step(1, 3)
    assert story.verdict().repeated == 1
    assert story.verdict().complaints == ["p1: price was not 1"]


def test_what_never_was_is_invented() -> None:
    story = Story()
    story.step(1, 99)
    assert story.verdict().invented == 1


def test_values_of_different_times_are_a_blend() -> None:
    story = Story()
    story.truth.commit(story.row(4, name="Renamed"))
    story.tell(story.row(1), story.row(4))
    story.tell(story.row(4), story.row(4, name="Renamed"))
    assert story.verdict() == Verdict(blended=1)


def test_created_twice_deleted_twice_and_updated_when_gone_are_noticed() -> None:
    story = Story()
    story.tell(None, story.row(1))
    story.tell(story.row(1), None)
    story.tell(story.row(1), None)
    story.step(1, 2)
    assert story.client.complaints == [
        "p1: created, and was known",
        "p1: deleted, and was not known",
        "p1: updated, and was not known",
    ]


@pytest.mark.parametrize("published", [("internal_notes",), ("name", "internal_notes")])
def test_an_unpublished_value_is_noticed(published: tuple[str, ...]) -> None:
    story = Story()
    leaky = Projection(published=published)
    event = diff.created(leaky, "p2", row("p2", internal_notes=f"{MARK} 1"))
    story.client.hear([Entry(Position("test", 1), event, 0.0)])
    assert "p2: an unpublished value came" in story.client.complaints
    assert any("too many ['internal_notes']" in said for said in story.client.complaints)


def test_a_move_is_told_as_one() -> None:
    story = Story()
    story.truth.commit(story.row(4, state="CA"))
    story.tell(story.row(1), story.row(4, state="CA"))
    assert story.verdict().good
