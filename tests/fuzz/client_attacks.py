"""Clients that are connected, or nearly, and say what no client should."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bridge.gateway.engineio import ws_frames as frames
from tests.fuzz.attack import CODES, Attack
from tests.fuzz.material import argument, cut, damaged, flipped, noise, spelled, text, utf8, value
from tests.fuzz.stand import HANDSHAKE, JWT_SECRET, Fault
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.connection import Connection
    from tests.fuzz.stand import Stand

ISSUER = "http://127.0.0.1:9/auth/v1"

CLOSES = (1000, 1001, 1002, 1003, 1007, 1009, 1012)
"""Codes with which a websocket may be closed."""


async def opened(stand: Stand) -> Connection:
    """A websocket whose Engine.IO session is open."""
    connection = stand.connection()
    answer = await connection.ask(HANDSHAKE)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise Fault(f"a websocket was refused: {answer[:200]!r}")
    return connection


async def joined(stand: Stand, auth: Any = None) -> Connection:
    """A client that is connected."""
    connection = await opened(stand)
    await connection.ask(masked(f"40{json.dumps(auth or {})}".encode()))
    return connection


def told(data: bytes) -> str:
    """What a client got on its websocket: the last thing that says how it is taken."""
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
            return "refused: namespace"
        data = json.loads(packet[2:]).get("data")
        return f"refused: {data['code']}" if data else "refused"
    if packet.startswith("43"):
        answer = json.loads(packet[packet.index("[") :])[0]
        return "ok" if answer["ok"] else f"refused: {answer['error']['code']}"
    return got


async def _frames(stand: Stand, dice: Random) -> str:
    connection = await (joined(stand) if dice.random() < 0.5 else opened(stand))
    whole = b""
    for _ in range(dice.randrange(1, 6)):
        opcode = dice.choice((0, 1, 1, 1, 2, 8, 9, 10, dice.randrange(16)))
        payload = dice.choice(
            (noise(dice), b"2", b"3", b"40", b"x" * dice.choice((125, 126, 65535, 65536, 70_000)))
        )
        whole += masked(payload, opcode, fin=dice.random() < 0.7)
    if dice.random() < 0.5:
        whole = flipped(dice, whole)
    if dice.random() < 0.1:
        size = dice.choice((2**63 - 1, 2**63, 2**64 - 1, 2**31, 65537))
        whole += b"\x81\xff" + size.to_bytes(8, "big") + b"mask" + b"x" * 40
    for part in cut(dice, whole):
        connection.send(part)
    got = told(await connection.settle())
    ended = connection.ended
    connection.hang_up()
    if got.startswith("closed") and int(got.split()[1]) not in CLOSES and not ended:
        raise Fault(f"a client was told {got} and the connection stayed")
    return "closed by its own word" if got.startswith("closed") and _own(got) else got


def _own(got: str) -> bool:
    return int(got.split()[1]) not in CLOSES


def packet(dice: Random) -> str | bytes:
    """An Engine.IO packet with what may be a Socket.IO one."""
    if dice.random() < 0.1:
        return noise(dice)
    kind = dice.choice("0222222223456789")
    namespace = dice.choice(("", "", "/,", "/other,", "/?a=b,", "/" + "n" * 300 + ","))
    number = dice.choice(("", "", "0", "7", "99999999999999999999999", "-1", "1.5"))
    attachments = dice.choice(("", "", "1-", "0-", "99-", "999999999-", "-", "--"))
    body = dice.choice(
        (
            spelled(dice, ["subscribe", argument(dice, "regions", "properties", "snapshot")]),
            spelled(dice, [text(dice), value(dice)]),
            spelled(dice, ["x", {"_placeholder": True, "num": dice.choice((0, 1, -1, 10**9))}]),
            spelled(dice, value(dice)),
            "[" * dice.choice((10, 2000, 30_000)),
            '{"a":' * 3000,
            "",
        )
    )
    whole = f"4{kind}{attachments}{namespace}{number}{body}"
    if dice.random() < 0.2:
        whole = damaged(dice, whole)
    if dice.random() < 0.1:
        whole = dice.choice("0123456789b") + whole[1:]
    return whole


async def _packets(stand: Stand, dice: Random) -> str:
    connection = await (joined(stand) if dice.random() < 0.6 else opened(stand))
    got = "nothing"
    for _ in range(dice.randrange(1, 5)):
        it = packet(dice)
        if isinstance(it, bytes):
            connection.send(masked(it, frames.BINARY))
        else:
            connection.send(masked(utf8(it)))
        now = told(await connection.settle())
        got = got if now == "nothing" else now
    connection.hang_up()
    return got


async def _polling(stand: Stand, dice: Random) -> str:
    """Payloads of a polling client, and polls of sessions that are others'."""
    connection = stand.connection()
    answer = await connection.ask(
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: bridge.test\r\n\r\n"
    )
    # Its body comes in a chunk.
    sid = json.loads(answer[answer.index(b"0{") + 1 : answer.rindex(b"}") + 1])["sid"]
    if dice.random() < 0.1:
        sid = damaged(dice, sid)
    parts = [packet(dice) for _ in range(dice.randrange(1, 20))]
    body = b"\x1e".join(part if isinstance(part, bytes) else utf8(part) for part in parts)
    if dice.random() < 0.3:
        body = flipped(dice, body)
    if dice.random() < 0.05:
        body += b"x" * 70_000
    target = f"/socket.io/?EIO=4&transport=polling&sid={quote(sid, errors='replace')}"
    head = f"POST {target} HTTP/1.1\r\nHost: bridge.test\r\nContent-Length: {len(body)}\r\n\r\n"
    for part in cut(dice, head.encode() + body):
        connection.send(part)
    answer = await connection.settle()
    connection.hang_up()
    return answer.split(b" ", 2)[1].decode() if answer else "waits"


