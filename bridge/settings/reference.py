"""The reference of all settings, from the model that reads them: `deploy/README.md` has it.

python -m bridge.settings.reference      prints it as Markdown
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from bridge.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

TITLES: Final = {
    "project": "Project and table",
    "server": "Server",
    "auth": "Tokens and rights",
    "notifications": "Notifications",
    "limits": "Limits",
    "replication": "Source, scans and log",
}
"""Heading of each group, by the module that declares its fields."""

MARKUP: Final = re.compile(r"[|*<]")


@dataclass(frozen=True, slots=True)
class SettingEntry:
    """One setting. `default` is as it is spelt in the environment; None: the setting is required.

    `names` has the variable first, then the other variables that are read in its place.
    """

    group: str
    names: tuple[str, ...]
    default: str | None
    description: str


def entries() -> Iterator[SettingEntry]:
    """Yield every setting, group by group, in the order of the model."""
    for name, field in Settings.model_fields.items():
        yield SettingEntry(
            group=_group(name),
            names=_names(name, field),
            default=None if field.is_required() else _spelt(field.default),
            description=field.description or "",
        )


def markdown() -> str:
    """Return one Markdown table per group, each under a heading of level 3."""
    blocks = []
    for group, some in groupby(entries(), key=lambda entry: entry.group):
        title = TITLES.get(group, group.capitalize())
        lines = [f"### {title}", "", "| setting | default | meaning |", "|---|---|---|"]
        lines += [_row(entry) for entry in some]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _row(entry: SettingEntry) -> str:
    names = " or ".join(f"`{name}`" for name in entry.names)
    if entry.default is None:
        default = "required"
    else:
        default = f"`{entry.default}`" if entry.default else "empty"
    return f"| {names} | {default} | {_escaped(entry.description).rstrip('.')}. |"


def _escaped(text: str) -> str:
    """What Markdown would take for markup, escaped outside of code spans."""
    spans = text.split("`")
    spans[::2] = [MARKUP.sub(r"\\\g<0>", span) for span in spans[::2]]
    return "`".join(spans)


def _group(name: str) -> str:
    """Name of the module whose class declares the field."""
    models = (each for each in reversed(Settings.__mro__) if issubclass(each, BaseSettings))
    owner = next(each for each in models if name in each.model_fields)
    return owner.__module__.rpartition(".")[2]


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(each) for each in alias.choices if str(each).isupper())
    return (f"BRIDGE_{name.upper()}",)


def _spelt(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}" if default < 1e6 else f"{default:.0f}"  # noqa: PLR2004
    return ",".join(default) if isinstance(default, tuple) else str(default)


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201 - the command's output
