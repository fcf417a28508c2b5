"""The dashboard and the alert rules, against /metrics of a running bridge and with Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bridge.app import create_app
from bridge.ops.metric_catalog import CATALOG
from tests.browser.conftest import skip_without
from tests.documents import ROOT
from tests.integration.replication_rig import drop_replication, replication_settings
from tests.integration.test_source_switch import until
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox

FOLDER: Final = ROOT / "deploy" / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
QUERIES: Final = [
    target["expr"].replace("$job", "bridge")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
EXPRESSIONS: Final = [*QUERIES, *(rule["expr"] for rule in RULES)]
TARGET_LABELS: Final = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of the buckets."""

# Series that let each alert fire, and series of a healthy bridge that must not. `x+0` is constant.
FAULTS: Final = {
    "BridgeNotReady": ("bridge_ready", "0+0x60", "1+0x60"),
    "BridgeAbsent": ("bridge_ready", "_x60", "1+0x60"),
    "BridgeNoLeader": ("bridge_leader", "0+0x60", "1+0x60"),
    "BridgeSourceStale": ("bridge_source_proof_age_seconds", "50+10x60", "20+0x60"),
    "BridgeGapUnrepaired": ("bridge_gap_age_seconds", "0+60x60", "0+0x60"),
    "BridgeChangesLate": ("bridge_commit_delay_seconds_bucket", "10", "0.05"),
    "BridgeSlotRetainsWal": ('bridge_slot_retained_bytes{slot="a"}', "3e9+0x60", "1e6+0x60"),
    "BridgeSlotNearlyLost": ('bridge_slot_safe_bytes{slot="a"}', "1e8+0x60", "1e10+0x60"),
    "BridgeLogUnwritable": ("bridge_log_unwritable", "1+0x60", "0+0x60"),
    "BridgeLogLags": ("bridge_lag_entries", "5000+0x60", "3+0x60"),
    "BridgeLogShort": ('bridge_recoveries_total{outcome="gone"}', "0+5x60", "0+0x60"),
    "BridgeLoopLags": ("bridge_loop_lag_seconds_bucket", "1", "0.01"),
    "BridgeSlowClients": ("bridge_clients_cut_off_total", "0+60x60", "0+1x60"),
}


@pytest.fixture(scope="module")
def prometheus() -> tuple[str, str]:
    found = shutil.which("prometheus"), shutil.which("promtool")
    if not (found[0] and found[1]):
        skip_without("tests of queries need Prometheus: apt-get install prometheus")
    return str(found[0]), str(found[1])


