"""What operators ask over HTTP, and who else gets it."""

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
async def asked(app: Any, peer: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(peer, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge.test") as http:
        yield http


def bridge(**overrides: Any) -> Any:
    return create_app(settings(**overrides), source=FakeSource(), table=FakeTable())


@pytest.mark.parametrize("path", OPERATORS_PATHS)
async def test_without_a_secret_only_this_machine_is_told(path: str) -> None:
    app = bridge()
    async with asked(app) as http:
        assert (await http.get(path)).status_code == 200
        behind = await http.get(path, headers={"X-Forwarded-For": "127.0.0.1"})
    async with asked(app, "203.0.113.9") as http:
        other = await http.get(path)
    for answer in (behind, other):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
        assert "BRIDGE_ADMIN_SECRET" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", OPERATORS_PATHS)
@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
async def test_with_a_secret_whoever_has_it_is_told(path: str, peer: str) -> None:
    async with asked(bridge(admin_secret=SecretStr(SECRET)), peer) as http:
        answer = await http.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        answer = await http.get(path, headers=BEARER)
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"


async def test_anybody_may_know_whether_it_is_alive_and_ready_and_no_more() -> None:
    app = bridge(admin_secret=SecretStr(SECRET))
    app.failure = RuntimeError(f"10.0.0.9:5432 refused {KEY}")
    async with asked(app, "203.0.113.9") as http:
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
    """What would sign out, noting whom."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def __call__(self, **whom: str) -> int:
        self.asked.append(whom)
        return 2


@asynccontextmanager
async def admin(
    secret: str | None = SECRET, *, running: bool = True
) -> AsyncIterator[tuple[httpx.AsyncClient, SignOuts]]:
    operators = AdminAuth(None if secret is None else SecretStr(secret), ClientAddress())
    done = SignOuts()
    app = Starlette(routes=Admin(operators, lambda: done if running else None).routes())
    async with asked(app) as http:
        yield http, done


@pytest.mark.parametrize("whom", [{"sub": "a-user"}, {"session_id": "a-session"}])
async def test_a_user_or_a_session_is_signed_out(whom: dict[str, str]) -> None:
    async with admin() as (http, done):
        answer = await http.post("/admin/sign-out", json=whom, headers=BEARER)
        assert answer.status_code == 200
        assert answer.json() == {"ok": True, "closed": 2}
        assert done.asked == [whom]


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
async def test_a_bad_request_signs_nobody_out_and_hears_why(body: bytes, status: int) -> None:
    async with admin() as (http, done):
        answer = await http.post("/admin/sign-out", content=body, headers=BEARER)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == "bad_request"
        assert "expected" in answer.json()["error"]["message"]
        assert len(answer.text) < 400
        assert done.asked == []


@pytest.mark.parametrize(
    ("secret", "headers", "status"),
    [(SECRET, {}, 401), (SECRET, {"Authorization": "Bearer no"}, 401), (None, BEARER, 403)],
)
async def test_others_sign_nobody_out(
    secret: str | None, headers: dict[str, str], status: int
) -> None:
    async with admin(secret) as (http, done):
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == "forbidden"
        assert done.asked == []


async def test_a_bridge_that_does_not_run_signs_nobody_out() -> None:
    async with admin(running=False) as (http, _):
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"


async def test_a_sign_out_that_can_not_be_stored_says_so() -> None:
    async def full(**_whom: str) -> int:
        raise LogUnusableError("the disk is full")

    app = Starlette(
        routes=Admin(AdminAuth(SecretStr(SECRET), ClientAddress()), lambda: full).routes()
    )
    async with asked(app) as http:
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503
        assert "sign out again" in answer.json()["error"]["message"]


async def test_the_bridge_itself_signs_out() -> None:
    app = bridge(admin_secret=SecretStr(SECRET))
    async with asked(app) as http:
        answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
        assert answer.status_code == 503  # it does not run yet
        async with app.lifespan():
            async with asyncio.timeout(5):
                while (await http.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.01)
            answer = await http.post("/admin/sign-out", json={"sub": "a-user"}, headers=BEARER)
            assert answer.json() == {"ok": True, "closed": 0}
            assert (await http.post("/admin/sign-out", json={"sub": "a"})).status_code == 401


async def test_it_is_a_post() -> None:
    async with admin() as (http, _):
        assert (await http.get("/admin/sign-out", headers=BEARER)).status_code == 405
