"""The Markdown files of the repository, and the tables in them that are generated from code.

    python -m tests.documents

writes every generated table into its place, between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.errors import Code
from bridge.ops import metric_catalog
from bridge.settings import reference

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[1]
FILES: Final = (
    "README.md",
    "CHANGELOG.md",
    "bridge/README.md",
    "bridge/contract/README.md",
    "deploy/README.md",
    "deploy/grafana/README.md",
    "deploy/web/README.md",
    "tests/README.md",
)
BLOCK: Final = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[^>]+) -->\n)(?P<text>.*?)(?P<end><!-- end -->)", re.DOTALL
)


def error_codes() -> str:
    rows = [f"| `{code.value}` | {code.meaning} |" for code in Code]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def layers() -> str:
    """The layers that import-linter holds, from the top to the bottom."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [contract] = [
        each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers"
    ]
    names = [layer.strip("()") for layer in contract["layers"]]  # in parentheses: optional
    return "\n".join(["```text", *names, "```"]) + "\n"


GENERATORS: Final[dict[str, Callable[[], str]]] = {
    "settings": reference.markdown,
    "error codes": error_codes,
    "layers": layers,
    "metrics": metric_catalog.markdown,
}


def paths() -> list[Path]:
    return [ROOT / name for name in FILES if (ROOT / name).exists()]


def generated(text: str) -> str:
    """Return `text` with every generated block as the code gives it now."""
    return BLOCK.sub(
        lambda block: f"{block['begin']}\n{GENERATORS[block['name']]()}\n{block['end']}", text
    )


if __name__ == "__main__":
    for path in paths():
        before = path.read_text("utf-8")
        if (after := generated(before)) != before:
            path.write_text(after, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
