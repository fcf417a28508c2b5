"""The reusable part of the web app has no dependencies of its own beyond React and the client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "web"
FILES: Final = ("lib/bridge/socket.tsx", "lib/bridge/properties.tsx", "lib/bridge/store.ts")
"""The files that another React app copies, besides the contract's types."""


@pytest.mark.parametrize("name", FILES)
def test_reusable_file_imports_only_its_siblings_and_libraries(name: str) -> None:
    sources = set(re.findall(r'from "([^"]+)";', (FOLDER / name).read_text("utf-8")))
    assert sources <= {"react", "socket.io-client", "./contract", "./socket", "./store"}


def test_lock_file_contains_no_registry_address() -> None:
    lock = (FOLDER / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "://registry." not in lock
