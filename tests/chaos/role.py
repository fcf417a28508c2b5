"""Who takes part: clients of every kind, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

REGIONS: Final = ("TX", "TX/Austin", "TX/Dallas", "CA", "CA/San Diego", "NY", "OR", "nowhere")
TRANSPORTS: Final = (("websocket",), ("websocket",), ("polling",), ("polling", "websocket"))
PYTHON_SHARE: Final = 6
"""One client in so many is built on python-socketio."""


@dataclass(frozen=True, slots=True, eq=False)
class Role:
    """`direct`: not over a line that can fail. `restless`: changes what it hears as it goes."""

    name: str
    python: bool = False
    transports: tuple[str, ...] = ("websocket",)
    auth: dict[str, Any] = field(default_factory=dict)
    snapshots: bool = True
    direct: bool = False
    restless: bool = False

    @property
    def batches(self) -> bool:
        return bool(self.auth.get("batch"))


WITNESS: Final = Role("witness", direct=True)
"""Hears everything, and nobody cuts it; but the bridge may end for it too."""


def cast(dice: random.Random, count: int, keys: Sequence[str]) -> list[Role]:
    """The witness and `count` - 1 others."""
    return [WITNESS, *(_role(dice, number, keys) for number in range(1, count))]


def named(dice: random.Random, keys: Sequence[str]) -> dict[str, Any]:
    """Regions, properties or both, as a handshake or a request names them."""
    out: dict[str, Any] = {}
    if dice.random() < 0.85:
        out["regions"] = dice.sample(REGIONS, dice.randint(1, 3))
    if not out or dice.random() < 0.3:
        out["properties"] = dice.sample(keys, dice.randint(1, 8))
    return out


def _role(dice: random.Random, number: int, keys: Sequence[str]) -> Role:
    python = number % PYTHON_SHARE == 0
    auth = {} if dice.random() < 0.3 else named(dice, keys)
    if dice.random() < 0.2:
        auth["batch"] = True
    transports = dice.choice(TRANSPORTS)
    snapshots = dice.random() < 0.8
    restless = dice.random() < 0.4
    kind = ["py" if python else "js", f"{number:02}", "+".join(t[:2] for t in transports)]
    kind += [word for word, so in (("batch", auth.get("batch")), ("restless", restless)) if so]
    kind += [] if snapshots else ["blind"]
    kind += [",".join(auth.get("regions", ())) or ("props" if "properties" in auth else "all")]
    return Role(" ".join(kind), python, transports, auth, snapshots, restless=restless)
