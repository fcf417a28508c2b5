"""UPDATEs that leave `updated_at` where it was are counted, and logged once with the trigger."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bridge.changes import Change, Op
from bridge.pipeline.updated_at_check import UpdatedAtCheck
from bridge.projection import Projection
from bridge.rows import RowStore
from tests.fakes import row

PROJECTION = Projection()
WRITTEN = "2026-01-05T09:00:00Z"
LATER = "2026-01-05T10:00:00Z"


def checked(*changes: Change, known: dict[str, Any]) -> UpdatedAtCheck:
    rows = RowStore(PROJECTION.known)
    check = UpdatedAtCheck(PROJECTION, rows)
    for change in changes:
        check.check(change, rows.encode(known))
    return check


def update(committed_at: str = LATER, **columns: Any) -> Change:
    record = {name: value for name, value in row("p1", **columns).items() if name != "id"}
    return Change(Op.UPDATE, "p1", record, committed_at)


@pytest.mark.parametrize("at", [WRITTEN, None])
def test_update_that_leaves_updated_at_is_counted(at: str | None) -> None:
    known = row("p1", price=1, updated_at=at)
    assert checked(update(price=2, updated_at=at), known=known).unchanged == 1


@pytest.mark.parametrize(
    "change",
    [
        update(price=2, updated_at=LATER),
        update(price=1, updated_at=WRITTEN),  # delivered twice
        update("2026-01-05T09:00:30Z", price=2, updated_at=WRITTEN),  # of the same transaction
        Change(Op.DELETE, "p1", {}, LATER),
    ],
)
def test_other_change_is_not_counted(change: Change) -> None:
    assert checked(change, known=row("p1", price=1, updated_at=WRITTEN)).unchanged == 0


def test_first_one_is_logged_with_the_sql_of_the_trigger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = row("p1", price=1, updated_at=WRITTEN)
    with caplog.at_level(logging.WARNING):
        checked(*[update(price=2, updated_at=WRITTEN)] * 3, known=known)
    [record] = caplog.records
    assert "create trigger" in record.getMessage()
    assert 'on "public"."properties"' in record.getMessage()
