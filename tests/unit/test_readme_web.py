"""The web app's reusable folder depends on nothing but React and socket.io-client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "web"
REUSABLE: Final = sorted((FOLDER / "lib" / "bridge").iterdir())
LIBRARIES: Final = {"react", "socket.io-client"}
IMPORT: Final = re.compile(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""")


@pytest.mark.parametrize("file", REUSABLE, ids=lambda file: file.name)
def test_reusable_file_imports_only_its_siblings_and_libraries(file: Path) -> None:
    imported = set(IMPORT.findall(file.read_text("utf-8")))
    assert imported <= LIBRARIES | {f"./{each.stem}" for each in REUSABLE}


def test_readme_links_to_each_reusable_file() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\((lib/bridge/[^)#]+)\)", readme))
    assert linked == {f"lib/bridge/{file.name}" for file in REUSABLE}


def test_lock_file_contains_no_registry_address() -> None:
    lock = (FOLDER / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "://registry." not in lock
