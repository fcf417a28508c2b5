"""Examples of all messages of the wire contract, with the columns that a bridge publishes.

Property events are made by the pipeline's own functions, the others are literals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.contract.events import CONTRACT_VERSION
from bridge.notifications.rules import NotificationRules, of_update
from bridge.pipeline.diff import events_between
from bridge.rooms import regions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.changes import Json
    from bridge.projection import Projection

Examples = dict[str, list[Any]]
"""Payloads by the name of their message, the most typical one first."""

KEY: Final = "5b0c9a3e-2f6d-4c61-9f0e-7a1d2b3c4d5e"
POSITION: Final = "9f3c2ab1-42"
CREATED_AT: Final = "2026-02-01T09:30:00Z"
CHANGED_AT: Final = "2026-02-03T16:05:12.481Z"

COLUMNS: Final[Mapping[str, Json]] = {
    "name": "Lakeside Lofts",
    "address": "1100 Lake St",
    "city": "Austin",
    "state": "TX",
    "price": 1_250_000,
    "units": 24,
    "latitude": 30.2672,
    "longitude": -97.7431,
    "status": "active",
    "created_at": CREATED_AT,
}
LATER: Final[Mapping[str, Json]] = {"price": 1_195_000, "status": "pending"}
ELSEWHERE: Final[Mapping[str, Json]] = {"city": "San Diego", "state": "CA"}


def examples(projection: Projection) -> Examples:
    """Return examples of every event, request and ack, in the public view."""
    projection = replace(projection, member=())
    row: dict[str, Json] = {c: COLUMNS.get(c, f"some {c}") for c in projection.known}
    if projection.updated_at:
        row[projection.updated_at] = CREATED_AT
    columns = [c for c in projection.diffed if c not in projection.region]
    later = [c for c in columns if c in LATER] or columns[:1]
    changed = _written(projection, row, {c: LATER.get(c, f"another {c}") for c in later})
    regions = {c: value for c, value in ELSEWHERE.items() if c in row}
    regions |= {c: f"another {c}" for c in projection.region if c not in regions}
    elsewhere = _written(projection, changed, regions)
    created = _envelopes(projection, None, row)
    updated = _envelopes(projection, row, changed)
    moved = _envelopes(projection, changed, elsewhere)
    deleted = _envelopes(projection, elsewhere, None)
    region = regions_of(row, projection.region)[0]
    known = created[0]["data"]
    changes = updated[0]["data"]["changes"] if updated else {}
    refusal = {
        "code": "bad_request",
        "message": "expected a list of regions, got a string",
    }
    subscribed = {"ok": True, "regions": [region], "properties": []}
    return {
        "property-created": created,
        "property-updated": [*updated, *moved],
        "property-deleted": deleted,
        "properties-batch": [
            {"event": "properties-batch", "data": {"events": [*updated, *deleted]}}
        ],
        "bridge-status": [
            {
                "event": "bridge-status",
                "data": {"state": "live", "since": CREATED_AT, "contract": CONTRACT_VERSION},
            }
        ],
        "auth-status": [
            {
                "event": "auth-status",
                "data": {
                    "state": "expiring",
                    "expires_at": CHANGED_AT,
                    "regions": [region],
                    "properties": [],
                },
            }
        ],
        "property-notification": _notifications(changed, changes),
        "connect": [{"token": "<access token>", "regions": [region], "batch": True}],
        "connect-error": [{"message": refusal["message"], "data": refusal}],
        "refused": [{"ok": False, "error": refusal}],
        "subscribe": [
            {"regions": [region], "snapshot": True},
            {"properties": [KEY]},
        ],
        "subscribed": [
            {**subscribed, "offset": POSITION, "snapshot": [known]},
            {"ok": True, "regions": [region], "properties": [KEY]},
        ],
        "unsubscribe": [{"properties": [KEY]}],
        "unsubscribed": [subscribed],
        "authenticate": [{"token": "<fresh access token>"}],
        "authenticated": [{"ok": True, "expires_at": CHANGED_AT}],
        "properties": [{}],
        "rows": [[known]],
        "regions": [{}],
        "region-counts": [[{"region": region, "count": 60}]],
    }


def _notifications(row: Mapping[str, Json], changes: Mapping[str, Json]) -> list[Any]:
    """Return the notification of an update to a user with a watch of the property."""
    notice = of_update(NotificationRules(), changes, row)
    return [] if notice is None else [orjson.loads(notice.envelope(KEY, CHANGED_AT))]


def _written(
    projection: Projection, row: Mapping[str, Json], values: Mapping[str, Json]
) -> dict[str, Json]:
    """Return the row after a write of these columns."""
    after = {**row, **values}
    if projection.updated_at:
        after[projection.updated_at] = CHANGED_AT
    return after


def _envelopes(
    projection: Projection, old: dict[str, Json] | None, new: dict[str, Json] | None
) -> list[dict[str, Any]]:
    """Return the emitted envelopes of a change; none if no published column changed."""
    return [
        orjson.loads(each.envelope)
        for each in events_between(projection, KEY, old, new, CHANGED_AT)
    ]
