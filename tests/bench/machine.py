"""What processes cost, as the kernel counts it. Linux only."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes now, and at the most so far or since `forget_peak`."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return _kilobytes(told["VmRSS"]), _kilobytes(told["VmHWM"])


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Seconds of one process, with children that it has waited for."""
    fields = _stat(pid)
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICKS


def cpu_below(pid: int, name: str) -> float:
    """Seconds of all processes of that name that descend from `pid`."""
    children = defaultdict(list)
    names = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = _stat(int(folder.name))
                names[int(folder.name)] = (folder / "comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while this looked
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
    """The fields behind the command's name, which may hold anything: state, parent, and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kilobytes(value: str) -> int:
    return int(value.split(maxsplit=1)[0]) * 1024
