"""Encodes and decodes Phoenix channel frames. No I/O.

Version 1.0.0 of the serializer uses an object, without `join_ref` in the server's frames; version
2.0.0 uses an array of five. Keys are in the order of the real server.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class PhoenixVersion(StrEnum):
    """Version of the serializer, the `vsn` of the connection."""

    V1 = "1.0.0"
    V2 = "2.0.0"


class UnreadableFrameError(ValueError):
    """An inbound frame is not a Phoenix message."""


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A decoded frame of a client."""

    topic: str
    event: str
    payload: Any
    ref: str | None
    join_ref: str | None


def dumps(value: Any) -> str:
    """Return compact JSON."""
    return orjson.dumps(value).decode()


def decode(text: str, version: PhoenixVersion) -> InboundMessage:
    """Return the message in `text`. Raises `UnreadableFrameError`."""
    try:
        raw = orjson.loads(text)
        if version is PhoenixVersion.V2:
            join_ref, ref, topic, event, payload = raw
        else:
            topic, event, payload = raw["topic"], raw["event"], raw.get("payload")
            ref, join_ref = raw.get("ref"), raw.get("join_ref")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableFrameError(
            f"expected a Phoenix {version} message, got {error!r}"
        ) from error
    if not isinstance(topic, str) or not isinstance(event, str):
        raise UnreadableFrameError("expected topic and event to be strings")
    return InboundMessage(topic, event, payload, ref, join_ref)


def frame(
    version: PhoenixVersion,
    topic: str,
    event: str,
    payload: str,
    *,
    ref: str | None = None,
    join_ref: str | None = None,
) -> str:
    """Return a frame with `payload`, which is JSON text already."""
    if version is PhoenixVersion.V2:
        head = f"{dumps(join_ref)},{dumps(ref)},{dumps(topic)},{dumps(event)}"
        return f"[{head},{payload}]"
    return (
        f'{{"event":{dumps(event)},"payload":{payload},"ref":{dumps(ref)},"topic":{dumps(topic)}}}'
    )


def reply(
    version: PhoenixVersion,
    topic: str,
    response: Any,
    *,
    status: str,
    ref: str | None,
    join_ref: str | None = None,
) -> str:
    """Return a `phx_reply` frame."""
    payload = f'{{"response":{dumps(response)},"status":{dumps(status)}}}'
    return frame(version, topic, "phx_reply", payload, ref=ref, join_ref=join_ref)


def system(
    version: PhoenixVersion,
    topic: str,
    *,
    extension: str,
    message: str,
    status: str,
    join_ref: str | None,
) -> str:
    """Return a `system` frame."""
    payload = dumps(
        {
            "channel": topic.removeprefix("realtime:"),
            "extension": extension,
            "message": message,
            "status": status,
        }
    )
    return frame(version, topic, "system", payload, join_ref=join_ref)


def changes(version: PhoenixVersion, topic: str, data: str, ids: list[int]) -> str:
    """Return a `postgres_changes` frame; `data` is JSON text."""
    payload = f'{{"data":{data},"ids":{dumps(ids)}}}'
    return frame(version, topic, "postgres_changes", payload)
