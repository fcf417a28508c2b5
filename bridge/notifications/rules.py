"""Rules for the changes that are notified, and the text of notifications. No I/O.

| kind | when | important |
|---|---|---|
| `status-changed` | `status` changes, in a transition of the rules | to `pending` or `sold` |
| `price-dropped` | `price` falls by at least the rules' percentage | by twice that, or more |
| `price-raised` | `price` rises by at least as much | never |
| `new-listing` | a property is created in a region or moves into it | never |

One change makes one notification: if status and price change together, the kind is that of the
status, and `changes` has both columns. The rules apply to the public event, so a column that is not
public neither triggers a notification nor appears in one.

Title and body are plain text of limited length, not HTML: names are as in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.contract.events import FieldChange, PropertyNotification, PropertyNotificationData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.changes import Json, Key, Record
    from bridge.contract.events import NotificationKind, Severity

ANY: Final = "*"

IMPORTANT_STATUS: Final = frozenset({"pending", "sold"})
IMPORTANT_TIMES: Final = 2
"""A price that drops by this many times the percentage is important."""

NAME_CHARACTERS: Final = 80
TITLE_CHARACTERS: Final = 120
BODY_CHARACTERS: Final = 300
TEN_PERCENT: Final = 10


@dataclass(frozen=True, slots=True)
class NotificationRules:
    """`statuses`: pairs of old and new status, `*` for any. `price_percent`: least move of a price,
    in percent of the old one; 0: no price move is notified. `new_listings`: whether new listings
    are notified.
    """

    statuses: tuple[tuple[str, str], ...] = ((ANY, ANY),)
    price_percent: float = 5.0
    new_listings: bool = True


@dataclass(frozen=True, slots=True)
class Notification:
    """The content of a notification, without its recipients."""

    kind: NotificationKind
    severity: Severity
    title: str
    body: str
    changes: Mapping[str, Json]

    def envelope(self, key: Key, created_at: str) -> bytes:
        """Return the encoded envelope. `created_at`: RFC 3339, time of the notification."""
        data = PropertyNotificationData.model_construct(
            property_id=key,
            kind=self.kind,
            severity=self.severity,
            title=self.title,
            body=self.body,
            changes={
                column: FieldChange.model_construct(old=change["old"], new=change["new"])
                for column, change in self.changes.items()
            },
            created_at=created_at,
        )
        return (
            PropertyNotification.model_construct(event="property-notification", data=data)
            .model_dump_json(warnings=False)
            .encode()
        )


def of_update(
    rules: NotificationRules, changes: Mapping[str, Any], row: Record
) -> Notification | None:
    """Return the notification of an update; None: it is not notified.

    `changes` as in `property-updated`; `row`: the public columns after it, as far as known.
    """
    status = _status(rules, changes.get("status"))
    price = _price(rules, changes.get("price"))
    if status is None and price is None:
        return None
    notified = {
        column: changes[column]
        for column, notice in (("status", status), ("price", price))
        if notice is not None
    }
    first = status or price
    assert first is not None, "one of them is there"
    severities = [part.severity for part in (status, price) if part is not None]
    return Notification(
        first.kind,
        "important" if "important" in severities else "info",
        _clip(f"{first.before}{_name(row)}{first.after}", TITLE_CHARACTERS),
        _clip(" ".join(part.body for part in (status, price) if part is not None), BODY_CHARACTERS),
        notified,
    )


def of_new(rules: NotificationRules, row: Record) -> Notification | None:
    """Return the notification of a property that is new in a region; None: it is not notified.

    `row`: its public columns.
    """
    if not rules.new_listings:
        return None
    place = ", ".join(
        _clip(str(row[column]), NAME_CHARACTERS) for column in ("city", "state") if row.get(column)
    )
    parts = [f"{_number(row['units'])} units"] if _is_number(row.get("units")) else []
    if _is_number(row.get("price")):
        parts.append(f"price {_number(row['price'])}")
    body = f"In {place}. " if place else ""
    body += f"{', '.join(parts)}." if parts else ""
    return Notification(
        "new-listing",
        "info",
        _clip(f"New listing: {_name(row)}", TITLE_CHARACTERS),
        _clip(body[:1].upper() + body[1:] or "A new listing.", BODY_CHARACTERS),
        {},
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of one column. The title is the property's name with text `before` or `after` it."""

    kind: NotificationKind
    severity: Severity
    body: str
    before: str = ""
    after: str = ""


def _status(rules: NotificationRules, change: Any) -> _Part | None:
    if change is None:
        return None
    old, new = change["old"], change["new"]
    if not any(_fits(old, a) and _fits(new, b) for a, b in rules.statuses):
        return None
    important = isinstance(new, str) and new.lower() in IMPORTANT_STATUS
    return _Part(
        "status-changed",
        "important" if important else "info",
        f"Status changed from {_status_word(old)} to {_status_word(new)}.",
        after=f" is now {_status_word(new)}",
    )


def _price(rules: NotificationRules, change: Any) -> _Part | None:
    if change is None or not rules.price_percent:
        return None
    old, new = change["old"], change["new"]
    if not (_is_number(old) and _is_number(new) and old):
        return None
    moved, threshold = abs(new - old) * 100, rules.price_percent * abs(old)
    if moved < threshold:
        return None
    percent = _percent(moved / abs(old))
    if new > old:
        body = f"Price {_number(new)}, up {percent} from {_number(old)}."
        return _Part("price-raised", "info", body, before="Price up: ")
    return _Part(
        "price-dropped",
        "important" if moved >= IMPORTANT_TIMES * threshold else "info",
        f"Price {_number(new)}, down {percent} from {_number(old)}.",
        before="Price drop: ",
    )


def _fits(status: Json, wanted: str) -> bool:
    return wanted in (ANY, status)


def _status_word(status: Json) -> str:
    return "unknown" if status is None else _clip(str(status), NAME_CHARACTERS)


def _name(row: Record) -> str:
    name = row.get("name")
    return _clip(name, NAME_CHARACTERS) if isinstance(name, str) and name.strip() else "A property"


def _is_number(value: Json) -> bool:
    return type(value) in (int, float)


def _number(value: float) -> str:
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}" if isinstance(value, float) else f"{value:,}"
    return f"{value:,.2f}"


def _percent(percent: float) -> str:
    if percent >= TEN_PERCENT:
        return f"{percent:,.0f}%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def _clip(text: str, characters: int) -> str:
    """Return `text` as one line of at most `characters`."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"
