"""The README shows the web app's providers in full: what it shows is what they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "web"
SHOWN: Final = re.compile(
    r"<details><summary><code>(lib/\S+)</code></summary>\n\n```tsx?\n(.*?)```\n\n</details>\n",
    re.DOTALL,
)
FILES: Final = ("lib/socket.tsx", "lib/properties.tsx", "lib/store.ts")


def test_the_readme_shows_the_three_files() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [name for name, _ in SHOWN.findall(readme)] == list(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_readme_shows_the_file_as_it_is(name: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = dict(SHOWN.findall(readme))[name]
    assert shown == (FOLDER / name).read_text("utf-8"), (
        f"README.md shows another deploy/web/{name}: put the file's text in its place"
    )


@pytest.mark.parametrize("name", FILES)
def test_the_file_needs_nothing_but_the_others_and_its_libraries(name: str) -> None:
    sources = set(re.findall(r'from "([^"]+)";', (FOLDER / name).read_text("utf-8")))
    assert sources <= {"react", "socket.io-client", "./contract", "./socket", "./store"}


def test_the_lock_file_names_no_registry() -> None:
    lock = (FOLDER / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "://registry." not in lock
