"""Everything that takes part, as the faults reach it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.chaos.disk import Disk
    from tests.chaos.fleet import Fleet
    from tests.chaos.line import Line
    from tests.chaos.platform import Platform
    from tests.chaos.python_client import PythonClient
    from tests.chaos.role import Role
    from tests.chaos.supervisor import Supervisor


@dataclass
class Scene:
    """`disk`: the one that the log is on, None where the log is in memory."""

    platform: Platform
    bridge: Supervisor
    disk: Disk | None
    roles: Sequence[Role]
    keys: Sequence[str]
    lines: Mapping[str, Line]
    fleets: Mapping[str, Fleet]
    pythons: Mapping[str, PythonClient]
    process: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while something is done to the bridge's process."""
    database: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while PostgreSQL goes and comes back, or a table is changed."""

    def tell(self, name: str, **command: Any) -> None:
        """A command to a client."""
        if name in self.pythons:
            self.pythons[name].tell(**command)
        else:
            self.fleets[name].tell(name, **command)
