"""What a client asked to hear, as the contract reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Subscription:
    """`regions` None: everything."""

    regions: frozenset[str] | None = None
    properties: frozenset[str] = frozenset()

    @classmethod
    def of_handshake(cls, auth: Mapping[str, Any]) -> Subscription:
        """What a client hears that connects with this `auth`."""
        regions, properties = auth.get("regions") or (), auth.get("properties") or ()
        if not regions and not properties:
            return cls()
        return cls(frozenset(regions), frozenset(properties))

    @classmethod
    def of_ack(cls, answer: Mapping[str, Any]) -> Subscription:
        """What an ack says that a client hears now."""
        if answer["regions"] is None:
            return cls()
        return cls(frozenset(answer["regions"]), frozenset(answer["properties"]))

    def hears(self, key: str, regions: Iterable[str] | None) -> bool | None:
        """Whether a property in `regions` is its business; None where that can't be said, because
        the regions are not known (None).
        """
        if self.regions is None or key in self.properties:
            return True
        if not self.regions:
            return False
        return None if regions is None else not self.regions.isdisjoint(regions)
