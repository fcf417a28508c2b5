"""Parses a JSON Web Key Set (RFC 7517) and validates each key. No I/O.

The type of a key determines its one algorithm, so a token cannot choose another one for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jwt
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEYS: Final = 50
"""More than any project has; further keys are ignored."""

MIN_RSA_BITS: Final = 2048
"""As RFC 7518, section 3.3, requires."""

ALGORITHMS: Final = {
    ("EC", "P-256"): ("ES256", {"ES256"}),
    ("RSA", None): ("RS256", {"RS256"}),
    ("OKP", "Ed25519"): ("EdDSA", {"EdDSA", "Ed25519"}),
}
"""By `kty` and `crv`: the algorithm of tokens, and the accepted values of the key's own `alg`."""

ASYMMETRIC: Final = frozenset(algorithm for algorithm, _ in ALGORITHMS.values())
SYMMETRIC: Final = "HS256"

Keys: TypeAlias = "Mapping[str, jwt.PyJWK]"
"""Keys by `kid`."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The valid keys of a document."""

    keys: Keys
    rejected: tuple[str, ...] = ()
    """For each key that cannot be used, its index and the reason."""


def parse_jwks(body: bytes) -> KeySet:
    """Return the keys of a JWKS document. Raises ValueError if it is not one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"expected a JWKS document, got no JSON ({error})") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('expected a JWKS document, {"keys": [...]}, got other JSON')  # noqa: TRY004
    keys: dict[str, jwt.PyJWK] = {}
    rejected = []
    for number, each in enumerate(listed[:MAX_KEYS]):
        try:
            kid, key = _key(each)
            if kid in keys:
                raise ValueError("another key has the same kid")  # noqa: TRY301
            keys[kid] = key
        except ValueError as error:
            rejected.append(f"key {number}: {error}")
    return KeySet(keys, tuple(rejected))


def secret_key(secret: str) -> jwt.PyJWK:
    """Return the HS256 key of a project's legacy secret."""
    encoded = jwt.utils.base64url_encode(secret.encode()).decode()
    return jwt.PyJWK.from_dict({"kty": "oct", "k": encoded}, SYMMETRIC)


def _key(jwk: Any) -> tuple[str, jwt.PyJWK]:
    if not isinstance(jwk, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - one error type for all reasons
    kid, kty, crv = jwk.get("kid"), jwk.get("kty"), jwk.get("crv")
    if not isinstance(kid, str) or not kid:
        raise ValueError("it has no kid")
    if not isinstance(kty, str) or (crv is not None and not isinstance(crv, str)):
        raise ValueError("expected kty and crv as strings")
    if (kty, crv) not in ALGORITHMS:
        raise ValueError(f"kty {kty[:20]!r} with crv {crv and crv[:20]!r} is not one in use")
    if "d" in jwk:
        raise ValueError("it is a private key, with which anyone could sign")
    algorithm, names = ALGORITHMS[kty, crv]
    if jwk.get("alg", algorithm) not in names:
        raise ValueError(f"its alg is not {algorithm}")
    if jwk.get("use", "sig") != "sig" or not _verifies(jwk.get("key_ops")):
        raise ValueError("it is not meant for signatures")
    try:
        # `alg` has been checked above; the library uses the algorithm that is passed.
        key = jwt.PyJWK.from_dict({name: jwk[name] for name in jwk if name != "alg"}, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it can't be read ({type(error).__name__})") from None
    if kty == "RSA" and key.key.key_size < MIN_RSA_BITS:
        raise ValueError(f"it has fewer than {MIN_RSA_BITS} bits")
    return kid, key


def _verifies(operations: Any) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)
