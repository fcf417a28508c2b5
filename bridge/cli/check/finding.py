"""What one check has found. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED: Final = 1
WARNED: Final = 3


class Level(StrEnum):
    """How bad a finding is: the bridge can't work with a `FAIL`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix`: the SQL, the setting or the page of the dashboard that removes the cause."""

    level: Level
    subject: str
    text: str
    fix: str = ""


def ok(subject: str, text: str) -> Finding:
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, fix: str = "") -> Finding:
    return Finding(Level.WARN, subject, text, fix)


def fail(subject: str, text: str, fix: str = "") -> Finding:
    return Finding(Level.FAIL, subject, text, fix)


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """Return 1 if a check failed, with `strict` 3 if one warned, otherwise 0."""
    levels = {finding.level for finding in findings}
    if Level.FAIL in levels:
        return FAILED
    return WARNED if strict and Level.WARN in levels else 0
