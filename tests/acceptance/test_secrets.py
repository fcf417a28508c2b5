"""Secrets of the bridge and of its clients are in none of its output, even after failures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import jwt

from tests.acceptance.conftest import SECONDS
from tests.acceptance.test_process import alive
from tests.support.ports import free_port

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.acceptance.test_process import RunBridge

JWT_SECRET = "a-jwt-secret-of-this-very-test-with-enough-bytes"
ADMIN_SECRET = "an-admin-secret-of-this-very-test"
WRONG_SECRET = "a-wrong-secret-that-somebody-guessed"
OPAQUE = "opaque-token-of-a-client-that-is-no-jwt"
EXPIRED = jwt.encode({"sub": "somebody", "exp": 1}, JWT_SECRET)
FORGED = jwt.encode({"sub": "somebody", "exp": 2_000_000_000}, "of somebody else, and long enough")


async def raw(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(SECONDS):
            return await reader.read(4096)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def send_everywhere(url: str, port: int, token: str) -> None:
    """Sends a token in every part of a request, valid or not."""
    async with httpx.AsyncClient(timeout=10) as http, aiohttp.ClientSession() as session:
        bearer = {"Authorization": f"Bearer {token}"}
        for path in ("/properties", "/status", "/metrics", "/nothing"):
            await http.get(f"{url}{path}", headers=bearer)
            await http.get(f"{url}{path}?token={token}&apikey={token}")
        await http.post(f"{url}/admin/sign-out", json={"token": token}, headers=bearer)
        await http.get(f"{url}/socket.io/?EIO=4&transport=polling&sid={token}", headers=bearer)
        await http.get(f"{url}/socket.io/?EIO=3&transport={token}")
        sid = json.loads((await http.get(f"{url}/socket.io/?EIO=4&transport=polling")).text[1:])[
            "sid"
        ]
        poll = f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}"
        await http.post(poll, content="9" + token)
        for auth in ({"token": token}, token, [token], {"token": [token]}, {"regions": token}):
            async with session.ws_connect(
                f"{url}/socket.io/?EIO=4&transport=websocket", headers=bearer
            ) as ws:
                await ws.receive_str()
                await ws.send_str("40" + json.dumps(auth))
                await ws.receive(timeout=20)
                await ws.send_str("420" + json.dumps(["authenticate", {"token": token}]))
                await ws.send_str("421" + json.dumps(["subscribe", {"regions": {"x": token}}]))
                await ws.send_str("42[" + token)
                await ws.send_str("4" + token)
        await raw(port, f"GET /?{token} HTTP/9.9\r\n{token}\r\n\r\n".encode())
        await raw(port, f"{token} / HTTP/1.1\r\n\r\n".encode())
        upgrade = (
            f"GET /socket.io/?EIO=4&transport=websocket&token={token} HTTP/1.1\r\nHost: a\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {token[:20]}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        await raw(port, upgrade.encode())


async def fail_upstream(sandbox: Sandbox) -> None:
    faults: list[tuple[str, dict[str, Any]]] = [
        ("garble", {}),
        ("oversize", {}),
        ("system_error", {"message": f"refused {sandbox.supabase_key}"}),
        ("phx_error", {}),
        ("expire_tokens", {}),
        ("close", {"code": 1011}),
        ("refuse", {"seconds": 0.5}),
    ]
    for name, options in faults:
        await sandbox.faults.apply(name, **options)
        for _ in range(3):
            await sandbox.execute("update properties set price = price + 1 where true")
        await asyncio.sleep(0.3)
    for status in (401, 403, 500):
        sandbox.rest_faults.fail_next(2, status=status)
        await sandbox.faults.close(1012)
        await asyncio.sleep(0.3)


async def test_secrets_are_redacted_in_all_output(
    run_bridge: RunBridge, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    good = sandbox.user_token("11111111-1111-1111-1111-111111111111")
    tokens = [good, EXPIRED, FORGED, OPAQUE]
    environment = {
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SECRET_KEY": sandbox.supabase_key,
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "BRIDGE_ADMIN_SECRET": ADMIN_SECRET,
        "BRIDGE_LOG_LEVEL": "debug",
        "PYTHONASYNCIODEBUG": "1",
        "BRIDGE_WATCH_INTERVAL": "0.2",
        "BRIDGE_PORT": str(port),
    }
    text = ""
    admin = {"Authorization": f"Bearer {ADMIN_SECRET}"}
    try:
        async with run_bridge("serve", **environment) as process:
            await alive(http, url)
            async with asyncio.timeout(20):
                while (await http.get(url + "/readyz")).status_code != 200:
                    await asyncio.sleep(0.05)
            await asyncio.gather(
                fail_upstream(sandbox),
                *(send_everywhere(url, port, token) for token in tokens),
            )
            wrong = {"Authorization": f"Bearer {WRONG_SECRET}"}
            answers = [await http.get(url + "/status", headers=wrong)]
            sandbox.faults.refuse()
            sandbox.rest_faults.fail_next(1000, status=401)
            await sandbox.faults.close(1012)
            async with asyncio.timeout(20):
                while True:
                    status = await http.get(url + "/status", headers=admin)
                    if status.status_code == 200 and status.json()["source"]["error"]:
                        break
                    await asyncio.sleep(0.1)
            answers += [status]
            answers += [await http.get(url + path, headers=admin) for path in ("/metrics",)]
            answers += [await http.get(url + "/readyz")]
            text += "".join(answer.text + str(answer.headers) for answer in answers)
            await process.end(15)
        text += process.text + process.stderr
    finally:
        sandbox.faults.lift()
        sandbox.rest_faults.heal()
    secrets = [sandbox.supabase_key, JWT_SECRET, ADMIN_SECRET, WRONG_SECRET, *tokens]
    assert [secret[:12] for secret in secrets if secret in text] == []
    signatures = [token.rsplit(".", 1)[-1] for token in tokens]
    assert [part[:12] for part in signatures if part in text] == []
    # All of these were logged or sent.
    assert " DEBUG " in process.stderr
    assert "bridge.source" in process.stderr
    assert "a wrong operators' secret was sent from 127.0.0.1" in process.stderr
    assert "Traceback" not in process.stderr
    assert status.json()["source"]["attempts"] > 0
