"""Issues access tokens of users and serves the JWKS that verifies them.

This is the part of Supabase Auth that a resource server depends on.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ALGORITHM: Final = "ES256"

DEMO_USER: Final = "d3300000-0000-4000-8000-000000000001"
"""The id of the user for which `bridge dev` issues a token."""


class UserTokens:
    """Signs tokens with a key that is generated per instance."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = str(uuid.uuid4())
        self.issuer = ""
        """The `iss` claim; set when the port of the sandbox is bound."""

    def key_set(self) -> dict[str, Any]:
        """Return the JWKS document."""
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        metadata = {"kid": self._kid, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"]}
        return {"keys": [{**public, **metadata, "ext": True}]}

    def token(self, subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
        """Return an access token as Supabase Auth issues it for a new session, valid for `lifetime`
        seconds (negative: expired). `claims` add to or replace the default claims.
        """
        now = int(time.time())
        defaults = {
            "iss": self.issuer,
            "sub": subject,
            "aud": "authenticated",
            "iat": min(now, now + int(lifetime)),
            "exp": now + int(lifetime),
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": now}],
            "session_id": str(uuid.uuid4()),
            "email": f"{subject}@sandbox.example",
            "phone": "",
            "is_anonymous": False,
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {},
        }
        return jwt.encode(defaults | claims, self._key, ALGORITHM, headers={"kid": self._kid})

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a valid token. Raises `jwt.InvalidTokenError`."""
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key.public_key(),
            [ALGORITHM],
            audience="authenticated",
            issuer=self.issuer,
            options={"require": ["exp", "sub"]},
        )
        return claims

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/auth/v1/.well-known/jwks.json", self._serve_key_set)]

    async def _serve_key_set(self, _request: web.Request) -> web.Response:
        return web.json_response(
            text=json.dumps(self.key_set()), headers={"Cache-Control": "public, max-age=600"}
        )
