"""The files of a deployment of several machines agree with each other and with the settings."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.gateway import peer_forwarding
from bridge.log.redis.url import is_redis
from bridge.options import drain_seconds, peer_url
from bridge.settings import load
from bridge.settings.reference import entries
from bridge.settings.settings import Settings
from tests.fakes import settings

DEPLOY = Path(__file__).parents[2] / "deploy"
ONE = tomllib.loads((DEPLOY / "fly.toml").read_text("utf-8"))
FLY = tomllib.loads((DEPLOY / "fly.machines.toml").read_text("utf-8"))
VALKEY = tomllib.loads((DEPLOY / "fly.valkey.toml").read_text("utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
BRIDGE = COMPOSE["services"]["bridge"]
NGINX = (DEPLOY / "nginx.conf").read_text("utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
README = (DEPLOY / "README.md").read_text("utf-8")

ENVIRONMENTS = {"fly.toml": ONE["env"], "machines": FLY["env"], "compose": BRIDGE["environment"]}
MARGIN_SECONDS = 5
"""Time to stop after the last client."""

environments = pytest.mark.parametrize("name", ENVIRONMENTS)


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of an environment, without its references to other variables."""
    values = {key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", v) for key, v in ENVIRONMENTS[name].items()}
    secrets = {
        "SUPABASE_URL": "http://127.0.0.1:9",
        "SUPABASE_SECRET_KEY": "sb_secret_of_the_deployment",
        "BRIDGE_LOG": "redis://:password@valkey.internal:6379/0",
    }
    for key, value in (secrets | {k: v for k, v in values.items() if "${" not in v}).items():
        monkeypatch.setenv(key, value)
    return load()


@environments
def test_variables_of_a_deployment_are_settings(name: str) -> None:
    known = {each for entry in entries() for each in entry.names}
    assert set(ENVIRONMENTS[name]) - known == set()


@environments
def test_values_of_a_deployment_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of(name, monkeypatch)


def test_variables_that_a_comment_suggests_are_settings() -> None:
    known = {each for entry in entries() for each in entry.names}
    for file in ("fly.toml", "fly.machines.toml", "compose.yaml", "nginx.conf"):
        named = set(re.findall(r"BRIDGE_[A-Z_]+", (DEPLOY / file).read_text("utf-8")))
        assert named - known == set(), file


def test_fly_lets_a_machine_drain_before_it_kills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drain = drain_seconds(settings_of("machines", monkeypatch), shared=True)
    assert drain > 0
    assert drain + MARGIN_SECONDS <= FLY["kill_timeout"]
    assert FLY["kill_signal"] == "SIGTERM"


def test_compose_lets_a_machine_drain_before_it_kills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drain = drain_seconds(settings_of("compose", monkeypatch), shared=True)
    assert drain > 0
    assert drain + MARGIN_SECONDS <= int(BRIDGE["stop_grace_period"].removesuffix("s"))


def test_fly_replaces_one_machine_at_a_time_once_the_one_before_is_ready() -> None:
    assert FLY["deploy"]["strategy"] == "rolling"
    assert FLY["deploy"]["max_unavailable"] == 1
    assert FLY["checks"]["ready"]["path"] == "/readyz"
    assert FLY["checks"]["ready"]["port"] == FLY["http_service"]["internal_port"]
    assert [each["path"] for each in FLY["http_service"]["checks"]] == ["/livez"]


def test_fly_stops_no_machine_that_may_have_to_take_over() -> None:
    assert FLY["http_service"]["auto_stop_machines"] == "off"
    assert FLY["http_service"]["min_machines_running"] >= 2
    assert "mounts" not in FLY, "a volume would pin each machine to one host"


def test_machines_differ_from_the_one_machine_in_their_log_only() -> None:
    others = {"BRIDGE_LOG_NAME", "BRIDGE_DRAIN_SECONDS"}
    assert {k: v for k, v in FLY["env"].items() if k not in others} == ONE["env"]
    assert FLY["http_service"]["concurrency"] == ONE["http_service"]["concurrency"]


def test_log_of_all_machines_is_the_redis_server_of_the_deployment() -> None:
    assert "BRIDGE_LOG" not in FLY["env"], "its password is a secret"
    url = f"{VALKEY['checks']['alive']['port']}/0"
    assert f"BRIDGE_LOG=redis://:<password>@<name>-valkey.internal:{url}" in README
    assert is_redis(BRIDGE["environment"]["BRIDGE_LOG"])
    assert "//valkey:" in BRIDGE["environment"]["BRIDGE_LOG"]


@pytest.mark.parametrize(
    "command",
    [VALKEY["experimental"]["cmd"][0], " ".join(COMPOSE["services"]["valkey"]["command"])],
    ids=["fly", "compose"],
)
def test_redis_server_evicts_nothing_and_stores_each_append(command: str) -> None:
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_redis_server_on_fly_requires_a_password_and_keeps_its_data_on_the_volume() -> None:
    command = VALKEY["experimental"]["cmd"][0]
    assert '--requirepass "$VALKEY_PASSWORD"' in command
    [mount] = VALKEY["mounts"]
    assert f"--dir {mount['destination']}" in command
    assert "http_service" not in VALKEY
    assert "services" not in VALKEY, "the internet has no way to it"


def test_compose_starts_several_bridges_that_reach_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert BRIDGE["deploy"]["replicas"] >= 2
    assert "BRIDGE_HOST=0.0.0.0" in DOCKERFILE
    monkeypatch.setenv("BRIDGE_PORT", "8080")
    monkeypatch.setattr("socket.gethostname", lambda: "4f2c")
    assert peer_url(settings_of("compose", monkeypatch)) == "http://4f2c:8080"


def test_machine_reaches_nothing_of_the_others_by_default() -> None:
    assert peer_url(settings()) == ""


def test_nginx_sends_requests_to_the_port_of_the_image_without_sticky_sessions() -> None:
    upstream = re.search(r"upstream bridges \{(.*?)\n    \}", NGINX, re.DOTALL)
    assert upstream is not None
    assert re.findall(r"^\s+server (\S+)", upstream[1], re.MULTILINE) == ["bridge:8080"]
    assert not re.search(r"^\s*(hash|ip_hash|sticky)\b", upstream[1], re.MULTILINE)
    assert "EXPOSE 8080" in DOCKERFILE


def test_nginx_waits_longer_than_a_poll_lasts_and_buffers_nothing() -> None:
    assert f"location {settings().path}/ {{" in NGINX
    seconds = int(re.findall(r"proxy_read_timeout (\d+)s;", NGINX)[0])
    assert seconds >= peer_forwarding.ANSWER_SECONDS
    assert "proxy_buffering off;" in NGINX


def test_nginx_shows_nothing_to_operators_and_sends_the_clients_address() -> None:
    locations = re.findall(r"location (.*) \{", NGINX)
    assert locations == ["/socket.io/", "~ ^/(properties|regions)$"]
    assert NGINX.count("proxy_set_header X-Forwarded-For $remote_addr;") == len(locations)
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in COMPOSE["services"]["nginx"]["volumes"]


def test_compose_trusts_the_network_of_its_proxy() -> None:
    [subnet] = [each["subnet"] for each in COMPOSE["networks"]["default"]["ipam"]["config"]]
    assert BRIDGE["environment"]["BRIDGE_TRUSTED_PROXIES"] == subnet
    assert ipaddress.ip_network(subnet).is_private


def test_compose_starts_what_others_need_first() -> None:
    for service in COMPOSE["services"].values():
        for name, needed in service.get("depends_on", {}).items():
            assert needed["condition"] == "service_healthy"
            image = DOCKERFILE if name == "bridge" else ""
            assert "healthcheck" in COMPOSE["services"][name] or "HEALTHCHECK" in image
