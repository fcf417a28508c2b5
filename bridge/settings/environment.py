"""The variables that settings are read from: the environment, and `.env` in the working folder.

A variable of the environment takes precedence over one of the file.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.settings.env_file import EnvFile
from bridge.settings.reference import entries
from bridge.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX: Final = "BRIDGE_"
OTHERS: Final = frozenset(("BRIDGE_URL", "BRIDGE_DEMO_TOKEN", "BRIDGE_EXPOSE_STATE"))
"""Names that the web app and its image read, often from the same file."""

SIMILARITY: Final = 0.75
"""Of a name that is suggested."""


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A variable that no setting has."""

    name: str
    similar: str | None

    def __str__(self) -> str:
        return f"no setting is named {self.name}"

    @property
    def fix(self) -> str:
        if self.similar is None:
            return f"remove {self.name}; `bridge serve --help` lists all settings"
        return f"did you mean {self.similar}?"


def variables() -> dict[str, str]:
    """Return the variables of `.env` and of the environment, by upper-case name."""
    found = {name.upper(): value or "" for name, value in EnvFile(Settings).env_vars.items()}
    return {**found, **{name.upper(): value for name, value in os.environ.items()}}


def unknown_names(names: Mapping[str, str]) -> Iterator[UnknownName]:
    """Yield the `BRIDGE_*` names of which there is no setting."""
    known = [name for entry in entries() for name in entry.names]
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known and name not in OTHERS:
            similar = difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY)
            yield UnknownName(name, similar[0] if similar else None)
