"""Operations endpoints over HTTP, with and without the secret."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from bridge import create_app
from bridge.errors import LogUnusableError
from bridge.ops.admin import BODY_BYTES, Admin
from bridge.security.admin_auth import AdminAuth
from bridge.security.client_ip import ClientAddress
from tests.fakes import KEY, FakeSource, FakeTable, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "the operators' own secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}
OPERATORS_PATHS = ["/status", "/metrics"]


@asynccontextmanager
async def requested(app: Any, peer: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(peer, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


def bridge(**overrides: Any) -> Any:
    return create_app(settings(**overrides), source=FakeSource(), table=FakeTable())


@pytest.mark.parametrize("path", OPERATORS_PATHS)
async def test_status_is_open_to_loopback_only_without_a_secret(path: str) -> None:
    app = bridge()
    async with requested(app) as http:
        assert (await http.get(path)).status_code == 200
        behind = await http.get(path, headers={"X-Forwarded-For": "127.0.0.1"})
    async with requested(app, "203.0.113.9") as http:
        other = await http.get(path)
    for answer in (behind, other):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
        assert "BRIDGE_ADMIN_SECRET" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", OPERATORS_PATHS)
@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
async def test_status_is_open_to_bearers_of_the_secret(path: str, peer: str) -> None:
    async with requested(bridge(admin_secret=SecretStr(SECRET)), peer) as http:
        answer = await http.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        answer = await http.get(path, headers=BEARER)
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"


async def test_liveness_and_readiness_are_public_without_details() -> None:
    app = bridge(admin_secret=SecretStr(SECRET))
    app.failure = RuntimeError(f"10.0.0.9:5432 refused {KEY}")
    async with requested(app, "203.0.113.9") as http:
        assert (await http.get("/livez")).json() == {"status": "alive"}
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reason": "a part of the bridge has failed"}
        answer = await http.get("/status", headers=BEARER)
        assert (
            answer.json()["reason"]
            == "a part of the bridge has failed: 10.0.0.9:5432 refused [hidden]"
        )


class SignOuts:
    """Records the sign-outs of a test."""

    def __init__(self) -> None:
        self.requested: list[dict[str, str]] = []

    async def __call__(self, **target: str) -> int:
        self.requested.append(target)
        return 2


@asynccontextmanager
async def admin(
    secret: str | None = SECRET, *, running: bool = True
) -> AsyncIterator[tuple[httpx.AsyncClient, SignOuts]]:
    operators = AdminAuth(secret, ClientAddress())
    done = SignOuts()
    app = Starlette(routes=Admin(operators, lambda: done if running else None).routes())
    async with requested(app) as http:
        yield http, done


@pytest.mark.parametrize("target", [{"sub": "a-user"}, {"session_id": "a-session"}])
async def test_sign_out_revokes_a_user_or_a_session(target: dict[str, str]) -> None:
    async with admin() as (http, done):
        answer = await http.post("/admin/sign-out", json=target, headers=BEARER)
        assert answer.status_code == 200
        assert answer.json() == {"ok": True, "closed": 2}
        assert done.requested == [target]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 3000, 400),
        (b"{}", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"a-user"', 422),
        (b'{"sub": ""}', 422),
        (b'{"sub": 1}', 422),
        (b'{"sub": null}', 422),
        (b'{"sub": "a", "session_id": "b"}', 422),
        (b'{"sub": "a", "all": true}', 422),
        (b'{"sub": "' + b"a" * 201 + b'"}', 422),
        (b'{"sub": "' + b"a" * BODY_BYTES + b'"}', 413),
    ],
)
async def test_sign_out_with_a_bad_request_is_rejected_with_a_reason(
    body: bytes, status: int
) -> None:
    async with admin() as (http, done):
        answer = await http.post("/admin/sign-out", content=body, headers=BEARER)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == "bad_request"
        assert "expected" in answer.json()["error"]["message"]
        assert len(answer.text) < 400
        assert done.requested == []


@pytest.mark.parametrize(
    ("secret", "headers", "status"),
    [(SECRET, {}, 401), (SECRET, {"Authorization": "Bearer no"}, 401), (None, BEARER, 403)],
)
async def test_sign_out_without_the_secret_is_rejected(
    secret: str | None, headers: dict[str, str], status: int
) -> None:
    async with admin(secret) as (http, done):
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == "forbidden"
        assert done.requested == []


async def test_sign_out_is_rejected_while_the_bridge_does_not_run() -> None:
    async with admin(running=False) as (http, _):
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"


async def test_sign_out_that_cannot_be_stored_is_reported() -> None:
    async def full(**_whom: str) -> int:
        raise LogUnusableError("the disk is full")

    app = Starlette(routes=Admin(AdminAuth(SECRET, ClientAddress()), lambda: full).routes())
    async with requested(app) as http:
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503
        assert "sign out again" in answer.json()["error"]["message"]


async def test_sign_out_of_a_running_bridge_succeeds() -> None:
    app = bridge(admin_secret=SecretStr(SECRET))
    async with requested(app) as http:
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503  # the bridge does not run yet
        async with app.lifespan():
            async with asyncio.timeout(20):
                while (await http.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.01)
            answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
            assert answer.json() == {"ok": True, "closed": 0}
            assert (await http.post("/admin/sign-out", json={"sub": "a"})).status_code == 401


async def test_sign_out_accepts_post_only() -> None:
    async with admin() as (http, _):
        assert (await http.get("/admin/sign-out", headers=BEARER)).status_code == 405
