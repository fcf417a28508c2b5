"""Attacks of clients that have a connection: frames, packets, payloads, tokens, requests."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bridge.gateway.engineio import ws_frames as frames
from tests.fuzz.attack import CODES, Attack
from tests.fuzz.inputs import (
    argument,
    mutate_bytes,
    mutate_text,
    random_bytes,
    split,
    text,
    to_json,
    utf8,
    value,
)
from tests.fuzz.target import HANDSHAKE, JWT_SECRET, Fault
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.connection import Connection
    from tests.fuzz.target import Target

ISSUER = "http://127.0.0.1:9/auth/v1"

CLOSES = (1000, 1001, 1002, 1003, 1007, 1009, 1012)
"""Close codes that the server may send."""


async def open_websocket(target: Target) -> Connection:
    """Open a websocket with an Engine.IO session."""
    connection = target.connection()
    answer = await connection.ask(HANDSHAKE)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise Fault(f"a websocket was rejected: {answer[:200]!r}")
    return connection


async def connect_client(target: Target, auth: Any = None) -> Connection:
    """Open a websocket with a connected Socket.IO client."""
    connection = await open_websocket(target)
    await connection.ask(masked(f"40{json.dumps(auth or {})}".encode()))
    return connection


def outcome(data: bytes) -> str:
    """Return the outcome of an attack: the last decisive packet or close code in these frames."""
    got = "nothing"
    at = 0
    while at < len(data):
        opcode, size, start = data[at] & 15, data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start], "big")
        payload = data[start : start + size]
        at = start + size
        if opcode == frames.CLOSE:
            return f"closed {int.from_bytes(payload[:2], 'big')}"
        if opcode == frames.TEXT:
            got = _packet(payload.decode(), got)
    return got


def _packet(packet: str, got: str) -> str:
    if packet.startswith("40"):
        return "connected"
    if packet.startswith("44"):
        if packet[2:3] != "{":
            return "rejected: namespace"
        data = json.loads(packet[2:]).get("data")
        return f"rejected: {data['code']}" if data else "rejected"
    if packet.startswith("43"):
        answer = json.loads(packet[packet.index("[") :])[0]
        return "ok" if answer["ok"] else f"rejected: {answer['error']['code']}"
    return got


async def _frames(target: Target, dice: Random) -> str:
    connection = await (connect_client(target) if dice.random() < 0.5 else open_websocket(target))
    whole = b""
    for _ in range(dice.randrange(1, 6)):
        opcode = dice.choice((0, 1, 1, 1, 2, 8, 9, 10, dice.randrange(16)))
        payload = dice.choice(
            (
                random_bytes(dice),
                b"2",
                b"3",
                b"40",
                b"x" * dice.choice((125, 126, 65535, 65536, 70_000)),
            )
        )
        whole += masked(payload, opcode, fin=dice.random() < 0.7)
    if dice.random() < 0.5:
        whole = mutate_bytes(dice, whole)
    if dice.random() < 0.1:
        size = dice.choice((2**63 - 1, 2**63, 2**64 - 1, 2**31, 65537))
        whole += b"\x81\xff" + size.to_bytes(8, "big") + b"mask" + b"x" * 40
    for part in split(dice, whole):
        connection.send(part)
    got = outcome(await connection.settle())
    ended = connection.ended
    connection.close()
    if got.startswith("closed") and int(got.split()[1]) not in CLOSES and not ended:
        raise Fault(f"a client got {got} and the connection stayed open")
    return "closed by its own code" if got.startswith("closed") and _is_own_code(got) else got


def _is_own_code(got: str) -> bool:
    return int(got.split()[1]) not in CLOSES


def packet(dice: Random) -> str | bytes:
    """Return an Engine.IO packet, usually with something like a Socket.IO packet."""
    if dice.random() < 0.1:
        return random_bytes(dice)
    kind = dice.choice("0222222223456789")
    namespace = dice.choice(("", "", "/,", "/other,", "/?a=b,", "/" + "n" * 300 + ","))
    number = dice.choice(("", "", "0", "7", "99999999999999999999999", "-1", "1.5"))
    attachments = dice.choice(("", "", "1-", "0-", "99-", "999999999-", "-", "--"))
    body = dice.choice(
        (
            to_json(dice, ["subscribe", argument(dice, "regions", "properties", "snapshot")]),
            to_json(dice, [text(dice), value(dice)]),
            to_json(dice, ["x", {"_placeholder": True, "num": dice.choice((0, 1, -1, 10**9))}]),
            to_json(dice, value(dice)),
            "[" * dice.choice((10, 2000, 30_000)),
            '{"a":' * 3000,
            "",
        )
    )
    whole = f"4{kind}{attachments}{namespace}{number}{body}"
    if dice.random() < 0.2:
        whole = mutate_text(dice, whole)
    if dice.random() < 0.1:
        whole = dice.choice("0123456789b") + whole[1:]
    return whole


async def _packets(target: Target, dice: Random) -> str:
    connection = await (connect_client(target) if dice.random() < 0.6 else open_websocket(target))
    got = "nothing"
    for _ in range(dice.randrange(1, 5)):
        sent = packet(dice)
        if isinstance(sent, bytes):
            connection.send(masked(sent, frames.BINARY))
        else:
            connection.send(masked(utf8(sent)))
        now = outcome(await connection.settle())
        got = got if now == "nothing" else now
    connection.close()
    return got


async def _polling(target: Target, dice: Random) -> str:
    """Payloads of a polling client, some for sessions of other clients."""
    connection = target.connection()
    answer = await connection.ask(
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: bridge.test\r\n\r\n"
    )
    # The body is chunked.
    sid = json.loads(answer[answer.index(b"0{") + 1 : answer.rindex(b"}") + 1])["sid"]
    if dice.random() < 0.1:
        sid = mutate_text(dice, sid)
    parts = [packet(dice) for _ in range(dice.randrange(1, 20))]
    body = b"\x1e".join(part if isinstance(part, bytes) else utf8(part) for part in parts)
    if dice.random() < 0.3:
        body = mutate_bytes(dice, body)
    if dice.random() < 0.05:
        body += b"x" * 70_000
    url = f"/socket.io/?EIO=4&transport=polling&sid={quote(sid, errors='replace')}"
    head = f"POST {url} HTTP/1.1\r\nHost: bridge.test\r\nContent-Length: {len(body)}\r\n\r\n"
    for part in split(dice, head.encode() + body):
        connection.send(part)
    answer = await connection.settle()
    connection.close()
    return answer.split(b" ", 2)[1].decode() if answer else "waits"


async def _auth(target: Target, dice: Random) -> str:
    connection = await open_websocket(target)
    auth = argument(dice, "regions", "properties", "token", "batch", "pid", "offset")
    connection.send(masked(utf8("40" + to_json(dice, auth))))
    got = outcome(await connection.settle())
    connection.close()
    return got


def token(dice: Random) -> Any:
    """Return something like a token: wrong claims, a wrong secret, a wrong header, or damaged."""
    claims = {"sub": "somebody", "aud": "authenticated", "iss": ISSUER, "exp": 4_000_000_000}
    for _ in range(dice.randrange(3)):
        claims[dice.choice((*claims, "nbf", "iat", "role"))] = value(dice)
    header = {"alg": "HS256", "typ": "JWT"}
    for _ in range(dice.randrange(3)):
        name = dice.choice((*header, "kid", "crit", "jwk", "jku", "x5u"))
        header[name] = dice.choice(("none", "None", "RS256", "ES256", "EdDSA", "", value(dice)))
    right = dice.random() < 0.5
    parts = [segment(json.dumps(part).encode()) for part in (header, claims)]
    key = (JWT_SECRET if right else text(dice)).encode("utf-8", "surrogatepass")
    mac = hmac.new(key, ".".join(parts).encode(), "sha256").digest()
    whole = ".".join((*parts, segment(mac)))
    kind = dice.random()
    if kind < 0.2:
        return mutate_text(dice, whole)
    if kind < 0.3:
        return ".".join(parts) + "."
    if kind < 0.35:
        return whole * dice.choice((2, 40))
    return whole if kind < 0.95 else value(dice)


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def _tokens(target: Target, dice: Random) -> str:
    """Connect with something like a token. The connection checks answers for forbidden bytes."""
    sent = token(dice)
    connection = await open_websocket(target)
    connection.send(masked(utf8("40" + json.dumps({"token": sent}))))
    got = outcome(await connection.settle(60))
    connection.close()
    return got


async def _requests(target: Target, dice: Random) -> str:
    connection = await connect_client(target, {"regions": ["TX"], "batch": dice.random() < 0.3})
    got = "nothing"
    for _ in range(dice.randrange(1, 4)):
        name = dice.choice(("subscribe", "subscribe", "unsubscribe", "authenticate", text(dice)))
        options = argument(dice, "regions", "properties", "snapshot", "after", "token")
        more = [value(dice)] if dice.random() < 0.1 else []
        connection.send(masked(utf8("421" + to_json(dice, [name, options, *more]))))
        now = outcome(await connection.settle())
        got = got if now == "nothing" else now
    target.publish("TX")
    connection.close()
    return got


async def _recovery(target: Target, dice: Random) -> str:
    """Connect with wrong pids. Only the right one may resume a client or close its connection."""
    victim = target.connection()
    answer = await victim.ask(HANDSHAKE)
    answer = await victim.ask(masked(b"40"))
    connect = next(p for p in frames.payloads(answer) if p.startswith(b"40{"))
    pid, sid = (json.loads(connect[2:])[name] for name in ("pid", "sid"))
    target.publish("TX")
    await victim.settle()
    offset = str(target.gateway.log.head)
    guess = dice.choice(
        (sid, mutate_text(dice, pid), pid[:-1], pid + "0", pid.swapcase(), value(dice), [pid], "")
    )
    auth = {"pid": guess, "offset": dice.choice((offset, mutate_text(dice, offset), value(dice)))}
    attacker = await open_websocket(target)
    attacker.send(masked(utf8("40" + json.dumps(auth))))
    got = await attacker.settle()
    if guess != pid and (pid.encode() in got or sid.encode() in got):
        raise Fault(f"the pid {guess!r} resumed the client of {pid!r}")
    if guess != pid and (victim.ended or target.gateway.clients.get(sid) is None):
        raise Fault(f"the pid {guess!r} closed the client of {pid!r}")
    # The client itself reconnects with any position.
    victim.close()
    returning = await open_websocket(target)
    returning.send(masked(utf8("40" + json.dumps({"pid": pid, "offset": auth["offset"]}))))
    own = outcome(await returning.settle())
    attacker.close()
    returning.close()
    return own


REJECTED = rf"rejected: ({CODES})|rejected: namespace|rejected"

ATTACKS = (
    Attack("websocket frames", _frames, rf"nothing|connected|{REJECTED}|closed \d+|closed by .*"),
    Attack("Socket.IO packets", _packets, rf"nothing|connected|ok|{REJECTED}|closed \d+"),
    Attack("polling payloads", _polling, r"200|400|413|waits"),
    Attack("auth payloads", _auth, rf"nothing|connected|{REJECTED}|closed \d+"),
    # Nothing, if it disconnects before unknown keys were fetched.
    Attack("tokens", _tokens, rf"nothing|connected|{REJECTED}|closed \d+"),
    Attack("subscribe and other requests", _requests, rf"nothing|ok|{REJECTED}|closed \d+"),
    # Closed, if it contains a number of hundreds of digits, which is not parsed.
    Attack("recovery of other clients", _recovery, rf"connected|{REJECTED}|closed \d+"),
)
