"""Reference of all settings, generated from the model, as in `deploy/README.md`.

python -m bridge.settings.reference      prints it as Markdown
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pydantic import AliasChoices

from bridge.settings.settings import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

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
    """Yield every setting, group by group."""
    for title, group in GROUPS:
        for name, field in group.model_fields.items():
            yield SettingEntry(
                group=title,
                names=_names(name, field),
                default=None if field.is_required() else _spelt(field.default),
                description=field.description or "",
            )


def markdown() -> str:
    """Return one Markdown table per group, each under a heading of level 3."""
    blocks = []
    for title, some in groupby(entries(), key=lambda entry: entry.group):
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
    """Escape characters that Markdown would read as markup, outside of code spans."""
    spans = text.split("`")
    spans[::2] = [MARKUP.sub(r"\\\g<0>", span) for span in spans[::2]]
    return "`".join(spans)


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