async def _auth(stand: Stand, dice: Random) -> str:
    connection = await opened(stand)
    auth = argument(dice, "regions", "properties", "token", "batch", "pid", "offset")
    connection.send(masked(utf8("40" + spelled(dice, auth))))
    got = told(await connection.settle())
    connection.hang_up()
    return got


def token(dice: Random) -> Any:
    """Nearly a token: of the right secret with wrong claims, of a wrong one, damaged, or none."""
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
        return damaged(dice, whole)
    if kind < 0.3:
        return ".".join(parts) + "."
    if kind < 0.35:
        return whole * dice.choice((2, 40))
    return whole if kind < 0.95 else value(dice)


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def _tokens(stand: Stand, dice: Random) -> str:
    """A token that is refused lets nobody in, wherever it is; in all answers nothing forbidden."""
    it = token(dice)
    connection = await opened(stand)
    connection.send(masked(utf8("40" + json.dumps({"token": it}))))
    got = told(await connection.settle(60))
    connection.hang_up()
    return got


async def _requests(stand: Stand, dice: Random) -> str:
    connection = await joined(stand, {"regions": ["TX"], "batch": dice.random() < 0.3})
    got = "nothing"
    for _ in range(dice.randrange(1, 4)):
        name = dice.choice(("subscribe", "subscribe", "unsubscribe", "authenticate", text(dice)))
        it = argument(dice, "regions", "properties", "snapshot", "after", "token")
        more = [value(dice)] if dice.random() < 0.1 else []
        connection.send(masked(utf8("421" + spelled(dice, [name, it, *more]))))
        now = told(await connection.settle())
        got = got if now == "nothing" else now
    stand.publish("TX")
    connection.hang_up()
    return got


async def _recovery(stand: Stand, dice: Random) -> str:
    """Whoever has not the pid of a client does not become it, and does not end it."""
    victim = stand.connection()
    answer = await victim.ask(HANDSHAKE)
    answer = await victim.ask(masked(b"40"))
    connect = next(p for p in frames.payloads(answer) if p.startswith(b"40{"))
    pid, sid = (json.loads(connect[2:])[name] for name in ("pid", "sid"))
    stand.publish("TX")
    await victim.settle()
    offset = str(stand.gateway.log.head)
    guess = dice.choice(
        (sid, damaged(dice, pid), pid[:-1], pid + "0", pid.swapcase(), value(dice), [pid], "")
    )
    auth = {"pid": guess, "offset": dice.choice((offset, damaged(dice, offset), value(dice)))}
    thief = await opened(stand)
    thief.send(masked(utf8("40" + json.dumps(auth))))
    got = await thief.settle()
    if guess != pid and (pid.encode() in got or sid.encode() in got):
        raise Fault(f"who came with the pid {guess!r} became the client of {pid!r}")
    if guess != pid and (victim.ended or stand.gateway.clients.get(sid) is None):
        raise Fault(f"who came with the pid {guess!r} ended the client of {pid!r}")
    # The client itself comes back with a position that may be anything.
    victim.hang_up()
    back = await opened(stand)
    back.send(masked(utf8("40" + json.dumps({"pid": pid, "offset": auth["offset"]}))))
    own = told(await back.settle())
    thief.hang_up()
    back.hang_up()
    return own


REFUSED = rf"refused: ({CODES})|refused: namespace|refused"

ATTACKS = (
    Attack("websocket frames", _frames, rf"nothing|connected|{REFUSED}|closed \d+|closed by .*"),
    Attack("Socket.IO packets", _packets, rf"nothing|connected|ok|{REFUSED}|closed \d+"),
    Attack("polling payloads", _polling, r"200|400|413|waits"),
    Attack("auth payloads", _auth, rf"nothing|connected|{REFUSED}|closed \d+"),
    # Nothing, where it hangs up before keys that are not known were asked for.
    Attack("tokens", _tokens, rf"nothing|connected|{REFUSED}|closed \d+"),
    Attack("subscribe and other requests", _requests, rf"nothing|ok|{REFUSED}|closed \d+"),
    # Closed, where it says a number of hundreds of digits, which is not read.
    Attack("recovery of others, or from nowhere", _recovery, rf"connected|{REFUSED}|closed \d+"),
)
