"""The files that a deployment is made of agree with each other and with the package."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bridge.security.client_ip import ClientAddress

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


def test_fly_clients_are_told_apart_and_not_more_come_than_fly_lets_in() -> None:
    proxies = ClientAddress(
        FLY["env"]["BRIDGE_TRUSTED_PROXIES"].split(","), FLY["env"]["BRIDGE_CLIENT_IP_HEADER"]
    )
    headers = [(b"fly-client-ip", b"203.0.113.9"), (b"x-forwarded-for", b"1.1.1.1")]
    for peer in ("172.16.7.7", "172.19.0.2", "fdaa:0:1::3"):
        assert proxies.client({"client": (peer, 1), "headers": headers}) == "203.0.113.9"
    assert int(FLY["env"]["BRIDGE_CONNECTIONS"]) == FLY["http_service"]["concurrency"]["hard_limit"]


def test_the_image_listens_where_fly_looks() -> None:
    assert int(FLY["env"]["BRIDGE_PORT"]) == FLY["http_service"]["internal_port"]
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert "BRIDGE_PORT=8080" in dockerfile
    assert "EXPOSE 8080" in dockerfile


def test_the_log_is_on_the_volume_that_fly_mounts() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    [mount] = FLY["mounts"]
    assert f"BRIDGE_LOG=sqlite:///{mount['destination']}/" in dockerfile
    assert "BRIDGE_LOG" not in FLY["env"]


def test_the_image_starts_with_the_script_that_leaves_root() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert "COPY --chmod=0755 deploy/start.sh /usr/local/bin/start" in dockerfile
    assert 'ENTRYPOINT ["start"]' in dockerfile


def start(folder: Path, script: str) -> list[str]:
    done = subprocess.run(
        [ROOT / "deploy/start.sh", "sh", "-c", script],
        env={"PATH": os.environ["PATH"], "BRIDGE_LOG": f"sqlite:///{folder}/log"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_started_as_root_goes_on_as_another_who_may_write_the_log() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert start(folder, f"id -u; id -G; touch {folder}/log") == ["65532", "65532"]
        assert (folder / "log").stat().st_uid == 65532


@pytest.mark.skipif(os.geteuid() == 0, reason="root leaves root")
def test_what_did_not_start_as_root_stays_who_it_is(tmp_path: Path) -> None:
    assert start(tmp_path, "id -u") == [str(os.geteuid())]
