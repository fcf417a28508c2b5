"""The other Pythons on which the gate runs tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "dirname", "env", "sed", "sort", "tail")


class Machine:
    """A machine that has no Python but those that are added."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self._pyenv = folder / "pyenv"
        self._bin.mkdir()
        for name in NEEDED:
            path = shutil.which(name)
            assert path is not None
            (self._bin / name).symlink_to(path)

    def add_pyenv(self, version: str) -> str:
        """Add a Python of pyenv. Return its path."""
        return self._script(self._pyenv / "versions" / version / "bin" / "python", version)

    def add_to_path(self, name: str, version: str) -> str:
        return self._script(self._bin / name, version)

    def add_shim(self, name: str) -> None:
        """Add a command that fails, as the shim of a version that is not active."""
        (self._bin / name).write_text("#!/usr/bin/env bash\nexit 127\n", "utf-8")
        (self._bin / name).chmod(0o755)

    def _script(self, path: Path, version: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        minor = ".".join(version.split(".")[:2])
        path.write_text(f"#!/usr/bin/env bash\necho {minor}\n", "utf-8")
        path.chmod(0o755)
        return str(path)

    def others(self, own: str) -> tuple[list[str], list[str]]:
        """Return the Pythons that are named, and the versions that are lacking."""
        done = subprocess.run(
            [ROOT / ".ci/other-pythons", own],
            env={"PATH": str(self._bin), "PYENV_ROOT": str(self._pyenv)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split(), re.findall(r"no Python (\S+):", done.stderr)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def image_version() -> str:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    [version] = set(re.findall(r"^FROM python:(\d+\.\d+)", dockerfile, re.MULTILINE))
    return str(version)


def test_gate_takes_the_newest_other_python_and_names_those_that_lack(machine: Machine) -> None:
    machine.add_pyenv("3.12.1")
    machine.add_pyenv("3.13.0")
    newest = machine.add_pyenv("3.13.2")
    assert machine.others("3.11") == ([newest], ["3.14"])


def test_gate_finds_a_python_on_the_path(machine: Machine) -> None:
    path = machine.add_to_path("python3.14", "3.14")
    assert machine.others("3.13") == ([path], ["3.12"])


def test_gate_ignores_a_shim_that_does_not_run(machine: Machine) -> None:
    machine.add_shim("python3.14")
    path = machine.add_pyenv("3.12.1")
    assert machine.others("3.11") == ([path], ["3.14", "3.13"])


def test_gate_does_not_take_its_own_python_as_another(machine: Machine) -> None:
    machine.add_pyenv("3.13.0")
    assert machine.others("3.13") == ([], ["3.14", "3.12"])


def test_gate_also_takes_the_python_of_the_image(machine: Machine) -> None:
    newest = machine.add_pyenv("3.14.0")
    image = machine.add_pyenv(f"{image_version()}.0")
    machine.add_pyenv("3.12.1")
    assert machine.others("3.11") == ([newest, image], [])


def test_gate_runs_the_tests_on_each_of_them() -> None:
    gate = (ROOT / ".ci/run").read_text("utf-8")
    assert '.ci/other-pythons "$own"' in gate
    [command] = re.findall(r'"\$environment/bin/pytest" (.*?) < /dev/null', gate, re.DOTALL)
    for kind in (
        "acceptance",
        "conformance",
        "canaries",
        "unit/{server,gateway,processes}",
    ):
        assert f"tests/{kind}" in command
    assert "tests/integration/test_{gateway," in command


@pytest.mark.parametrize(
    ("checks", "code"),
    [("good other", 0), ("good bad", 1), ("bad good", 1), ("good missing", 1)],
)
def test_gate_ends_if_a_check_in_the_background_fails(checks: str, code: int) -> None:
    gate = (ROOT / ".ci/run").read_text("utf-8")
    [functions] = re.findall(r"^(output=.*?^finish\(\) .*?^})$", gate, re.DOTALL | re.MULTILINE)
    script = (
        f"set -euo pipefail\n{functions}\n"
        "good() { echo checked; }; other() { echo checked; }; bad() { false; echo checked; }\n"
        "begin good; begin other; begin bad\n"
        f"finish {checks}\necho later"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.count("checked\n") == (2 if code == 0 else 1)
    assert ("later" in done.stdout) is (code == 0)


def test_gate_waits_for_each_check_that_it_begins() -> None:
    gate = (ROOT / ".ci/run").read_text("utf-8")
    begun = re.findall(r"^begin (\w+)$", gate, re.MULTILINE)
    awaited = re.findall(r"^finish (.*)$", gate, re.MULTILINE)
    assert sorted(begun) == sorted(" ".join(awaited).split())


ON_OWN_PYTHON_ONLY = {
    # One long test. `test_machines.py` stops a machine with clients on each Python.
    "tests/acceptance/test_rolling.py"
}


def test_gate_runs_tests_of_each_acceptance_file_on_them() -> None:
    """Not all tests of a file are marked `once`."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "tests/acceptance"]
    selected = subprocess.run(
        [*command, "-m", "not once and not supabase"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/acceptance/test_*.py")}
    assert set(re.findall(r"^(.*?)::", selected, re.MULTILINE)) == files - ON_OWN_PYTHON_ONLY


def test_image_has_a_python_that_the_gate_may_run() -> None:
    script = (ROOT / ".ci/other-pythons").read_text("utf-8")
    [versions] = re.findall(r"for version in ([0-9. ]+);", script)
    assert image_version() in versions.split()