@pytest.fixture
async def url(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[str]:
    """A bridge whose every metric that the files name has a sample."""
    settings = replication_settings(
        sandbox, tmp_path, slot="bridge_metrics", publication="bridge_metrics"
    )
    bridge = create_app(settings)
    async with served(bridge, drain=bridge.drain) as url:
        await until(lambda: bridge.operations.readiness().ready)
        async with httpx.AsyncClient(base_url=url) as http:
            foreign = {"Origin": "https://elsewhere.example"}
            query = "/socket.io/?EIO=4&transport=polling"
            assert (await http.get(query, headers=foreign)).status_code == 403
            async with asyncio.timeout(20):
                while "bridge_slot_retained_bytes{" not in (await http.get("/metrics")).text:
                    await asyncio.sleep(0.05)
        yield url
    await drop_replication(sandbox, "bridge_metrics")


def names_of(expression: str) -> set[str]:
    return set(re.findall(r"\bbridge_\w+", expression))


def labels_of(expression: str) -> set[str]:
    matched = re.findall(r'[{,]\s*(\w+)\s*(?:=|!=|=~|!~)\s*"', expression)
    grouped = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    return {*matched, *(label.strip() for group in grouped for label in group.split(","))}


async def test_every_name_and_label_of_a_query_is_in_the_metrics(url: str) -> None:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    unconnected = {"bridge_slot_safe_bytes": {"slot"}}  # absent where PostgreSQL sets no limit
    for expression in EXPRESSIONS:
        names = names_of(expression)
        assert names, expression
        for name in names:
            known = labels.get(name, unconnected.get(name))
            assert known is not None, f"{name} is not in /metrics: {expression}"
            assert labels_of(expression) <= known | TARGET_LABELS, expression


def test_every_label_in_a_legend_is_one_of_its_query() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", "")))
            assert shown <= labels_of(target["expr"]), target


def test_every_alert_has_a_test_of_its_fault() -> None:
    assert FAULTS.keys() == {rule["alert"] for rule in RULES}
    known = {entry.sample for entry in CATALOG} | {f"{entry.name}_bucket" for entry in CATALOG}
    assert {series.partition("{")[0] for series, _, _ in FAULTS.values()} <= known


async def test_prometheus_evaluates_every_query_and_rule(
    url: str, prometheus: tuple[str, str], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "alerts.yaml")],
        "scrape_configs": [
            {"job_name": "bridge", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    process = await asyncio.create_subprocess_exec(
        prometheus[0],
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}") as http:
            async with asyncio.timeout(30):
                # Two scrapes, so that a rate has a value.
                while await _value(http, "count_over_time(bridge_ready[1m])") < 2:
                    await asyncio.sleep(0.2)
                while any(rule["health"] == "unknown" for rule in await _rules(http)):
                    await asyncio.sleep(0.2)
            for expression in EXPRESSIONS:
                answer = (await http.get("/api/v1/query", params={"query": expression})).json()
                assert answer["status"] == "success", (expression, answer)
            for expression in QUERIES:
                answer = (await http.get("/api/v1/query", params={"query": expression})).json()
                assert answer["data"]["result"], expression
            rules = await _rules(http)
            assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(FAULTS, "ok")
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("healthy", [False, True], ids=["fault", "healthy"])
@pytest.mark.parametrize("alert", sorted(FAULTS))
def test_alert_fires_for_its_fault_alone(
    alert: str, healthy: bool, prometheus: tuple[str, str], tmp_path: Path
) -> None:
    name, *values = FAULTS[alert]
    test = {
        "interval": "1m",
        "input_series": _series(name, values[healthy]),
        "alert_rule_test": [
            {
                "eval_time": "30m",
                "alertname": alert,
                "exp_alerts": [] if healthy else [_expected(alert, name)],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    # Without the texts, which `promtool` would compare, too.
    rules = [{key: value for key, value in rule.items() if key != "annotations"} for rule in RULES]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "bridge", "rules": rules}]}), "utf-8"
    )
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}), "utf-8")
    result = subprocess.run(
        [prometheus[1], "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _series(name: str, value: str) -> list[dict[str, str]]:
    target = 'job="bridge",instance="a"'
    if not name.endswith("_bucket"):
        metric, _, labels = name.rstrip("}").partition("{")
        series = ",".join(filter(None, (target, labels)))
        return [{"series": f"{metric}{{{series}}}", "values": value}]
    return [
        {
            "series": f'{name}{{{target},le="{bound}"}}',
            "values": "0+60x60" if float(bound) >= float(value) else "0+0x60",
        }
        for bound in ("0.01", "0.05", "0.25", "1", "5", "10", "+Inf")
    ]


def _expected(alert: str, name: str) -> dict[str, dict[str, str]]:
    [rule] = [rule for rule in RULES if rule["alert"] == alert]
    labels = {"job": "bridge", "instance": "a", **rule["labels"]}
    labels |= dict(re.findall(r'(\w+)="([^"]*)"', name))
    if alert == "BridgeAbsent":
        labels = dict(rule["labels"])
    elif "sum by (job" in rule["expr"] and "instance" not in rule["expr"]:
        del labels["instance"]
    return {"exp_labels": labels}


async def _value(http: httpx.AsyncClient, expression: str) -> float:
    try:
        answer = await http.get("/api/v1/query", params={"query": expression})
    except httpx.TransportError:  # it starts
        return 0.0
    result = answer.json().get("data", {}).get("result") or [{"value": [0, "0"]}]
    return float(result[0]["value"][1])


async def _rules(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    groups = (await http.get("/api/v1/rules")).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_first_snapshot_is_a_gap_that_is_repaired(url: str) -> None:
    async with httpx.AsyncClient() as http:
        lines = (await http.get(f"{url}/metrics")).text.splitlines()
    assert 'bridge_gaps_total{cause="first slot"} 1.0' in lines
    assert "bridge_gap_repair_seconds_count 1.0" in lines
    assert "bridge_gap_age_seconds 0.0" in lines
