"""The scripts that change the keys of a bridge, each one atomic step of the server.

A script may have been carried out although its answer did not arrive. All of them may be repeated:
those whose effect would not be the same recognise the repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from bridge.log.redis.keys import SCHEMA
from bridge.log.redis.stream_entry import progress_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from bridge.log.base import Progress
    from bridge.log.redis.keys import Keys

NAMES: Final = (
    "enter",
    "doubt",
    "acquire",
    "renew",
    "release",
    "append",
    "note",
    "beat",
    "leave",
    "put_sessions",
    "take_sessions",
    "drop_sessions",
)

Written: TypeAlias = Literal["ok", "fenced", "history"]
"""What became of a write: stored; refused, since another process leads; refused, since the stored
history is not the one that the process has read."""

MIN_STREAM_ENTRIES: Final = 1_000
"""The stream keeps at least so many entries, beats and notes included, whatever the limit of
events: a follower reads some hundred at a time."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a process has read of a history: its epoch, and the last append with its term."""

    epoch: str
    term_id: str
    appends: int
    seq: int
    """The highest number that it has read of an entry of the stream."""


@dataclass(frozen=True, slots=True)
class Entered:
    """Where a history is, as a process begins to follow it."""

    began: str
    """Why this history began with this process: `new`, or how the one before was lost; empty: it
    was there."""
    evidence: Evidence
    head: int
    top: str
    """Id of the newest entry of the stream."""
    term: int
    progress: Progress
    earlier: Mapping[str, int]
    """Earlier epochs of the history, each with the number of its last event."""


