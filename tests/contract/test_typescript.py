"""The TypeScript types: checked in as they are written, and good to compile against."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.errors import Code
from bridge.projection import Projection
from bridge.schema import typescript
from bridge.schema.catalog import EMITTED, REQUESTS
from tests.acceptance import node
from tests.contract.typescript_compiler import JS, complaints

CHECKED_IN = Path(__file__).parents[2] / "deploy" / "web" / "lib" / "bridge" / "contract.ts"
RENEW = "bridge schema --format typescript --out deploy/web/lib/bridge/contract.ts"
IMPORTED = "../../../deploy/web/lib/bridge/contract"
SAMPLE = (JS / "sample.ts").read_text()


def test_the_checked_in_types_are_those_of_the_contract() -> None:
    current = typescript.source(Projection())
    assert CHECKED_IN.read_text() == current, f"out of date; renew it: {RENEW}"


def test_the_types_have_the_published_columns_only() -> None:
    source = typescript.source(Projection(published=("state", "area")))
    row = source.partition("export interface PropertyCreatedData {")[2].partition("}")[0]
    assert "  state: string | null;" in row
    assert "  area: Json;" in row
    assert "price" not in row


def test_the_checked_in_file_says_how_it_is_renewed() -> None:
    assert RENEW in CHECKED_IN.read_text().partition("\n\n")[0]


def test_a_page_compiles_against_the_types(tmp_path: Path) -> None:
    assert complaints(JS / "sample.ts", tmp_path) == ""


WRONG = {
    "a payload's member that isn't there": (
        'socket.on("property-deleted", ({ data }) => console.log(data.name));',
        "Property 'name' does not exist on type 'PropertyDeletedData'",
    ),
    "an event that isn't there": (
        'socket.on("property-renamed", () => undefined);',
        """Argument of type '"property-renamed"' is not assignable""",
    ),
    "a null that wasn't looked at": (
        'socket.on("property-created", ({ data }) => data.price.toFixed(2));',
        "'data.price' is possibly 'null'",
    ),
    "a member of what may be absent": (
        'socket.on("property-updated", ({ data }) => data.moved.to);',
        "'data.moved' is possibly 'undefined'",
    ),
    "a value of a change without a look at its type": (
        'socket.on("property-updated", ({ data }) => data.changes["price"]?.new.toFixed(2));',
        "Property 'toFixed' does not exist",
    ),
    "a request of another shape": (
        'socket.emit("subscribe", { regions: "TX" }, () => undefined);',
        "Type 'string' is not assignable to type 'string[]'",
    ),
    "a request with a name misspelt": (
        'socket.emit("unsubscribe", { region: ["TX"] }, () => undefined);',
        "'region' does not exist in type 'UnsubscribeRequest'",
    ),
    "an ack that wasn't asked whether it is ok": (
        'socket.emit("subscribe", {}, (answer) => answer.regions);',
        "Property 'regions' does not exist on type 'Refusal'",
    ),
    "a code that isn't there": (
        'const code: ErrorCode = "teapot";',
        "Type '\"teapot\"' is not assignable to type 'ErrorCode'",
    ),
    "a handshake of another shape": (
        'const odd: HandshakeAuth = { batch: "yes" };',
        "Type 'string' is not assignable to type 'boolean | null'",
    ),
}


@pytest.fixture(scope="module")
def complained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the compiler says of each wrong use, by its line. Of the rest it says nothing."""
    directory = tmp_path_factory.mktemp("wrong")
    first = SAMPLE.count("\n") + 1
    lines = [line for line, _ in WRONG.values()]
    file = directory / "wrong.ts"
    file.write_text(SAMPLE.replace(IMPORTED, str(CHECKED_IN.with_suffix(""))) + "\n".join(lines))
    (directory / "node_modules").symlink_to(node.installed(JS) / "node_modules")
    said: dict[str, str] = {}
    for complaint in re.split(r"\n(?! )", complaints(file, directory).strip()):
        number = re.search(r"wrong\.ts\((\d+),", complaint)
        assert number is not None, complaint
        line = int(number[1]) - first
        assert line in range(len(lines)), complaint
        said[lines[line]] = complaint
    return said


@pytest.mark.once
@pytest.mark.parametrize(("line", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_use_does_not_compile(
    line: str, complaint: str, complained: dict[str, str]
) -> None:
    assert complaint in complained.get(line, "")


def test_nothing_is_any() -> None:
    assert not re.search(r"\b(any|unknown|object)\b", _code(typescript.source()))


def _code(source: str) -> str:
    return re.sub(r"/\*.*?\*/|//.*", "", source, flags=re.DOTALL)


def test_every_event_and_request_has_its_line() -> None:
    source = typescript.source()
    for emitted in EMITTED:
        line = f'  "{emitted.name}": (envelope: {emitted.envelope.__name__}, position?: string)'
        assert line in source
    for request in REQUESTS:
        assert f"  {request.name}: (\n    request: {request.argument.__name__},\n" in source


def test_every_code_comes_with_its_meaning() -> None:
    source = typescript.source()
    for code in Code:
        assert f'  /** {code.meaning} */\n  | "{code.value}"' in source


def test_no_line_is_too_long_and_none_ends_in_blanks() -> None:
    for line in typescript.source().splitlines():
        assert len(line) <= typescript.WIDTH
        assert line == line.rstrip()


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": {}}, {"type": ["string", "null"]}, {"not": {}}]
)
def test_what_has_no_type_is_an_error_and_never_any(schema: dict[str, object]) -> None:
    with pytest.raises(
        typescript.UnsupportedSchemaError, match="expected a schema that TypeScript has"
    ):
        typescript.type_of(schema)


def test_a_comment_can_not_end_itself() -> None:
    assert typescript._comment("no */ here") == "/** no *\\/ here */\n"
