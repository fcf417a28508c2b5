"""The settings, clients, writes and faults of a run, drawn from its seed."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.settings import Settings
from tests.chaos.client_spec import ClientSpec, random_specs
from tests.chaos.faults import FAULTS, names
from tests.support.workload import KEYS, Workload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WRITERS: Final = 2
COLUMNS: Final = (
    "name,city,state,price,units,latitude,longitude,created_at,address,status,amenities,tags"
)
SHORT_WAITS: Final[dict[str, Any]] = {
    "watch_interval": 1,
    "watch_grace": 1,
    "sweep_interval": 3,
    "settle": 1,
    "join_timeout": 4,
}
"""Shorter waits than by default, for more faults in less time; with shorter ones of Realtime."""


@dataclass(frozen=True, slots=True)
class Injection:
    """`at`: seconds after the start of the round. `seconds`: duration, of a fault that lasts."""

    at: float
    name: str
    seconds: float
    rng: random.Random


class Plan:
    """Everything is derived from `seed`. `only`: names of the faults to inject; empty: all.
    `machines`: whether several machines run.
    """

    def __init__(
        self, seed: int, clients: int, only: Collection[str] = (), *, machines: bool = False
    ) -> None:
        self._seed = seed
        self._names = [name for name in names(machines=machines) if not only or name in only]
        self._weights = [FAULTS[name].weight for name in self._names]
        rng = self._rng("keys")
        self.keys = [uuid.UUID(int=rng.getrandbits(128), version=4) for _ in range(KEYS)]
        self.specs: list[ClientSpec] = random_specs(
            self._rng("roles"), clients, list(map(str, self.keys))
        )
        self.settings = self._settings()

    def workloads(self) -> list[Workload]:
        """Return one workload per writer."""
        return [
            Workload(self._rng(f"writes {n}"), self.keys, f"{chr(ord('a') + n)}-")
            for n in range(WRITERS)
        ]

    def injections(self, number: int, round_seconds: float, pause: float) -> Iterator[Injection]:
        """Yield the faults of a round, one per `pause` seconds on average; all end within it."""
        rng = self._rng(f"round {number}")
        at = rng.expovariate(1 / pause)
        while at < round_seconds:
            (name,) = rng.choices(self._names, self._weights)
            seconds = min(rng.uniform(0.2, 4), round_seconds - at)
            yield Injection(at, name, seconds, random.Random(rng.getrandbits(64)))
            at += rng.expovariate(1 / pause)

    def _settings(self) -> dict[str, Any]:
        """Return limits of the bridge, some of them low."""
        rng = self._rng("settings")
        settings = {
            "columns": COLUMNS,
            "region": "state,city",
            "page_rows": rng.choice((1000, 7)),
            "snapshot_bytes": rng.choice((262_144, 4096)),
            "recovery_seconds": rng.choice((120, 120, 6)),
            "recovery_events": rng.choice((20_000, 20_000, 60)),
            "log_events": rng.choice((100_000, 100_000, 400)),
            "queue_changes": rng.choice((20_000, 20_000, 30)),
            "batch_seconds": rng.choice((0.05, 0.4)),
            "client_bytes": rng.choice((1_048_576, 65_536)),
        }
        if rng.random() < 0.5 and "pass_rows" in Settings.model_fields:
            settings["pass_rows"] = 0  # scan in steps, however small the table is
        return settings

    def _rng(self, purpose: str) -> random.Random:
        return random.Random(f"{self._seed} {purpose}")
