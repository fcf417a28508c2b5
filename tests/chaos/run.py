"""One run: everything is started, rounds of trouble follow, and after each one all must be well."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bridge.sandbox.postgres.server import free_port
from bridge.settings import Settings
from tests.chaos.checker import Checker
from tests.chaos.disk import Disk
from tests.chaos.fault import NotHereError
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Fleet
from tests.chaos.line import Line
from tests.chaos.plan import HURRIED, Plan
from tests.chaos.platform import Platform
from tests.chaos.python_client import PythonClient
from tests.chaos.report import Report
from tests.chaos.scene import Scene
from tests.chaos.story import Story
from tests.chaos.supervisor import Supervisor
from tests.chaos.truth import Truth
from tests.chaos.upstream_faults import WHOLE_ROWS
from tests.chaos.violation import Kind, Violation
from tests.chaos.world import World
from tests.chaos.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.plan import Injection

FIRST_ROWS = 40
NODES = 2
"""Processes of node among which the JavaScript clients are spread."""

LOOK_SECONDS = 0.2
CALM_SECONDS = 2.0
"""How long all must stay well before it counts."""


@dataclass(frozen=True, slots=True)
class Options:
    """`pause`: seconds between two faults, about. `pace` scales the delays of Realtime. `hurried`:
    shorter waits of the bridge than by default. Times are seconds.
    """

    seconds: float
    seed: int
    clients: int = 30
    only: tuple[str, ...] = ()
    log: str = "sqlite:"
    round_seconds: float = 30.0
    pause: float = 1.5
    patience: float = 60.0
    hurried: bool = True
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of the bridge by name, in place of the plan's."""


