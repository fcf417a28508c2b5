"""Users' tokens, valid and invalid, their signing keys, and a server of the key set."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from bridge.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECRET = "the-legacy-secret-of-the-tests-which-is-long-enough"
USER = "5b0d6f3c-54a5-4f0a-9f0e-0d2c4f9f0a11"

Private = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


class Key:
    """A private key with its `kid`."""

    def __init__(self, algorithm: str, kid: str, *, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.kid = kid
        makers: dict[str, Callable[[], Private]] = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "RS256": lambda: rsa.generate_private_key(65537, bits),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "Ed448": ed448.Ed448PrivateKey.generate,
        }
        self.private = makers[algorithm]()

    def jwk(self, *, private: bool = False, **members: Any) -> dict[str, Any]:
        """Return the JWK; members that are None are omitted."""
        key = self.private if private else self.private.public_key()
        algorithm: Any = {
            "ES256": ECAlgorithm,
            "ES384": ECAlgorithm,
            "RS256": RSAAlgorithm,
            "EdDSA": OKPAlgorithm,
            "Ed448": OKPAlgorithm,
        }[self.algorithm]
        shown = {
            **json.loads(algorithm.to_jwk(key)),
            "kid": self.kid,
            "alg": "EdDSA" if self.algorithm == "Ed448" else self.algorithm,
            "use": "sig",
            "key_ops": ["verify"],
            **members,
        }
        return {name: value for name, value in shown.items() if value is not None}

    def sign(
        self,
        claims: dict[str, Any],
        *,
        algorithm: str | None = None,
        headers: dict[str, Any] | None = None,
    ) -> str:
        """Return a token with these claims alone."""
        algorithm = algorithm or ("EdDSA" if self.algorithm == "Ed448" else self.algorithm)
        return jwt.encode(
            claims, self.private, algorithm, headers={"kid": self.kid, **(headers or {})}
        )


def claims(issuer: str, now: float | None = None, **changed: Any) -> dict[str, Any]:
    """Return the claims that Supabase Auth gives a user, changed; None omits a claim."""
    at = int(SystemClock().wall() if now is None else now)
    given = {
        "iss": issuer,
        "aud": "authenticated",
        "sub": USER,
        "iat": at,
        "exp": at + 3600,
        "role": "authenticated",
        "aal": "aal1",
        "session_id": "0c8f7d52-6a0a-4d53-8a0e-4d3c9d1b2a33",
        "email": "demo@example.com",
        "phone": "",
        "is_anonymous": False,
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {},
        **changed,
    }
    return {name: value for name, value in given.items() if value is not None}


def legacy(values: dict[str, Any], secret: str = SECRET, **headers: Any) -> str:
    """Return a token signed with a shared secret, as legacy projects have."""
    return jwt.encode(values, secret, "HS256", headers=headers or {"kid": "legacy"})


def spelled(header: Any, payload: Any, signature: bytes = b"") -> str:
    """Return a token of these parts, unchecked; str and bytes are encoded as they are."""

    def part(value: Any) -> str:
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        encoded = text.encode() if isinstance(text, str) else text
        return jwt.utils.base64url_encode(encoded).decode()

    return f"{part(header)}.{part(payload)}.{part(signature)}"


class JwksServer:
    """Serves `keys` at `url` and counts the `requests`; `answer` replaces the response."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.requests = 0
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.base = ""

    @property
    def url(self) -> str:
        return f"{self.base}/auth/v1/.well-known/jwks.json"

    @property
    def issuer(self) -> str:
        return f"{self.base}/auth/v1"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"keys": self.keys})


@asynccontextmanager
async def jwks_server() -> AsyncIterator[JwksServer]:
    """Run a `JwksServer` on a free port of loopback."""
    server = JwksServer()
    app = web.Application()
    app.router.add_get("/auth/v1/.well-known/jwks.json", server.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def plain(body: bytes, status: int = 200, *, encoding: str = "", location: str = "") -> Any:
    """Return a handler for `JwksServer.answer`."""
    given = {"Content-Encoding": encoding, "Location": location}
    headers = {name: value for name, value in given.items() if value}

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def never(_request: web.Request) -> web.StreamResponse:
    """Send no response."""
    await asyncio.Event().wait()
    raise AssertionError


async def drop(request: web.Request) -> web.StreamResponse:
    """Abort the connection within the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"keys": [')
    assert request.transport is not None
    request.transport.abort()
    return response