class RefusedError(Exception):
    """The keys are of another version of the bridge (`schema`) or of other settings (`shape`)."""

    def __init__(self, reason: str, schema: int, others: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.schema = schema
        self.others = others


@dataclass(frozen=True, slots=True)
class Acquired:
    """A term has begun after so many appends."""

    term: int
    appends: int


@dataclass(frozen=True, slots=True)
class Held:
    """Another process has the lease, for so many seconds if it does not renew it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The history is not the one that the process has read; `reason` is how it was lost."""

    reason: str


class Scripts:
    """The scripts on the keys of one bridge. `shape` identifies the columns of its rows."""

    def __init__(self, keys: Keys, *, shape: str, events: int) -> None:
        self._keys = keys.of_scripts
        self._shape = shape
        self._max_entries = max(events, MIN_STREAM_ENTRIES)
        folder = files("bridge.log.redis") / "lua"
        common = (folder / "common.lua").read_text()
        self._texts = {name: common + (folder / f"{name}.lua").read_text() for name in NAMES}
        self._scripts: dict[str, Any] = {}

    async def enter(self, client: Redis, process: str, fresh: str, *, alive: float) -> Entered:
        """Begin to follow. `fresh`: the epoch of a history that has to begin. `alive`: seconds
        since the last beat of a process that still uses the keys. Raises `RefusedError`.
        """
        answer = await self._run(
            client, "enter", process, self._shape, SCHEMA, fresh, round(alive * 1000)
        )
        status, *rest = [part.decode() for part in answer if isinstance(part, bytes)]
        if status != "ok":
            raise RefusedError(status, int(rest[0]), int(rest[1]) if len(rest) > 1 else 0)
        began, epoch, head, appends, last, top, term, progress = rest
        return Entered(
            began,
            Evidence(epoch, last, int(appends), int(top.partition("-")[0])),
            int(head),
            top,
            int(term),
            progress_of(progress.encode()),
            {
                name: int(last)
                for name, _, last in (one.decode().rpartition(":") for one in answer[-1])
            },
        )

    async def doubt(self, client: Redis, process: str, seen: Evidence, fresh: str) -> str:
        """Return why the history that `process` has read is lost; empty: it is not. Another one has
        begun then.
        """
        why, _ = await self._run(client, "doubt", *self._of(seen, fresh), process)
        return str(why.decode())

    async def acquire(
        self,
        client: Redis,
        seen: Evidence,
        fresh: str,
        *,
        process: str,
        token: str,
        term_id: str,
        seconds: float,
        patience: float,
    ) -> Acquired | Held | Lost:
        """Begin a term with the lease for `seconds`, if it is free. On another server it is free
        once the processes that used the one before have verified what they have read, or after
        `patience` seconds.
        """
        answer = await self._run(
            client,
            "acquire",
            *self._of(seen, fresh),
            process,
            token,
            term_id,
            round(seconds * 1000),
            round(patience * 1000),
        )
        status, *rest = map(bytes.decode, answer)
        if status == "acquired":
            return Acquired(int(rest[0]), int(rest[1]))
        if status == "held":
            return Held(max(0, int(rest[0])) / 1000)
        return Lost(rest[0])

    async def renew(
        self, client: Redis, token: str, term_id: str, seconds: float, *, beat: bool
    ) -> Written:
        """Renew the lease for `seconds`. `beat`: add a beat to the stream."""
        return await self._write(
            client, "renew", token, term_id, round(seconds * 1000), int(beat), self._max_entries
        )

    async def release(self, client: Redis, token: str, term_id: str) -> Written:
        """End the term and free the lease."""
        return await self._write(client, "release", token, term_id)

    async def append(
        self,
        client: Redis,
        token: str,
        term_id: str,
        seconds: float,
        *,
        seen: Evidence,
        tag: str,
        at: float,
        count: int,
        oldest: int,
        progress: bytes,
        events: bytes,
        rows: bytes,
        puts: Sequence[bytes],
        deletes: Sequence[bytes],
    ) -> Written:
        """Append an entry of `count` events after what was `seen`, and change the rows. `tag`
        identifies it, so that a repeat is recognised. `oldest`: number of the oldest event to keep.
        """
        return await self._write(
            client,
            "append",
            token,
            term_id,
            round(seconds * 1000),
            seen.epoch,
            seen.appends,
            tag,
            count,
            repr(at),
            f"{oldest}-0" if count else "",
            self._max_entries,
            progress,
            events,
            rows,
            len(puts) // 2,
            *puts,
            *deletes,
        )

    async def note(self, client: Redis, epoch: str, head: bytes, data: bytes) -> Written:
        """Add a note to the stream."""
        return await self._write(client, "note", epoch, head, data, self._max_entries)

    async def beat(self, client: Redis, process: str, *, forget: float) -> list[str]:
        """Store that a process is there. Return all processes, those included that stopped or died
        less than `forget` seconds ago.
        """
        known = await self._run(client, "beat", process, round(forget * 1000))
        return [name.decode() for name in known]

    async def leave(self, client: Redis, process: str) -> None:
        """Store that a process stops."""
        await self._run(client, "leave", process)

    async def put_sessions(
        self, client: Redis, process: str, sessions: Sequence[bytes | str]
    ) -> list[str]:
        """Store or delete sessions: pairs of name and session. Return the names of those that
        belong to another process.
        """
        answer = await self._run(client, "put_sessions", process, *sessions)
        return [name.decode() for name in answer]

    async def take_sessions(
        self, client: Redis, process: str, names: Sequence[str]
    ) -> list[bytes | None]:
        """Make sessions those of `process` and return them."""
        answer: list[bytes | None] = await self._run(client, "take_sessions", process, *names)
        return answer

    async def drop_sessions(self, client: Redis, owned: Sequence[str]) -> None:
        """Delete sessions, pairs of name and owner, that still have that owner."""
        await self._run(client, "drop_sessions", *owned)

    def _of(self, seen: Evidence, fresh: str) -> tuple[str | int, ...]:
        return (
            seen.epoch,
            seen.term_id,
            seen.appends,
            seen.seq,
            self._shape,
            SCHEMA,
            fresh,
        )

    async def _write(self, client: Redis, name: str, *arguments: Any) -> Written:
        answer: Written = (await self._run(client, name, *arguments)).decode()
        return answer

    async def _run(self, client: Redis, name: str, *arguments: Any) -> Any:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = client.register_script(self._texts[name])
        return await script(self._keys, arguments, client=client)
