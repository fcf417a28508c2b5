"""The tokens of signed-in users, and the key set by which they are checked: what of Supabase Auth a
server needs that trusts it. There is no way to sign up or in.
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
"""The id of the user that `bridge dev` gives a token to."""


class UserTokens:
    """Signs with a key of its own, made anew each time."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = str(uuid.uuid4())
        self.issuer = ""
        """Of the tokens; known when the sandbox has its port."""

    def key_set(self) -> dict[str, Any]:
        """The JWKS document."""
        shown = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        about = {"kid": self._kid, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"]}
        return {"keys": [{**shown, **about, "ext": True}]}

    def token(self, subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
        """What Supabase Auth would give that user for a new session, valid for `lifetime` seconds;
        below zero it is expired already. `claims` are added, or take the place of what is there.
        """
        now = int(time.time())
        usual = {
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
        return jwt.encode(usual | claims, self._key, ALGORITHM, headers={"kid": self._kid})

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/auth/v1/.well-known/jwks.json", self._serve_key_set)]

    async def _serve_key_set(self, _request: web.Request) -> web.Response:
        return web.json_response(
            text=json.dumps(self.key_set()), headers={"Cache-Control": "public, max-age=600"}
        )
