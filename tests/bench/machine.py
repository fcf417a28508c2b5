"""CPU time and memory of processes, from /proc. Linux only."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


def resident(pid: int | str = "self") -> int:
    """Return the resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory(pid: int) -> tuple[int, int]:
    """Return the resident bytes now and at the peak since the start or `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return _kilobytes(fields["VmRSS"]), _kilobytes(fields["VmHWM"])


def forget_peak(pid: int) -> None:
    """Reset the peak of `memory`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process, including children that it has waited for."""
    fields = _stat(pid)
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICKS


def cpu_below(pid: int, name: str) -> float:
    """Return the CPU seconds of all descendants of `pid` with that name."""
    children = defaultdict(list)
    names = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = _stat(int(folder.name))
                names[int(folder.name)] = (folder / "comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # exited meanwhile
            children[int(fields[1])].append(int(folder.name))
    seconds, left = 0.0, [pid]
    while left:
        parent = left.pop()
        left += children[parent]
        if names.get(parent) == name:
            try:
                seconds += cpu(parent)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return seconds


def _stat(pid: int) -> list[str]:
    """Return the fields after the command name, which may contain spaces: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kilobytes(value: str) -> int:
    return int(value.split(maxsplit=1)[0]) * 1024
