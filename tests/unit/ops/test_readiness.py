from __future__ import annotations

from typing import Any

import pytest

from bridge.ops.readiness import READY, evaluate, live_at
from bridge.source.base import SourceState, SourceStatus

LIVE = SourceStatus(SourceState.LIVE, since=90.0, last_activity_at=99.0)
DOWN = SourceStatus(SourceState.DOWN, since=98.0, last_activity_at=80.0, error="HTTP 503")


def judge(
    status: SourceStatus,
    *,
    reconciled: bool = True,
    live_at: float | None = 100.0,
    now: float = 100.0,
    log_error: str | None = None,
    **causes: Any,
) -> str | None:
    out = evaluate(
        status,
        reconciled=reconciled,
        live_at=live_at,
        now=now,
        stale_after=30,
        log_error=log_error,
        **causes,
    )
    assert out.ready is (out.reason is None)
    return out.reason


def test_bridge_with_a_live_source_and_a_scanned_table_is_ready() -> None:
    assert judge(LIVE) is None
    assert READY.body() == {"ready": True}


def test_source_that_was_never_live_is_not_ready() -> None:
    joining = SourceStatus(SourceState.JOINED, since=98.0)
    reason = judge(joining, live_at=None)
    assert reason == "the source has not been live yet: joined for 2 s"


def test_table_without_a_first_scan_is_not_ready() -> None:
    assert judge(LIVE, reconciled=False) == "the first scan of the table is not done"


@pytest.mark.parametrize("state", [SourceState.DOWN, SourceState.CONNECTING, SourceState.JOINED])
def test_short_outage_is_ready(state: SourceState) -> None:
    assert judge(SourceStatus(state, since=99.0), live_at=70.0) is None


@pytest.mark.parametrize("state", [SourceState.DOWN, SourceState.CONNECTING, SourceState.JOINED])
def test_long_outage_is_not_ready_after_a_recent_attempt(state: SourceState) -> None:
    status = SourceStatus(state, since=99.9, error="HTTP 503")
    reason = judge(status, live_at=69.9)
    assert reason is not None
    assert reason.startswith("the source was last live 30 s ago, more than 30 s")
    assert reason.endswith("(HTTP 503)")


def test_bridge_is_ready_again_after_the_outage() -> None:
    assert judge(DOWN, live_at=10.0) is not None
    assert judge(LIVE, live_at=10.0) is None


@pytest.mark.parametrize(
    ("live_at", "log_error", "short"),
    [
        (None, None, "the source has not been live yet"),
        (10.0, None, "the source is not live"),
        (10.0, "disk full in /data", "the log can't be written"),
    ],
)
def test_public_body_has_the_reason_without_errors_and_times(
    live_at: float | None, log_error: str | None, short: str
) -> None:
    out = evaluate(
        DOWN, reconciled=True, live_at=live_at, now=100.0, stale_after=30, log_error=log_error
    )
    assert out.body() == {"ready": False, "reason": short}


def test_live_source_is_live_now() -> None:
    assert live_at(LIVE, before=None, now=100.0) == 100.0


@pytest.mark.parametrize(
    ("before", "proof_at", "expected"),
    [(None, None, None), (70.0, None, 70.0), (None, 80.0, 80.0), (90.0, 80.0, 90.0)],
)
def test_source_that_is_down_was_live_at_its_last_activity(
    before: float | None, proof_at: float | None, expected: float | None
) -> None:
    status = SourceStatus(SourceState.DOWN, since=98.0, last_activity_at=proof_at)
    assert live_at(status, before=before, now=100.0) == expected


def test_log_unwritable_for_a_short_time_is_ready() -> None:
    assert judge(LIVE, live_at=71.0, log_error="disk full") is None


def test_log_unwritable_for_long_is_not_ready_with_a_reason() -> None:
    assert judge(LIVE, live_at=69.0, log_error="disk full") == (
        "for 31 s, more than 30 s: disk full"
    )


