"""Random inputs of attacks. Everything is drawn from `dice`, so a seed repeats a case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

TEXTS = (
    "",
    "TX",
    "CA",
    "NV",
    "OBSERVER",
    "*",
    "everything",
    "region:TX",
    "user:somebody",
    "property:p1",
    "member/everything",
    "property@2:TX:p1",
    "TX/",
    "/",
    "..",
    "../../etc/passwd",
    "%00",
    "\x00",
    "\x1e",
    "\r\nX-Injected: yes",
    "\ud800",
    "\u202e",
    "é",
    "\U0001f4a5" * 50,
    "' or 1=1 --",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "__proto__",
    "constructor",
    "null",
    "true",
    "NaN",
    "Infinity",
    "-0",
    "1e400",
    "9" * 400,
    "x" * 201,
    "x" * 5000,
    "p1",
    "p2",
    "[" * 200,
    '{"a":' * 100,
)
NUMBERS = (0, 1, -1, 7, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.5, 1e308, -0.0)
NAMES = (
    "regions",
    "properties",
    "snapshot",
    "after",
    "token",
    "batch",
    "pid",
    "offset",
    "sub",
    "session_id",
    "_placeholder",
    "num",
    "__proto__",
    "toString",
    "event",
    "data",
)


def text(dice: Random) -> str:
    kind = dice.random()
    if kind < 0.6:
        return dice.choice(TEXTS)
    if kind < 0.8:
        return random_bytes(dice, 30).hex()
    return "".join(chr(dice.choice((dice.randrange(0x20), dice.randrange(0xD800)))) for _ in "abcd")


def value(dice: Random, depth: int = 3) -> Any:
    """Return a JSON value, usually an invalid one for its place."""
    kind = dice.randrange(10 if depth else 7)
    if kind < 3:
        return text(dice)
    if kind == 3:
        return dice.choice(NUMBERS)
    if kind == 4:
        return dice.choice((None, True, False))
    if kind == 5:
        few = [text(dice) for _ in range(dice.randrange(4))]
        return few + [f"region {n}" for n in range(300)] if dice.random() < 0.2 else few
    if kind == 6:
        return dice.randbytes(dice.randrange(40)).decode("latin-1")
    if kind == 7:
        return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {
        dice.choice((dice.choice(NAMES), text(dice))): value(dice, depth - 1)
        for _ in range(dice.randrange(5))
    }


def argument(dice: Random, *names: str) -> Any:
    """Return an object with some of these members, or another value."""
    if dice.random() < 0.15:
        return value(dice)
    return {name: value(dice, 2) for name in names if dice.random() < 0.5}


def to_json(dice: Random, item: Any) -> str:
    """Return `item` as JSON, at times damaged."""
    spelling = json.dumps(item, ensure_ascii=dice.random() < 0.5)
    return mutate_text(dice, spelling) if dice.random() < 0.1 else spelling


def mutate_text(dice: Random, string: str) -> str:
    at = dice.randrange(len(string) + 1)
    return dice.choice(
        (
            string[:at],
            string[at:],
            string[:at] + dice.choice(TEXTS) + string[at:],
            string[:at] + chr(dice.randrange(256)) + string[at + 1 :],
            string * 2,
        )
    )


def random_bytes(dice: Random, most: int = 64) -> bytes:
    return dice.randbytes(dice.randrange(most))


def mutate_bytes(dice: Random, data: bytes) -> bytes:
    """Return `data` with a few bytes changed, removed or inserted."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(4):
            case 0 if at < len(out):
                out[at] = dice.randrange(256)
            case 1:
                del out[at : at + dice.randrange(1, 9)]
            case 2:
                out[at:at] = dice.randbytes(dice.randrange(1, 9))
            case _:
                out[at:at] = out[: dice.randrange(1, 30)]
    return bytes(out)


def utf8(string: str) -> bytes:
    return string.encode("utf-8", "surrogatepass")


def split(dice: Random, data: bytes) -> list[bytes]:
    """Return `data` in one or more parts."""
    if dice.random() < 0.7 or len(data) < 2:
        return [data]
    ends = sorted({*dice.choices(range(1, len(data)), k=dice.randrange(1, 5)), len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
