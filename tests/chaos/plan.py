"""What happens in a run, drawn from its seed: settings, clients, writes and faults."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.settings import Settings
from tests.chaos.faults import FAULTS
from tests.chaos.role import Role, cast
from tests.chaos.writes import STOCK, Writes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WRITERS: Final = 2
COLUMNS: Final = (
    "name,city,state,price,units,latitude,longitude,created_at,address,status,amenities,tags"
)
HURRIED: Final[dict[str, Any]] = {
    "watch_interval": 1,
    "watch_grace": 1,
    "sweep_interval": 3,
    "settle": 1,
    "join_timeout": 4,
}
"""Shorter waits than the defaults, for more faults in less time; with a hurried Realtime."""


@dataclass(frozen=True, slots=True)
class Injection:
    """`at`: seconds after the round began; `span`: how long it lasts, if it does."""

    at: float
    name: str
    span: float
    dice: random.Random


class Plan:
    """Everything comes from `seed`; `only` names the faults that may happen, all if it is empty."""

    def __init__(self, seed: int, clients: int, only: Collection[str] = ()) -> None:
        self._seed = seed
        self._names = [name for name in FAULTS if not only or name in only]
        self._weights = [FAULTS[name].weight for name in self._names]
        dice = self._dice("keys")
        self.keys = [uuid.UUID(int=dice.getrandbits(128), version=4) for _ in range(STOCK)]
        self.roles: list[Role] = cast(self._dice("roles"), clients, list(map(str, self.keys)))
        self.settings = self._settings()

    def writes(self) -> list[Writes]:
        """One for each writer."""
        return [
            Writes(self._dice(f"writes {n}"), self.keys, f"{chr(ord('a') + n)}-")
            for n in range(WRITERS)
        ]

    def injections(self, number: int, seconds: float, pause: float) -> Iterator[Injection]:
        """The faults of a round: one every `pause` seconds, about; each is over within it."""
        dice = self._dice(f"round {number}")
        at = dice.expovariate(1 / pause)
        while at < seconds:
            (name,) = dice.choices(self._names, self._weights)
            span = min(dice.uniform(0.2, 4), seconds - at)
            yield Injection(at, name, span, random.Random(dice.getrandbits(64)))
            at += dice.expovariate(1 / pause)

    def _settings(self) -> dict[str, Any]:
        """Bounds of the bridge, some of them tight."""
        dice = self._dice("settings")
        settings = {
            "columns": COLUMNS,
            "region": "state,city",
            "page_rows": dice.choice((1000, 7)),
            "snapshot_bytes": dice.choice((262_144, 4096)),
            "recovery_seconds": dice.choice((120, 120, 6)),
            "recovery_events": dice.choice((20_000, 20_000, 60)),
            "log_events": dice.choice((100_000, 100_000, 400)),
            "queue_changes": dice.choice((20_000, 20_000, 30)),
            "batch_seconds": dice.choice((0.05, 0.4)),
            "client_bytes": dice.choice((1_048_576, 65_536)),
        }
        if dice.random() < 0.5 and "pass_rows" in Settings.model_fields:
            settings["pass_rows"] = 0  # every pass in portions, however small the table is
        return settings

    def _dice(self, what: str) -> random.Random:
        return random.Random(f"{self._seed} {what}")
