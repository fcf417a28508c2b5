"""From a token to the claims that it proves."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import jwt
import orjson
from jwt import PyJWS

from bridge.auth import jwks
from bridge.auth.claims import refuse_api_key
from bridge.auth.jwks_client import JwksUnavailableError
from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from jwt.types import SigOptions

    from bridge.auth.claims import Claims, TokenRequirements
    from bridge.clock import Clock

log = logging.getLogger(__name__)

TOKEN_CHARACTERS: Final = 8192
"""Of the longest token that is looked at. Supabase's have about 1,000; proxies cut headers off at
8 KB."""

UNVERIFIED: Final[SigOptions] = {"verify_signature": False}

API_KEYS: Final = ("sb_publishable_", "sb_secret_")


class KeyLookup(Protocol):
    async def get_key(self, kid: str) -> jwt.PyJWK | None:
        """The public key of that name; None: there is none.

        Raises `jwks_client.JwksUnavailableError`.
        """
        ...


class TokenVerifier:
    """Believes tokens that are signed with one of the project's keys: by ES256, RS256 or EdDSA with
    those that `lookup` knows, by HS256 with the legacy `secret`, where there is one.
    """

    def __init__(
        self,
        lookup: KeyLookup,
        terms: TokenRequirements,
        clock: Clock,
        *,
        secret: str | None = None,
    ) -> None:
        self.terms = terms
        self._lookup = lookup
        self._clock = clock
        self._secret = None if secret is None else jwks.secret_key(secret)
        self._jws = PyJWS([*jwks.ASYMMETRIC, jwks.SYMMETRIC])
        self._legacy_told = False

    @property
    def has_secret(self) -> bool:
        """Whether tokens that are signed with the legacy secret can be believed."""
        return self._secret is not None

    async def verify(self, token: str) -> Claims:
        """The token's claims. What it costs beyond a fetch of keys is done on the loop: 20 to 200
        microseconds, by algorithm.

        Raises `RequestRejected`: `token_invalid`, `token_expired`, or `not_ready` if the project's
        keys are out of reach.
        """
        kid, algorithm = self._header(token)
        key = await self._key(kid, algorithm)
        claims = self.terms.validate(self._proven(token, key, algorithm), self._clock.wall())
        return replace(claims, key=key.key_id)

    def _header(self, token: str) -> tuple[str | None, str]:
        """What the token says of its key. Nothing of it is proven."""
        if len(token) > TOKEN_CHARACTERS:
            raise _invalid(f"expected a token of at most {TOKEN_CHARACTERS} characters")
        if token.startswith(API_KEYS):
            raise _invalid(
                "this is an API key of the project, and no user's token: expected the access_token "
                "of a signed-in user, or none"
            )
        try:
            said = self._jws.decode_complete(token, options=UNVERIFIED)
        except (jwt.PyJWTError, ValueError):
            # Not the library's words, which may quote what came.
            raise _invalid(
                "expected a JWT, header.payload.signature, came something else"
            ) from None
        refuse_api_key(_object(said["payload"]))
        kid, algorithm = said["header"].get("kid"), said["header"].get("alg")
        return kid, algorithm if isinstance(algorithm, str) else ""

    async def _key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        if algorithm == jwks.SYMMETRIC:
            # Such tokens have a `kid` too, which is not in the project's public set.
            if self._secret is not None:
                return self._secret
            if not self._legacy_told:
                self._legacy_told = True
                log.warning(
                    "a token signed with HS256 was refused: if users' tokens are signed with the "
                    "project's legacy JWT secret, set SUPABASE_JWT_SECRET"
                )
            raise _invalid("tokens signed with HS256 are not taken by this bridge")
        if algorithm not in jwks.ASYMMETRIC:
            raise _invalid("expected a token signed with ES256, RS256, EdDSA or HS256")
        if not kid:
            raise _invalid("expected a token that names its key (kid)")
        try:
            key = await self._lookup.get_key(kid)
        except JwksUnavailableError:
            raise RequestRejected(
                Code.NOT_READY, "tokens can't be checked at present; try again in a few seconds"
            ) from None
        if key is None:
            raise _invalid("the token is signed with a key that is none of the project's")
        return key

    def _proven(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        """The payload, if the signature is that of the key, by the key's one algorithm."""
        if key.algorithm_name != algorithm:
            raise _invalid(f"the token's key is one for {key.algorithm_name}")
        try:
            payload: bytes = self._jws.decode_complete(token, key, [algorithm])["payload"]
        except (jwt.PyJWTError, ValueError):
            raise _invalid("the token's signature is wrong") from None
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
    """The token of an `Authorization` header; None where there is none, or another scheme."""
    if header is None or header[: len(BEARER_SCHEME)].lower() != BEARER_SCHEME:
        return None
    return header[len(BEARER_SCHEME) :].strip()
