"""The clients of a run: transport, library, subscription and behaviour, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

REGIONS: Final = ("TX", "TX/Austin", "TX/Dallas", "CA", "CA/San Diego", "NY", "OR", "nowhere")
TRANSPORTS: Final = (("websocket",), ("websocket",), ("polling",), ("polling", "websocket"))
PYTHON_SHARE: Final = 6
"""One client in this many uses python-socketio, the others the JavaScript client."""


@dataclass(frozen=True, slots=True, eq=False)
class ClientSpec:
    """`direct`: connects without a proxy. `resubscribes`: changes its subscription during the run.

    `snapshots`: whether the client requests them.
    """

    name: str
    python: bool = False
    transports: tuple[str, ...] = ("websocket",)
    auth: dict[str, Any] = field(default_factory=dict)
    snapshots: bool = True
    direct: bool = False
    resubscribes: bool = False

    @property
    def batches(self) -> bool:
        return bool(self.auth.get("batch"))


REFERENCE: Final = ClientSpec("reference", direct=True)
"""Receives all events over a connection without faults, though the bridge may restart."""


def random_specs(rng: random.Random, count: int, keys: Sequence[str]) -> list[ClientSpec]:
    """Return the reference client and `count` - 1 others."""
    return [REFERENCE, *(_spec(rng, number, keys) for number in range(1, count))]


def random_subscription(rng: random.Random, keys: Sequence[str]) -> dict[str, Any]:
    """Return regions, properties or both, as a handshake or a request names them."""
    out: dict[str, Any] = {}
    if rng.random() < 0.85:
        out["regions"] = rng.sample(REGIONS, rng.randint(1, 3))
    if not out or rng.random() < 0.3:
        out["properties"] = rng.sample(keys, rng.randint(1, 8))
    return out


def _spec(rng: random.Random, number: int, keys: Sequence[str]) -> ClientSpec:
    python = number % PYTHON_SHARE == 0
    auth = {} if rng.random() < 0.3 else random_subscription(rng, keys)
    if rng.random() < 0.2:
        auth["batch"] = True
    transports = rng.choice(TRANSPORTS)
    snapshots = rng.random() < 0.8
    resubscribes = rng.random() < 0.4
    words = ["py" if python else "js", f"{number:02}", "+".join(t[:2] for t in transports)]
    flags = (("batch", auth.get("batch")), ("resubscribes", resubscribes))
    words += [word for word, is_set in flags if is_set]
    words += [] if snapshots else ["no-snapshots"]
    words += [",".join(auth.get("regions", ())) or ("props" if "properties" in auth else "all")]
    return ClientSpec(
        " ".join(words), python, transports, auth, snapshots, resubscribes=resubscribes
    )
