"""CPU per token: verification of signature and claims, and the access policy.

    python -m tests.bench.tokens

Both run on the event loop, once per connect and `authenticate`, never per event.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from bridge.auth import jwks
from bridge.auth.claims import TokenRequirements
from bridge.auth.policy import AccessPolicy, path
from bridge.auth.token_verifier import TokenVerifier
from bridge.clock import SystemClock
from bridge.errors import RequestRejected
from tests.tokens import SECRET, Key, claims, legacy

if TYPE_CHECKING:
    from collections.abc import Callable

    import jwt

ISSUER = "https://ref.supabase.co/auth/v1"
ROUNDS = 5
CALLS = 1000


class _KnownKeys:
    def __init__(self, keys: jwks.Keys) -> None:
        self._keys = keys

    async def get_key(self, kid: str) -> jwt.PyJWK | None:
        return self._keys.get(kid)


def show(name: str, seconds: list[float]) -> None:
    each = [1e6 * taken / CALLS for taken in seconds]
    print(f"| {name} | {statistics.median(each):.1f} | {min(each):.1f}-{max(each):.1f} |")


def timed(name: str, work: Callable[[], object]) -> None:
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            work()
        seconds.append(time.process_time() - began)
    show(name, seconds)


async def checked(name: str, verifier: TokenVerifier, token: str, code: str | None = None) -> None:
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            try:
                await verifier.verify(token)
            except RequestRejected as rejected:
                assert rejected.code.value == code  # noqa: PT017 - not a test
            else:
                assert code is None
        seconds.append(time.process_time() - began)
    show(name, seconds)


async def main() -> None:
    keys = [Key("ES256", "es"), Key("RS256", "rs"), Key("EdDSA", "ed")]
    known = _KnownKeys({key.kid: jwks._key(key.jwk())[1] for key in keys})
    terms = TokenRequirements(
        issuer=ISSUER, audience="authenticated", leeway=10, max_lifetime=604_800
    )
    verifier = TokenVerifier(known, terms, SystemClock(), secret=SECRET)
    values = claims(
        ISSUER,
        app_metadata={"roles": ["agent"], "regions": [f"R{number}" for number in range(10)]},
    )
    print("| per connect | CPU µs, median | range |\n|---|---:|---:|")
    for key in keys:
        await checked(f"valid token, {key.algorithm}", verifier, key.sign(values))
    await checked("valid token, HS256", verifier, legacy(values))
    await checked("wrong signature, ES256", verifier, keys[0].sign(values)[:-4], "token_invalid")
    await checked("not a JWT", verifier, "x" * 1000, "token_invalid")
    await checked("too long", verifier, "x" * 60_000, "token_invalid")
    rules = AccessPolicy(
        regions_claim=path("app_metadata.regions"),
        role_claims=tuple(map(path, ("role", "app_metadata.role", "app_metadata.roles"))),
        member_roles=frozenset({"agent"}),
    )
    of_ten = await verifier.verify(keys[0].sign(values))
    timed("policy, ten regions", lambda: rules.rights_for(of_ten))
    values["app_metadata"]["regions"] = [f"R{number}" for number in range(100)]
    of_hundred = await verifier.verify(keys[0].sign(values))
    timed("policy, a hundred regions", lambda: rules.rights_for(of_hundred))


if __name__ == "__main__":
    asyncio.run(main())
