"""The subscription of a client as the contract defines it, without any code of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Subscription:
    """Regions and properties; `regions` None stands for all events."""

    regions: frozenset[str] | None = None
    properties: frozenset[str] = frozenset()

    @classmethod
    def of_handshake(cls, auth: Mapping[str, Any]) -> Subscription:
        """Return the subscription of a client that connects with `auth`."""
        regions, properties = auth.get("regions") or (), auth.get("properties") or ()
        if not regions and not properties:
            return cls()
        return cls(frozenset(regions), frozenset(properties))

    @classmethod
    def of_ack(cls, ack: Mapping[str, Any]) -> Subscription:
        """Return the subscription that is in force after a request with this `ack`."""
        if ack["regions"] is None:
            return cls()
        return cls(frozenset(ack["regions"]), frozenset(ack["properties"]))

    def includes(self, key: str, regions: Iterable[str] | None) -> bool | None:
        """Return whether a property in `regions` is included.

        None: undecided, because the property's regions are unknown (None).
        """
        if self.regions is None or key in self.properties:
            return True
        if not self.regions:
            return False
        return None if regions is None else not self.regions.isdisjoint(regions)