def test_live_source_does_not_count_while_the_log_is_unwritable() -> None:
    assert live_at(LIVE, before=50.0, now=100.0, log_error="disk full") == 50.0
    assert live_at(LIVE, before=50.0, now=100.0) == 100.0


TABLE: dict[str, Any] = {"table_error": "42703 column does not exist"}


def test_table_unreadable_for_long_is_not_ready_with_the_cause() -> None:
    assert judge(LIVE, unreadable_since=69.0, **TABLE) == (
        "the table can't be read for 31 s, more than 30 s: 42703 column does not exist"
    )


def test_table_unreadable_for_a_short_time_is_ready() -> None:
    assert judge(LIVE, unreadable_since=71.0, **TABLE) is None


def test_live_source_without_a_sign_of_life_for_long_is_not_ready_with_the_cause() -> None:
    silent = SourceStatus(
        SourceState.LIVE, since=10.0, last_activity_at=69.0, error="connection refused"
    )
    assert judge(silent) == (
        "the source shows no sign of life for 31 s, more than 30 s: connection refused"
    )


def test_live_source_with_a_recent_sign_of_life_is_ready() -> None:
    assert judge(SourceStatus(SourceState.LIVE, since=10.0, last_activity_at=71.0)) is None


def test_log_is_named_before_the_table_and_the_source() -> None:
    silent = SourceStatus(SourceState.LIVE, since=10.0, last_activity_at=60.0)
    reason = judge(
        silent, log_error="disk full", log_error_since=50.0, unreadable_since=55.0, **TABLE
    )
    assert reason == "for 50 s, more than 30 s: disk full"


def test_table_is_named_before_the_source() -> None:
    silent = SourceStatus(SourceState.LIVE, since=10.0, last_activity_at=50.0)
    reason = judge(silent, unreadable_since=60.0, **TABLE)
    assert reason is not None
    assert reason.startswith("the table can't be read")


def test_table_is_named_before_a_silence_that_began_with_the_look_before() -> None:
    silent = SourceStatus(SourceState.LIVE, since=10.0, last_activity_at=69.0)
    assert judge(silent, unreadable_since=73.0, **TABLE) == (
        "the table can't be read: 42703 column does not exist; "
        "the source shows no sign of life for 31 s, more than 30 s"
    )


def test_silence_is_named_before_a_table_that_has_only_just_failed() -> None:
    silent = SourceStatus(SourceState.LIVE, since=10.0, last_activity_at=69.0)
    reason = judge(silent, unreadable_since=99.0, **TABLE)
    assert reason is not None
    assert reason.startswith("the source shows no sign of life")


@pytest.mark.parametrize(
    ("causes", "reason"),
    [
        ({"log_error": "disk full"}, "the log can't be written: disk full"),
        (
            {"unreadable_since": 99.0, **TABLE},
            "the table can't be read: 42703 column does not exist",
        ),
    ],
)
@pytest.mark.parametrize(("live_at", "reconciled"), [(None, False), (100.0, False)])
def test_root_is_named_before_the_source_and_the_first_scan(
    causes: dict[str, Any], reason: str, live_at: float | None, *, reconciled: bool
) -> None:
    joining = SourceStatus(SourceState.JOINED, since=98.0)
    assert judge(joining, live_at=live_at, reconciled=reconciled, **causes) == reason


def test_unwritable_log_is_not_ready_from_its_first_failure_on_not_from_the_last_look() -> None:
    assert judge(LIVE, live_at=10.0, log_error="disk full", log_error_since=71.0) is None


def test_source_that_fails_is_described_from_its_first_failure_on() -> None:
    retrying = SourceStatus(SourceState.CONNECTING, since=99.0, failing_since=40.0)
    reason = judge(retrying, live_at=None)
    assert reason == "the source has not been live yet: connecting for 60 s"
