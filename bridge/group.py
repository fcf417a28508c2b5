"""One process among those that share its log: when it leads, and what it exchanges with them.

A log that no other process uses makes a group of one, which leads and sends nothing.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge.clock import SystemClock
from bridge.coordination import Coordination, CoordinationOptions
from bridge.gateway.fly_replay import FlyReplay
from bridge.gateway.peer_forwarding import Peer, PeerForwarding
from bridge.leadership import Leadership, LeadershipLimits
from bridge.log.local_lease import LocalLease
from bridge.members import Members
from bridge.ops.health import Health
from bridge.ops.redaction import Redactor
from bridge.ops.status import ALONE, GroupStatus, MachineStatus
from bridge.options import peer_url
from bridge.shared_presence import SharedPresence
from bridge.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from contextlib import AsyncExitStack

    from bridge.gateway.gateway import Gateway
    from bridge.gateway.presence import Presence
    from bridge.log.backends import LogBackend
    from bridge.replica import Replica
    from bridge.roles import Ingest
    from bridge.settings import Settings

DOWN_SECONDS: Final = 10.0
"""How long the source of a leader may be down before another process tries."""


def machine() -> str:
    """Return the id of this machine at its platform; elsewhere the name of its host."""
    return os.environ.get("FLY_MACHINE_ID") or socket.gethostname()


class Group:
    """The parts of one process that depend on the others. Implements `replica.ReloadObserver`."""

    def __init__(
        self,
        settings: Settings,
        backend: LogBackend,
        replica: Replica,
        presence: Presence,
        *,
        open_ingest: Callable[[Collection[str], AsyncExitStack], Awaitable[Ingest]],
        peer_key: str,
    ) -> None:
        """`open_ingest` takes the users that are present anywhere, and what closes its parts. The
        other processes forward requests to this one with `peer_key`.
        """
        clock = SystemClock()
        self._backend = backend
        self._replica = replica
        self._clock = clock
        self._max_body = settings.message_bytes
        self._gateway: Gateway | None = None
        shared = SharedPresence(presence) if backend.shared and settings.watchers else None
        self.members = Members(backend.log.process)
        self.upstream = Upstream(
            backend.log,
            Health(settings.stale_after, clock),
            clock,
            rows=lambda: len(replica.rows),
            epoch=lambda: replica.head.epoch,
            redact=Redactor(settings.secrets).text,
        )
        self.leadership = Leadership(
            backend.lease,
            replica,
            self.upstream,
            open_ingest=partial(open_ingest, presence.users if shared is None else shared.users),
            limits=LeadershipLimits(
                down_seconds=min(DOWN_SECONDS, settings.stale_after),
                start_seconds=max(settings.stale_after, settings.join_timeout),
            ),
            # The other processes of this machine can't lead.
            others=lambda: (
                0
                if isinstance(backend.lease, LocalLease)
                else self.members.others(clock.monotonic())
            ),
            clock=clock,
        )
        self.coordination: Coordination | None = None
        if backend.shared:
            self.coordination = Coordination(
                CoordinationOptions(
                    machine(), settings.recovery_seconds, peer_url(settings), peer_key
                ),
                backend.log,
                backend.lease,
                members=self.members,
                presence=shared,
                upstream=self.upstream,
                clock=clock,
            )

    def join(self, gateway: Gateway) -> None:
        """Connect the gateway to the other processes. Call it before the replica runs."""
        self._gateway = gateway
        coordination = self.coordination
        if coordination is None:
            return
        coordination.receiver = gateway
        gateway.token_expiry.announce = coordination.sign_out
        gateway.peer_forwarding = PeerForwarding(
            self.members.own, self._peer, max_body=self._max_body
        )
        if os.environ.get("FLY_MACHINE_ID"):
            gateway.fly_replay = FlyReplay(
                self.members.own,
                machine(),
                lambda process: self.members.machine_of(process, self._clock.monotonic()),
            )
        if gateway.persistence is not None:
            gateway.persistence.on_taken = coordination.taken
        self._replica.on_note(coordination.receive)
        self._replica.on_reload(self)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs until cancelled, by name."""
        tasks = {"leadership": self.leadership.run()}
        if self.coordination is not None:
            tasks["coordination"] = self.coordination.run()
        return tasks

    async def before_reload(self, *, lost: bool) -> None:
        await self.leadership.interrupt()
        if lost:
            self.upstream.forget()
        if self._gateway is not None:
            self._gateway.interrupt(lost=lost)

    def after_reload(self) -> None:
        if self.coordination is not None:
            self.coordination.resync()
        if self._gateway is not None:
            self._gateway.resume()

    async def leave(self) -> None:
        """Let another process lead, if there is one. The log is followed until the end."""
        if self.coordination is not None:
            await self.leadership.retire()
            await self.coordination.bye()

    def _peer(self, process: str) -> Peer | None:
        member = self.members.reachable(process, self._clock.monotonic())
        return None if member is None else Peer(process, member.peer_url, member.peer_key)

    def status(self) -> GroupStatus:
        if self.coordination is None:
            return ALONE
        lag = self._backend.log.head.seq - self._replica.head.seq
        return GroupStatus(
            role=self.coordination.role,
            term=self._backend.lease.term,
            lag_entries=max(0, lag),
            lag_seconds=self.coordination.lag(),
            machines=[
                MachineStatus(each.process, each.machine, each.role, each.last_beat_at)
                for each in self.members.alive(self._clock.monotonic())
            ],
        )
