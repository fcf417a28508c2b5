"""The README files name what exists, and their examples run as they stand."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from bridge.gateway import http_snapshot
from bridge.gateway.engineio import raw_websocket, session
from bridge.gateway.socketio import packet
from bridge.gateway.socketio import server as socketio_server
from bridge.ops.metric_catalog import CATALOG
from bridge.sandbox.postgres import faults as postgres_faults
from bridge.sandbox.postgrest import faults as postgrest_faults
from bridge.sandbox.realtime import faults as realtime_faults
from bridge.security import admin_auth
from bridge.server import http_protocol
from bridge.settings import reference
from tests import documents
from tests.support import examples

ROOT: Final = documents.ROOT
DOCUMENTS: Final = {
    str(path.relative_to(ROOT)): path.read_text("utf-8") for path in documents.paths()
}
READMES: Final = {name: text for name, text in DOCUMENTS.items() if name != "CHANGELOG.md"}
DEPLOY: Final = READMES["deploy/README.md"]
MAINTAINERS: Final = READMES["bridge/README.md"]

LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
PATH: Final = re.compile(r"`((?:bridge|deploy|tests|\.ci)/[^`\s]*)`")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SETTING: Final = re.compile(r"\b(?:BRIDGE|SUPABASE)_[A-Z_]+[A-Z]\b")
COMMAND: Final = re.compile(r"python -m ((?:tests|bridge)(?:\.\w+)*)")
METRIC: Final = re.compile(r"`(bridge_[a-z_]+)")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", documents.FILES)
def test_readme_exists(name: str) -> None:
    assert name in DOCUMENTS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_link_leads_to_a_file_and_heading(name: str) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", DOCUMENTS[name])):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", READMES)
def test_named_path_exists(name: str) -> None:
    folders = (ROOT, (ROOT / name).parent)
    found = PATH.findall(READMES[name])
    assert [path for path in found if not any((each / path).exists() for each in folders)] == []


@pytest.mark.parametrize("name", READMES)
def test_named_module_can_be_run(name: str) -> None:
    def exists(module: str) -> bool:
        path = ROOT / module.replace(".", "/")
        return path.with_suffix(".py").exists() or (path / "__main__.py").exists()

    assert [module for module in COMMAND.findall(READMES[name]) if not exists(module)] == []


@pytest.mark.parametrize("name", READMES)
def test_named_setting_exists(name: str) -> None:
    known = {variable for entry in reference.entries() for variable in entry.names}
    web = (ROOT / "deploy" / "web" / "lib" / "config.ts").read_text("utf-8")
    known.update(SETTING.findall(web))  # the web app has variables of its own
    known |= {examples.EXAMPLES_VARIABLE, examples.SEED_VARIABLE}
    assert set(SETTING.findall(READMES[name])) - known == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_table_is_up_to_date(name: str) -> None:
    assert documents.generated(DOCUMENTS[name]) == DOCUMENTS[name], (
        f"expected {name} as the code has it; write it with `python -m tests.documents`"
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("deploy/README.md", "settings"),
        ("deploy/README.md", "metrics"),
        ("bridge/contract/README.md", "error codes"),
        ("bridge/README.md", "layers"),
    ],
)
def test_readme_has_generated_table(name: str, table: str) -> None:
    assert table in {block["name"] for block in documents.BLOCK.finditer(DOCUMENTS[name])}


def test_every_metric_is_documented_and_no_other() -> None:
    names = {entry.sample for entry in CATALOG}
    assert set(METRIC.findall(DEPLOY)) == names


def test_security_table_has_the_bounds_of_the_code() -> None:
    table = DEPLOY.partition("## Security")[2].partition("## Operations")[0]
    bounds = [
        f"{http_protocol.REQUEST_SECONDS:g} s for a request",
        f"{http_protocol.HEAD_BYTES // 1024} KB of headers",
        f"and {http_protocol.HEADERS} of them",
        f"{http_protocol.PIPELINED} pipelined requests",
        f"{http_protocol.UNREAD_SECONDS:g} s without reading",
        f"{socketio_server.CONNECT_SECONDS:g} s without a client",
        f"{socketio_server.MAX_CONNECTS} CONNECT packets",
        f"{packet.MAX_ATTACHMENTS} attachments",
        f"{session.MAX_POST_PACKETS:,} packets in a POST",
        f"{session.MAX_QUEUED_MESSAGES} queued messages",
        f"{raw_websocket.READ_BYTES // 1024} KB per connection",
        f"{http_snapshot.MAX_RESPONSES} of its answers",
        f"{http_snapshot.MAX_RESPONSES_PER_ADDRESS} of them to one address",
        f"within {http_snapshot.DOWNLOAD_SECONDS:g} s",
        f"{admin_auth.WRONG_BURST} wrong secrets",
    ]
    defaults = {entry.names[0]: entry.default or "" for entry in reference.entries()}
    bounds += [
        f"{int(defaults['BRIDGE_CONNECTIONS_PER_ADDRESS'])} of an address",
        f"{int(defaults['BRIDGE_CONNECTIONS']):,} in total",
        f"{int(defaults['BRIDGE_HANDSHAKES_BURST_PER_ADDRESS'])} at once",
        f"{int(defaults['BRIDGE_REQUESTS_PER_SECOND'])} a second of a client",
        f"{int(defaults['BRIDGE_SNAPSHOT_PAGES_BURST_PER_ADDRESS'])} full pages",
    ]
    assert [bound for bound in bounds if bound not in table] == []


def test_settings_reference_has_every_setting_once() -> None:
    names = [entry.names[0] for entry in reference.entries()]
    assert len(names) == len(set(names))
    assert {"SUPABASE_URL", "BRIDGE_TABLE", "BRIDGE_LOG"} <= set(names)
    for entry in reference.entries():
        assert reference.markdown().count(f"| `{entry.names[0]}`") == 1


def test_every_fault_of_the_sandbox_is_documented_and_no_other() -> None:
    section = MAINTAINERS.partition("## The sandbox")[2].partition("\n## ")[0]
    named = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    names = re.findall(r"`([\w-]+)`", re.sub(r"\(.*?\)", "", " ".join(named)))
    faults = (*realtime_faults.NAMES, *postgrest_faults.NAMES, *postgres_faults.NAMES)
    assert sorted(names) == sorted(faults)


def test_front_page_fits_its_bound() -> None:
    assert len(READMES["README.md"].splitlines()) <= 200


def test_mounting_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "unused")
    [block] = re.findall(r"```python\n(.*?)```", DEPLOY, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert [route.path for route in names["app"].routes] == ["/live"]


def test_named_canary_exists() -> None:
    canaries = (ROOT / "tests" / "canaries").glob("test_*.py")
    defined = set(
        re.findall(r"def (test_\w+)", "".join(each.read_text("utf-8") for each in canaries))
    )
    named = set(re.findall(r"`(test_\w+)`", MAINTAINERS.partition("## Private names")[2]))
    assert named
    assert named <= defined


def test_private_name_is_used_where_the_table_has_it() -> None:
    private = MAINTAINERS.partition("## Private names")[2]
    rows = re.findall(r"^\| (`.*?) \| (.*?\.py.*?) \|", private, re.MULTILINE)
    assert len(rows) > 30
    files: dict[str, str] = {}
    for names, used in rows:
        files |= dict(re.findall(r"\[`(?:\w+/)?(\w+\.py)`\]\(([^)]+)\)", used))
        sources = [(ROOT / "bridge" / files[file]) for file in re.findall(r"(\w+\.py)`", used)]
        text = "".join(path.read_text("utf-8") for path in sources)
        code = re.findall(r"`\.?(?:\w+\.)*(\w+)(?:\(.*?\))?`", names)
        assert [name for name in code if name not in text] == [], used
