"""The property tests of this suite draw new examples, with `CI` set or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import examples

ROOT = Path(__file__).parents[2]

PROPERTY_TEST = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_property(number):
    with open({file!r}, "a") as drawn:
        print(number, file=drawn)
"""


def test_profile_draws_new_examples_without_a_deadline() -> None:
    assert settings().derandomize is False
    assert settings().deadline is None
    assert settings().print_blob is True


def test_examples_are_multiplied_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(examples.EXAMPLES_VARIABLE, raising=False)
    assert examples.examples(750) == 750
    monkeypatch.setenv(examples.EXAMPLES_VARIABLE, "20")
    assert examples.examples(750) == 15_000
    monkeypatch.setenv(examples.EXAMPLES_VARIABLE, "0.001")
    assert examples.examples(60) == 1


def test_runs_with_ci_set_draw_different_examples_and_print_their_seed(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    drawn = []
    for number in range(3):
        file = tmp_path / f"drawn-{number}"
        test = tmp_path / "test_property.py"
        test.write_text(PROPERTY_TEST.format(file=str(file)))
        seed = {examples.SEED_VARIABLE: "7"} if number else {}
        process = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
            cwd=tmp_path,
            env=os.environ | {"CI": "true", "PYTHONPATH": str(ROOT)} | seed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        assert "--hypothesis-seed=" in process.stdout
        drawn.append(file.read_text())
    assert drawn[0] != drawn[1] == drawn[2]
