"""HTTP attacks: malformed requests, and requests with unexpected contents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_from_bytes

from tests.fuzz.attack import CODES, Attack
from tests.fuzz.inputs import mutate_bytes, mutate_text, random_bytes, split, text, utf8, value
from tests.fuzz.target import ADMIN_SECRET, Fault, status_of

if TYPE_CHECKING:
    from random import Random

    from tests.fuzz.connection import Connection
    from tests.fuzz.target import Target

PATHS = (
    "/socket.io/",
    "/socket.io",
    "/socket.io//",
    "/socket.io/x",
    "/properties",
    "/regions",
    "/livez",
    "/readyz",
    "/status",
    "/metrics",
    "/admin/sign-out",
    "/docs",
    "/asyncapi.json",
    "/",
    "//",
    "/%2e%2e/",
    "/nothing",
    "*",
)
METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW")
HEADERS = (
    "Origin",
    "Authorization",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "Host",
    "Cookie",
    "Expect",
    "Accept-Encoding",
    "If-None-Match",
    "Range",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
)
VALUES = (
    "",
    "*",
    "https://a.example.org",
    "https://evil.net",
    "null",
    "Bearer x",
    "Bearer ",
    "Basic eA==",
    "0",
    "-1",
    "99999999999999999999",
    "chunked",
    "gzip, chunked",
    "keep-alive, Upgrade",
    "close",
    "websocket",
    "h2c",
    "dGhlIHNhbXBsZSBub25jZQ==",
    "13",
    "8",
    "permessage-deflate; client_max_window_bits",
    "100-continue",
    "gzip",
    "203.0.113.9",
    "1.1.1.1, 2.2.2.2",
    "a" * 3000,
)

STATUS = (
    r"(101|200|204|304|400|401|403|404|405|411|413|422|426|429|431|501|503)"
    rf"( ({CODES}))?"
)


def header(dice: Random) -> bytes:
    if dice.random() < 0.9:
        name, content = dice.choice(HEADERS), dice.choice((*VALUES, text(dice)))
    else:
        name, content = text(dice), text(dice)
    return utf8(name) + b": " + utf8(content) + b"\r\n"


def query(dice: Random) -> str:
    pairs = []
    for _ in range(dice.randrange(6)):
        name = dice.choice(("EIO", "transport", "sid", "j", "t", "b64", "region", text(dice)))
        content = dice.choice(("4", "3", "polling", "websocket", "none", "0", "", text(dice)))
        encoding = dice.random()
        if encoding < 0.7:
            pairs.append(f"{quote(name, errors='replace')}={quote(content, errors='replace')}")
        elif encoding < 0.9:
            pairs.append(f"{quote(name, errors='replace')}={quote_from_bytes(random_bytes(dice))}")
        else:
            pairs.append(dice.choice(("&", "==", "%", "%zz", ";", "+", "[]")))
    return "&".join(pairs)


def request(dice: Random) -> bytes:
    method, path = dice.choice((*METHODS[:3], *METHODS)), dice.choice(PATHS)
    body = random_bytes(dice, 300) if dice.random() < 0.3 else b""
    head = f"{method} {path}?{query(dice)} HTTP/1.1\r\nHost: bridge.test\r\n".encode()
    if body and dice.random() < 0.8:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"".join(header(dice) for _ in range(dice.randrange(5))) + b"\r\n" + body


def _got(connection: Connection, answer: bytes) -> str:
    waits = not answer and not connection.ended
    connection.close()
    return "waits" if waits else status_of(answer)


async def _any_request(target: Target, dice: Random) -> str:
    connection = target.connection()
    for part in split(dice, request(dice)):
        connection.send(part)
    answer = await connection.settle()
    return _got(connection, answer)


async def _damaged_request(target: Target, dice: Random) -> str:
    connection = target.connection()
    whole = mutate_bytes(dice, request(dice)) if dice.random() < 0.8 else random_bytes(dice, 400)
    for part in split(dice, whole):
        connection.send(part)
    answer = await connection.settle()
    return _got(connection, answer)


async def _handshake(target: Target, dice: Random) -> str:
    """Requests with the parts that the Engine.IO server reads."""
    connection = target.connection()
    websocket = dice.random() < 0.5
    parameters = {"EIO": "4", "transport": "websocket" if websocket else "polling"}
    for _ in range(dice.randrange(3)):
        parameters[dice.choice(("EIO", "transport", "sid", "j", text(dice)))] = text(dice)
    query = "&".join(
        f"{quote(k, errors='replace')}={quote(v, errors='replace')}" for k, v in parameters.items()
    )
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    head = f"GET /socket.io/?{query} HTTP/1.1\r\nHost: bridge.test\r\n".encode()
    if websocket or dice.random() < 0.1:
        head += upgrade
    head += b"".join(header(dice) for _ in range(dice.randrange(3))) + b"\r\n"
    answer = await connection.ask(head)
    if b"sec-websocket-extensions" in answer.partition(b"\r\n\r\n")[0].lower():
        raise Fault("compression was negotiated")
    return _got(connection, answer)


async def _properties(target: Target, dice: Random) -> str:
    pairs = []
    for _ in range(dice.randrange(5)):
        name = "region" if dice.random() < 0.8 else text(dice)
        pairs.append(f"{quote(name, errors='replace')}={quote(text(dice), errors='replace')}")
    headers = b"".join(header(dice) for _ in range(dice.randrange(3)))
    connection = target.connection()
    head = f"GET /properties?{'&'.join(pairs)} HTTP/1.1\r\nHost: bridge.test\r\n".encode()
    answer = await connection.ask(head + headers + b"\r\n")
    return _got(connection, answer)


async def _admin(target: Target, dice: Random) -> str:
    """The admin endpoints with wrong and right secrets. A wrong one must not change or return
    anything.
    """
    path = dice.choice(("/admin/sign-out", "/status", "/metrics", "/admin/", "/admin/x"))
    right = dice.random() < 0.3
    secret = ADMIN_SECRET if right else mutate_text(dice, ADMIN_SECRET)
    right = secret.partition("\r\n")[0].strip(" ") == ADMIN_SECRET
    body = utf8(json.dumps(value(dice)))
    if dice.random() < 0.2:
        body = mutate_bytes(dice, body)
    connection = target.connection()
    # The trusted proxy names another client each time: wrong secrets must not lock out the right.
    address = ".".join(str(dice.randrange(1, 255)) for _ in range(4))
    head = (
        f"{dice.choice(('GET', 'POST'))} {path} HTTP/1.1\r\nHost: bridge.test\r\n"
        f"X-Forwarded-For: {address}\r\nContent-Length: {len(body)}\r\nAuthorization: Bearer "
    )
    whole = head.encode() + utf8(secret) + b"\r\n\r\n" + body
    answer = await connection.ask(whole)
    got = _got(connection, answer)
    if got.startswith("200") and not right:
        raise Fault(f"{secret!r} was accepted as the secret")
    return got


ATTACKS = (
    Attack("HTTP requests of all kinds", _any_request, rf"{STATUS}|waits|closed"),
    Attack("damaged HTTP requests", _damaged_request, rf"{STATUS}|waits|closed"),
    Attack("Engine.IO handshakes", _handshake, rf"{STATUS}|waits|closed"),
    Attack("GET /properties", _properties, rf"{STATUS}|waits|closed"),
    Attack("admin endpoints", _admin, rf"{STATUS}|waits|closed"),
)
