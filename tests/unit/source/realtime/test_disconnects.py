"""Classification of disconnects, and the delay before the next attempt."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from tenacity import RetryCallState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.http11 import Response

from bridge.source.realtime.disconnects import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    SLOW_SECONDS,
    SubscriptionEnded,
    ended_by,
    retry_delay,
)

SAID: list[tuple[str, str]] = [
    ("InvalidJWTToken: signature", "SUPABASE_SECRET_KEY"),
    ("Unauthorized: You do not have permissions", "secret key"),
    ("PrivateOnly: This project only allows private channels", "public access"),
    ("RealtimeDisabledForTenant: off", "switch it on"),
    ("Token has expired 3 seconds ago", "has expired"),
    ("Unable to subscribe to changes with given parameters. Please check", "publication"),
]


def refused(status: int, body: bytes = b"") -> InvalidStatus:
    return InvalidStatus(Response(status, "", Headers(), body))


def attempt(number: int, error: Exception) -> RetryCallState:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    outcome: Any = Future()
    outcome.set_exception(error)
    state.outcome, state.attempt_number = outcome, number
    return state


@pytest.mark.parametrize(("message", "advice"), SAID)
def test_error_for_an_operator_has_advice(message: str, advice: str) -> None:
    ended = ended_by(Exception(message), "CHANNEL_ERROR")
    assert ended.needs_operator
    assert ended.slow
    assert str(ended).startswith(f"CHANNEL_ERROR: {message}; ")
    assert advice in str(ended).split("; ", 1)[1]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rejected_connection_needs_an_operator(status: int) -> None:
    ended = ended_by(refused(status, b'{"error": "no"}'))
    assert ended.needs_operator
    assert str(ended).startswith(f'HTTP {status} {{"error": "no"}}; ')


@pytest.mark.parametrize(
    "error", [refused(429), Exception("ChannelRateLimitReached: Too many channels")]
)
def test_exhausted_quota_is_slow_and_needs_no_operator(error: Exception) -> None:
    ended = ended_by(error)
    assert ended.slow
    assert not ended.needs_operator


@pytest.mark.parametrize(
    "error",
    [None, refused(503), OSError("no route"), TimeoutError(), Exception("RealtimeRestarting")],
)
def test_temporary_error_is_retried_soon(error: Exception | None) -> None:
    ended = ended_by(error, "CLOSED")
    assert not ended.slow
    assert str(ended).startswith("CLOSED")


def test_reason_never_contains_the_url_with_the_key() -> None:
    ended = ended_by(InvalidURI("ws://host/?apikey=sb_secret_1", "isn't a valid URI"))
    assert "sb_secret_1" not in str(ended)
    assert "SUPABASE_URL" in str(ended)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 10_000])
def test_retry_delay_doubles_with_jitter_up_to_a_bound(number: int) -> None:
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** (min(number, 20) - 1))
    pauses = [retry_delay(attempt(number, SubscriptionEnded("lost"))) for _ in range(50)]
    assert all(bound / 2 <= seconds <= bound for seconds in pauses)
    assert len(set(pauses)) > 1


def test_wrong_credentials_are_retried_slowly_from_the_first_time() -> None:
    assert (
        retry_delay(attempt(1, SubscriptionEnded("HTTP 401", needs_operator=True))) >= SLOW_SECONDS
    )


BINDING = "Unable to subscribe to changes with given parameters. Please check"


def test_pause_after_a_rejected_binding_is_as_long_as_it_has_been_rejected() -> None:
    spent = 0.0
    for number in range(1, 20):
        delay = retry_delay(attempt(number, ended_by(Exception(BINDING))))
        assert delay <= max(FIRST_SECONDS, 2 * spent + FIRST_SECONDS)
        spent += delay
    assert spent > 19 * LONGEST_SECONDS / 4