class Run:
    """`open`, then `rounds`; all that was found is in `report`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._began = time.monotonic()
        self.plan = Plan(options.seed, options.clients, options.only)
        settings = {**self.plan.settings, **(HURRIED if options.hurried else {})}
        self._settings: dict[str, Any] = settings | dict(options.settings)
        projection = Settings(
            supabase_url="http://127.0.0.1",
            supabase_secret_key="-",
            region=settings["region"],
            columns=settings["columns"],
        ).projection
        self.truth = Truth(projection)
        self.truth.leaves_out = not options.only or "identity" in options.only
        self.world = World(projection)
        self.checker = Checker(self.truth, self.world)
        self.stories = {
            role.name: Story(
                role.name,
                projection,
                self.world,
                self.now,
                snapshots=role.snapshots,
                batches=role.batches,
            )
            for role in self.plan.roles
        }
        self._waited = ""
        self.report = Report(options.seed, options.log, self._settings)

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    async def play(self, tell: Callable[[str], None]) -> Report:
        """All rounds. `tell` is told how it goes."""
        async with AsyncExitStack() as stack:
            scene, writer = await self._open(stack)
            plans = self.plan.writes()
            await self._until_well(scene, writer)
            tell(f"{self.now():6.1f} s: all is up, {len(self.stories)} clients")
            until = self.now() + self._options.seconds
            while self.now() < until and not self.report.notes:
                seconds = min(self._options.round_seconds, max(3, until - self.now()))
                await self._round(scene, writer, plans, seconds)
                found = ", ".join(f"{k} {v}" for k, v in self.report.kinds().items() if v)
                tell(f"{self.now():6.1f} s: round {self.report.rounds}, {found or 'all is well'}")
            self._count(scene, writer)
        return self.report

    # -- what a run is made of ------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack) -> tuple[Scene, Writer]:
        options, roles = self._options, self.plan.roles
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-chaos-")))
        disk, log = None, options.log
        if log.startswith("sqlite:"):
            disk = stack.enter_context(Disk.mounted(directory / "disk"))
            log = f"sqlite:///{directory / 'disk' / 'bridge.db'}"
        platform = await stack.enter_async_context(Platform.open(0.2 if options.hurried else 1.0))
        writer = Writer(platform, self.truth)
        await writer.begin(self.plan.writes()[0].first(FIRST_ROWS))
        port = free_port()
        environment = {f"BRIDGE_{k.upper()}": str(v) for k, v in self._settings.items()} | {
            "BRIDGE_PORT": str(port),
            "BRIDGE_LOG": log,
            # All its clients come from one address, and more often than clients do.
            "BRIDGE_CONNECTIONS_PER_ADDRESS": "10000",
            "BRIDGE_HANDSHAKES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_HANDSHAKES_BURST_PER_ADDRESS": "10000",
            "BRIDGE_SNAPSHOT_PAGES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_SNAPSHOT_PAGES_BURST_PER_ADDRESS": "10000",
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
        }
        slow = 1.0 if options.hurried else 30.0
        bridge = await stack.enter_async_context(Supervisor.open(directory, environment, slow))
        lines = {
            role.name: await stack.enter_async_context(Line.open(port))
            for role in roles
            if not role.direct
        }
        urls = {role: lines[role.name].url if role.name in lines else bridge.url for role in roles}
        fleets: dict[str, Fleet] = {}
        scripted = [role for role in roles if not role.python]
        for number in range(NODES):
            mine = {role: urls[role] for role in scripted[number::NODES]}
            fleet = await stack.enter_async_context(Fleet.open(mine, self.stories))
            fleets |= {role.name: fleet for role in mine}
        pythons = {
            role.name: await stack.enter_async_context(
                PythonClient.open(role, self.stories[role.name], urls[role])
            )
            for role in roles
            if role.python
        }
        keys = list(map(str, self.plan.keys))
        return Scene(platform, bridge, disk, roles, keys, lines, fleets, pythons), writer

    async def _round(
        self, scene: Scene, writer: Writer, plans: Sequence[Any], seconds: float
    ) -> None:
        self.report.rounds += 1
        enough = asyncio.Event()
        faults = self.plan.injections(self.report.rounds, seconds, self._options.pause)
        async with asyncio.TaskGroup() as tasks:
            for plan in plans:
                tasks.create_task(writer.write(plan, enough))
            async with asyncio.TaskGroup() as troubles:
                began = self.now()
                for injection in faults:
                    await asyncio.sleep(max(0, began + injection.at - self.now()))
                    troubles.create_task(self._inject(scene, injection))
            enough.set()
        await self._heal(scene)
        ended = self.now()
        await self._until_well(scene, writer)
        took = self.now() - ended - CALM_SECONDS
        if took > self.report.slowest:
            self.report.slowest, self.report.slowest_for = took, self._waited
        self.report.violations += self.checker.judge(list(self.stories.values()))
        for death in scene.bridge.deaths:
            self.report.violations.append(Violation(Kind.DIED, "bridge", death, self.now()))
        scene.bridge.deaths.clear()

    async def _inject(self, scene: Scene, injection: Injection) -> None:
        name, span = injection.name, injection.span
        self.report.journal.append((self.now(), f"{name} ({span:.1f} s)"))
        try:
            async with asyncio.timeout(self._options.patience):
                await FAULTS[name].act(scene, injection.dice, span)
        except NotHereError:
            self.report.faults["not here: " + name] += 1
        except (httpx.HTTPError, TimeoutError) as error:
            # The trouble could not be made, because of another one; that is as it may be.
            self.report.faults["could not: " + name] += 1
            self.report.journal.append((self.now(), f"{name} could not: {error!r}"))
        else:
            self.report.faults[name] += 1
            self.report.journal.append((self.now(), f"{name} is over"))

    async def _heal(self, scene: Scene) -> None:
        """End all trouble that lasts."""
        for line in scene.lines.values():
            line.heal()
        for name, client in scene.pythons.items():
            if not self.stories[name].connected:
                client.tell(drop=True)
        if scene.disk is not None:
            scene.disk.empty()
        await scene.bridge.thaw()
        for name in ("lift", "rest-heal"):
            await scene.platform.fault(name)
        await scene.platform.execute(WHOLE_ROWS)

    async def _until_well(self, scene: Scene, writer: Writer) -> None:
        """Nobody writes: wait until every client holds what the table says, and goes on to."""
        await writer.catch_up()
        stories = list(self.stories.values())
        until = self.now() + self._options.patience
        well_since: float | None = None
        while True:
            wrong = next((what for story in stories if (what := self._wrong(story))), None)
            now = self.now()
            if wrong is not None:
                well_since, self._waited = None, wrong
            elif well_since is None:
                well_since = now
            elif now - well_since >= CALM_SECONDS:
                return
            if now >= until:
                self.report.violations += self.checker.unconverged(stories, now)
                # What follows would tell of the same again.
                self.report.notes.append(f"stopped at {now:.0f} s: what was lost did not come")
                self.report.notes += scene.bridge.said(" ERROR ", " CRITICAL ")[-10:]
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _wrong(self, story: Story) -> str | None:
        """Why not all is well with a client yet."""
        if not story.connected:
            return f"{story.name}, not connected"
        if story.snapshots and not story.whole:
            return f"{story.name}, without a whole snapshot"
        for key, what in story.differs(self.truth.now):
            return f"{story.name}, {key} {what[:200]}"
        return None

    def _count(self, scene: Scene, writer: Writer) -> None:
        clients: Counter[str] = Counter()
        for story in self.stories.values():
            clients += story.counts
        self.report.seconds = self.now()
        self.report.counts = {
            "changes": self.truth.commits,
            **writer.counts,
            "clients": len(self.stories),
            "events": self.world.events,
            "told": clients["events"],
            "connects": clients["connects"],
            "recovered": clients["recovered"],
            "fresh": clients["fresh"],
            "snapshots": clients["snapshots"],
            "refused": clients["refused"],
            **scene.bridge.counts,
            "blended": self.checker.blended,
            "unheard positions": self.world.holes,
        }
