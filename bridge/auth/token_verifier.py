"""Verifies the signature of a token and returns its claims."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import jwt
import orjson
from jwt import PyJWS

from bridge.auth import jwks
from bridge.auth.claims import reject_api_key
from bridge.auth.jwks_client import JwksUnavailableError
from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from jwt.types import SigOptions

    from bridge.auth.claims import Claims, TokenRequirements
    from bridge.clock import Clock

log = logging.getLogger(__name__)

TOKEN_CHARACTERS: Final = 8192
"""Longest accepted token. Supabase's have about 1,000 characters; proxies limit headers to 8 KB."""

UNVERIFIED: Final[SigOptions] = {"verify_signature": False}

API_KEYS: Final = ("sb_publishable_", "sb_secret_")


class KeyLookup(Protocol):
    async def get_key(self, kid: str) -> jwt.PyJWK | None:
        """Return the public key with this `kid`; None if there is none.

        Raises `jwks_client.JwksUnavailableError`.
        """
        ...


class TokenVerifier:
    """Accepts tokens signed with a key of the project: ES256, RS256 or EdDSA with the keys of
    `lookup`, HS256 with the legacy `secret`, if there is one.
    """

    def __init__(
        self,
        lookup: KeyLookup,
        requirements: TokenRequirements,
        clock: Clock,
        *,
        secret: str | None = None,
    ) -> None:
        self.requirements = requirements
        self._lookup = lookup
        self._clock = clock
        self._secret = None if secret is None else jwks.secret_key(secret)
        self._jws = PyJWS([*jwks.ASYMMETRIC, jwks.SYMMETRIC])
        self._legacy_warned = False

    @property
    def has_secret(self) -> bool:
        """Whether tokens signed with the legacy secret can be verified."""
        return self._secret is not None

    async def verify(self, token: str) -> Claims:
        """Return the claims of a valid token. The verification runs on the event loop: 20 to 200
        microseconds, depending on the algorithm.

        Raises `RequestRejected`: `token_invalid`, `token_expired`, or `not_ready` if the project's
        keys cannot be fetched.
        """
        kid, algorithm = self._header(token)
        key = await self._key(kid, algorithm)
        claims = self.requirements.validate(
            self._verified(token, key, algorithm), self._clock.wall()
        )
        return replace(claims, key=key.key_id)

    def _header(self, token: str) -> tuple[str | None, str]:
        """Return `kid` and `alg` of the token's header, unverified."""
        if len(token) > TOKEN_CHARACTERS:
            raise _invalid(f"expected a token of at most {TOKEN_CHARACTERS} characters")
        if token.startswith(API_KEYS):
            raise _invalid(
                "this is an API key of the project, not a user's token: expected the access_token "
                "of a signed-in user, or none"
            )
        try:
            decoded = self._jws.decode_complete(token, options=UNVERIFIED)
        except (jwt.PyJWTError, ValueError):
            # The library's message may quote the token.
            raise _invalid("expected a JWT, header.payload.signature, got something else") from None
        reject_api_key(_object(decoded["payload"]))
        kid, algorithm = decoded["header"].get("kid"), decoded["header"].get("alg")
        return kid, algorithm if isinstance(algorithm, str) else ""

    async def _key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        if algorithm == jwks.SYMMETRIC:
            # HS256 tokens have a `kid`, too, which is not in the project's public set.
            if self._secret is not None:
                return self._secret
            if not self._legacy_warned:
                self._legacy_warned = True
                log.warning(
                    "a token signed with HS256 was rejected: if users' tokens are signed with the "
                    "project's legacy JWT secret, set SUPABASE_JWT_SECRET"
                )
            raise _invalid("tokens signed with HS256 are not accepted by this bridge")
        if algorithm not in jwks.ASYMMETRIC:
            raise _invalid("expected a token signed with ES256, RS256, EdDSA or HS256")
        if not kid:
            raise _invalid("expected a token with the kid of its key")
        try:
            key = await self._lookup.get_key(kid)
        except JwksUnavailableError:
            raise RequestRejected(
                Code.NOT_READY, "tokens can't be verified at present; try again in a few seconds"
            ) from None
        if key is None:
            raise _invalid("the token is not signed with a key of the project")
        return key

    def _verified(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        """Return the payload of a token that is signed with `key`, by the key's algorithm."""
        if key.algorithm_name != algorithm:
            raise _invalid(f"the token's key is for {key.algorithm_name}")
        try:
            payload: bytes = self._jws.decode_complete(token, key, [algorithm])["payload"]
        except (jwt.PyJWTError, ValueError):
            raise _invalid("the token's signature is invalid") from None
        return _object(payload)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError:
        claims = None
    if not isinstance(claims, dict):
        raise _invalid("expected claims as a JSON object")
    return claims


def _invalid(message: str) -> RequestRejected:
    return RequestRejected(Code.TOKEN_INVALID, message)


BEARER_SCHEME: Final = "bearer "


def bearer_token(header: str | None) -> str | None:
    """Return the token of an `Authorization` header; None without one or with another scheme."""
    if header is None or header[: len(BEARER_SCHEME)].lower() != BEARER_SCHEME:
        return None
    return header[len(BEARER_SCHEME) :].strip()
