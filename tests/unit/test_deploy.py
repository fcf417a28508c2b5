"""The files that a deployment is made of agree with each other and with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINS = dict(
    re.findall(
        r"^([a-z0-9-]+)==([^ ]+) ",
        (ROOT / "deploy/requirements.txt").read_text("utf-8"),
        re.MULTILINE,
    )
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FLY = tomllib.loads((ROOT / "deploy/fly.toml").read_text("utf-8"))


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_every_dependency_is_pinned_within_its_bounds(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(PINS[requirement.name])


def test_every_pin_has_hashes_and_no_address() -> None:
    for name in ("requirements.txt", "requirements-build.txt"):
        text = (ROOT / "deploy" / name).read_text("utf-8")
        entries = [
            part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if "==" in part
        ]
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in text


def test_fly_keeps_the_machine_running_and_asks_for_readiness() -> None:
    service = FLY["http_service"]
    assert service["auto_stop_machines"] == "off"
    assert service["checks"][0]["path"] == "/readyz"
    assert service["concurrency"]["type"] == "connections"
    assert FLY["kill_signal"] == "SIGTERM"


def test_the_image_listens_where_fly_looks() -> None:
    assert int(FLY["env"]["BRIDGE_PORT"]) == FLY["http_service"]["internal_port"]
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert "BRIDGE_PORT=8080" in dockerfile
    assert "EXPOSE 8080" in dockerfile


def test_the_image_does_not_run_as_root() -> None:
    user = re.search(r"^USER (\d+)", (ROOT / "deploy/Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
