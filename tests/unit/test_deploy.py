"""The files that a deployment is made of agree with each other and with the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bridge.options import SHARED_DRAIN_SECONDS
from bridge.security.client_ip import ClientAddress
from bridge.server.serve import GRACE_SECONDS

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


EXTRAS = ("postgres", "redis")
"""Those that the image contains."""


@pytest.mark.parametrize(
    "line",
    [
        *PROJECT["dependencies"],
        *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]),
    ],
)
def test_every_dependency_is_pinned_within_its_bounds(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(PINS[requirement.name])


def test_parts_that_an_extra_names_are_pinned_too() -> None:
    assert {"psycopg", "psycopg-binary", "redis", "hiredis"} <= PINS.keys()


def test_pins_are_made_with_the_extras_of_the_image() -> None:
    text = (ROOT / "deploy/requirements.txt").read_text("utf-8")
    assert re.findall(r"--extra (\S+)", text.partition("==")[0]) == ["redis", "postgres"]


def test_every_pin_has_hashes_and_no_address() -> None:
    for name in ("requirements.txt", "requirements-build.txt"):
        text = (ROOT / "deploy" / name).read_text("utf-8")
        entries = [
            part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if "==" in part
        ]
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in text


def test_fly_keeps_the_machine_running_and_routes_to_it_while_it_lives() -> None:
    service = FLY["http_service"]
    assert service["auto_stop_machines"] == "off"
    assert [check["path"] for check in service["checks"]] == ["/livez"]
    assert service["concurrency"]["type"] == "connections"
    assert FLY["kill_signal"] == "SIGTERM"


def test_fly_counts_a_release_as_deployed_once_it_is_ready() -> None:
    assert FLY["deploy"]["strategy"] == "rolling"
    assert FLY["checks"]["ready"]["path"] == "/readyz"
    assert FLY["checks"]["ready"]["port"] == FLY["http_service"]["internal_port"]


def test_fly_waits_until_clients_were_closed_in_waves() -> None:
    # Polling clients have 1 s for their last poll, requests in progress GRACE_SECONDS.
    assert FLY["kill_timeout"] >= SHARED_DRAIN_SECONDS + 2 + GRACE_SECONDS


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


class Chown:
    """A `chown` that records its arguments and changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self.path = f"{folder}:{os.environ['PATH']}"
        (folder / "chown").write_text(f'#!/bin/sh\necho "$@" >> {self._calls}\n', "utf-8")
        (folder / "chown").chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text("utf-8").splitlines() if self._calls.exists() else []


@pytest.fixture
def chown(tmp_path: Path) -> Chown:
    (tmp_path / "bin").mkdir()
    return Chown(tmp_path / "bin")


@pytest.fixture
def volume() -> Iterator[Path]:
    """A new folder that other users can reach."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def start(
    script: str,
    log: str,
    *,
    path: str = os.environ["PATH"],
    cwd: Path = ROOT,
    variables: dict[str, str] | None = None,
) -> list[str]:
    """Return the words that `script` prints, started with that BRIDGE_LOG."""
    done = subprocess.run(
        [ROOT / "deploy/start.sh", "sh", "-c", script],
        env={"PATH": path, "BRIDGE_LOG": log, **(variables or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@as_root
def test_what_started_as_root_goes_on_as_another_who_may_write_the_log(volume: Path) -> None:
    said = start(f"id -u; id -G; touch {volume}/log", f"sqlite:///{volume}/log")
    assert said == ["65532", "65532"]
    assert (volume / "log").stat().st_uid == 65532


@pytest.mark.skipif(os.geteuid() == 0, reason="root leaves root")
def test_what_did_not_start_as_root_stays_who_it_is(tmp_path: Path) -> None:
    assert start("id -u", f"sqlite:///{tmp_path}/log") == [str(os.geteuid())]


@as_root
@pytest.mark.parametrize(
    "log",
    [
        "memory:",
        "redis://host/0",
        "sqlite:///bridge.sqlite3",
        "sqlite:////bridge.sqlite3",
        "sqlite:////nowhere/bridge.sqlite3",
        "sqlite:////etc/bridge.sqlite3",
        "sqlite:////etc/../bridge.sqlite3",
        "sqlite:///",
        "",
    ],
)
def test_start_gives_nothing_away_that_is_not_the_logs(log: str, chown: Chown) -> None:
    assert start("id -u", log, path=chown.path, cwd=Path("/")) == ["65532"]
    assert chown.calls == []


@as_root
def test_start_gives_nothing_away_in_a_folder_with_other_files(chown: Chown, volume: Path) -> None:
    (volume / "other").touch()
    (volume / "bridge.sqlite3").touch()
    start("id -u", f"sqlite:///{volume}/bridge.sqlite3", path=chown.path)
    assert chown.calls == []


@as_root
def test_start_gives_the_folder_and_the_logs_files_away_and_nothing_below(
    chown: Chown, volume: Path
) -> None:
    names = [
        "bridge-watchers.sqlite3",
        "bridge.sqlite3",
        "bridge.sqlite3-wal",
    ]
    for name in names:
        (volume / name).touch()
    (volume / "bridge.backup").symlink_to("/etc/passwd")
    (volume / "lost+found").mkdir()
    start("id -u", "sqlite:///bridge.sqlite3", path=chown.path, cwd=volume)
    given = [f"65532:65532 {volume}", *(f"65532:65532 {volume}/{name}" for name in names)]
    assert sorted(chown.calls) == sorted(given)


@as_root
def test_start_gives_a_mount_away_whatever_else_is_in_it(chown: Chown, volume: Path) -> None:
    # Stands in for `stat`, which would name the mount.
    (chown_folder := Path(chown.path.partition(":")[0])).joinpath("stat").write_text(
        f"#!/bin/sh\necho {volume}\n", "utf-8"
    )
    (chown_folder / "stat").chmod(0o755)
    (volume / "other").mkdir()
    start("id -u", f"sqlite:///{volume}/bridge.sqlite3", path=chown.path)
    assert chown.calls == [f"65532:65532 {volume}"]


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({"BRIDGE_PORT": "8080", "PORT": "10000"}, "10000"),
        ({"BRIDGE_PORT": "9000", "PORT": "10000"}, "9000"),
        ({"BRIDGE_PORT": "8080"}, "8080"),
        ({"BRIDGE_PORT": "8080", "PORT": ""}, "8080"),
    ],
)
def test_start_takes_the_port_of_the_platform(variables: dict[str, str], port: str) -> None:
    assert start("echo $BRIDGE_PORT", "memory:", variables=variables) == [port]


def health(host: str, port: int) -> int:
    return subprocess.run(
        [sys.executable, ROOT / "deploy/health.py"],
        env={"BRIDGE_HOST": host, "BRIDGE_PORT": str(port), "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "127.0.0.1"])
def test_health_check_asks_the_port_that_the_bridge_has(host: str) -> None:
    class Alive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Alive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert health(host, server.server_port) == 0
        finally:
            server.shutdown()
            thread.join()
    assert health(host, server.server_port) == 1


def test_the_image_checks_its_health_by_the_script_that_knows_the_port() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert 'CMD ["start", "python", "/usr/local/lib/health.py"]' in dockerfile
    assert "deploy/health.py /usr/local/lib/health.py" in dockerfile


def test_a_relative_log_is_on_the_volume() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert f"\nWORKDIR {FLY['mounts'][0]['destination']}\n" in dockerfile


def test_the_image_copies_nothing_that_is_not_sent_to_its_build() -> None:
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    for words in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE):
        *sources, _target = [word for word in words.split() if not word.startswith("--")]
        assert [source for source in sources if source not in sent] == []
