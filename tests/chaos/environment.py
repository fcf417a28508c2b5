"""The processes, clients and proxies of a run, as the faults use them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.chaos.client_spec import ClientSpec
    from tests.chaos.disk import Disk
    from tests.chaos.js_clients import JsClients
    from tests.chaos.machines import Machines
    from tests.chaos.platform import Platform
    from tests.chaos.python_client import PythonClient
    from tests.chaos.supervisor import Supervisor
    from tests.support.tcp_proxy import TcpProxy


@dataclass
class Environment:
    """`bridges`: one, or that of each machine. `disk`: the file system of the log, None if the log
    is not in a file.
    """

    platform: Platform
    bridges: Sequence[Supervisor]
    machines: Machines | None
    disk: Disk | None
    specs: Sequence[ClientSpec]
    keys: Sequence[str]
    proxies: Mapping[str, TcpProxy]
    js_clients: Mapping[str, JsClients]
    python_clients: Mapping[str, PythonClient]
    database_proxy: TcpProxy
    """Between the bridge and PostgreSQL, with the source `postgres`."""
    process: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a fault of the bridge's process."""
    database: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while PostgreSQL restarts or the table is altered."""
    slot_dropped: bool = False
    """Whether states of the round may be skipped: the changes while there is no slot are lost, and
    only the last states are read.
    """

    @property
    def bridge(self) -> Supervisor:
        return self.bridges[0]

    def command(self, name: str, **command: Any) -> None:
        """Send a command to a client."""
        if name in self.python_clients:
            self.python_clients[name].command(**command)
        else:
            self.js_clients[name].command(name, **command)
