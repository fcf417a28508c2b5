"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Code
from bridge.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
NAMED = re.compile(r"BRIDGE_[A-Z_]+")


def test_the_example_of_mounting_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "unused")
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert [route.path for route in names["app"].routes] == ["/live"]


def test_every_code_that_a_client_can_see_is_listed_with_its_meaning() -> None:
    table = README.partition("| code | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| `{code.value}` | {code.meaning} |" for code in Code]


def test_every_setting_that_is_named_exists() -> None:
    known = {f"BRIDGE_{name.upper()}" for name in Settings.model_fields}
    web = (ROOT / "deploy" / "web" / "lib" / "config.ts").read_text("utf-8")
    known.update(NAMED.findall(web))  # what the web app is told of
    assert set(NAMED.findall(README)) <= known
