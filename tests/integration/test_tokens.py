"""Tokens and signing keys, against an HTTP server that publishes a project's keys."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.auth.authenticator import Authenticator
from bridge.auth.claims import TokenRequirements
from bridge.auth.jwks_client import MAX_BYTES, JwksClient
from bridge.auth.policy import AccessPolicy
from bridge.auth.revocations import RevocationList
from bridge.auth.token_verifier import TOKEN_CHARACTERS, TokenVerifier
from bridge.clock import SystemClock
from bridge.errors import Code, RequestRejected
from bridge.options import authenticator
from bridge.rights import UNRESTRICTED, Rights
from tests import tokens
from tests.fakes import settings
from tests.tokens import SECRET, USER, JwksServer, Key, claims, jwks_server, legacy, spelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.auth.policy import AuthMode

PAUSE = 0.05
"""Seconds between two fetches in most tests; shorter than the default."""

ES = Key("ES256", "es")
RS = Key("RS256", "rs")
ED = Key("EdDSA", "ed")
SHOWN = [ES.jwk(), RS.jwk(), ED.jwk()]
STRANGER = Key("ES256", "es")
"""A key under the `kid` of another one."""


class Verification:
    """A project's key server, and an authenticator that uses its keys."""

    def __init__(self, server: JwksServer, keys: JwksClient, access: Authenticator) -> None:
        self.server, self.keys, self.access = server, keys, access

    def claims(self, **changed: Any) -> dict[str, Any]:
        return claims(self.server.issuer, **changed)

    async def rights(self, token: str | None) -> Rights:
        return (await self.access.authenticate(token)).rights

    async def code(self, token: str | None) -> str:
        """Return `ok`, or the code of the rejection."""
        try:
            await self.access.authenticate(token)
        except RequestRejected as refused:
            return refused.code.value
        return "ok"


@asynccontextmanager
async def opened(
    *,
    mode: AuthMode = "optional",
    secret: str | None = SECRET,
    pause: float = PAUSE,
    refresh: float = 600,
    timeout: float = 5,
    audience: str = "authenticated",
) -> AsyncIterator[Verification]:
    async with jwks_server() as server:
        server.keys = list(SHOWN)
        keys = JwksClient(server.url, pause=pause, refresh=refresh, timeout=timeout)
        terms = TokenRequirements(
            issuer=server.issuer, audience=audience, leeway=10, max_lifetime=604_800
        )
        verifier = TokenVerifier(keys, terms, SystemClock(), secret=secret)
        revocations = RevocationList(None, SystemClock(), keep=604_820)
        access = Authenticator(mode, verifier, AccessPolicy(), keys=keys, revocations=revocations)
        try:
            yield Verification(server, keys, access)
        finally:
            await access.close()


@pytest.fixture(scope="module")
async def auth() -> AsyncIterator[Verification]:
    async with opened() as one:
        yield one


# -- verification --------------------------------------------------------------------------------

SIGNERS: dict[str, Any] = {
    "ES256": ES.sign,
    "RS256": RS.sign,
    "EdDSA": ED.sign,
    "HS256": legacy,
}
"""A key of each supported kind."""


def claim_faults(now: float) -> dict[str, tuple[dict[str, Any], str]]:
    """Changed claims, and the result of each."""
    return {
        "none": ({}, "ok"),
        "several audiences": ({"aud": ["x", "authenticated"]}, "ok"),
        "no session": ({"session_id": None}, "ok"),
        "just expired, within leeway": ({"exp": now - 2, "iat": now - 60}, "ok"),
        "expired": ({"exp": now - 60, "iat": now - 120}, "token_expired"),
        "no exp": ({"exp": None}, "token_invalid"),
        "exp as a string": ({"exp": str(now + 60)}, "token_invalid"),
        "lives too long": ({"exp": now + 700_000}, "token_invalid"),
        "issued in the future": ({"iat": now + 600}, "token_invalid"),
        "no iat": ({"iat": None}, "token_invalid"),
        "not valid yet": ({"nbf": now + 600}, "token_invalid"),
        "other issuer": ({"iss": "https://evil.example/auth/v1"}, "token_invalid"),
        "no issuer": ({"iss": None}, "token_invalid"),
        "other audience": ({"aud": "anon"}, "token_invalid"),
        "no audience": ({"aud": None}, "token_invalid"),
        "no user": ({"sub": None}, "token_invalid"),
        "empty user": ({"sub": ""}, "token_invalid"),
        "user as a number": ({"sub": 7}, "token_invalid"),
        "API key": ({"sub": None, "role": "anon", "iss": "supabase"}, "token_invalid"),
    }


@pytest.mark.parametrize("fault", claim_faults(0))
@pytest.mark.parametrize("algorithm", SIGNERS)
async def test_token_is_verified_with_each_kind_of_key(
    auth: Verification, algorithm: str, fault: str
) -> None:
    changed, expected = claim_faults(int(SystemClock().wall()))[fault]
    token = SIGNERS[algorithm](auth.claims(**changed))
    assert await auth.code(token) == expected


def public_pem(key: Key) -> bytes:
    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged_with_public_key(key: Key, values: dict[str, Any], kid: str) -> str:
    """Tokens signed with HS256 and a public key as the secret (algorithm confusion)."""
    import hashlib
    import hmac

    unsigned = spelled({"alg": "HS256", "typ": "JWT", "kid": kid}, values).rpartition(".")[0]
    signature = hmac.new(public_pem(key), unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{jwt.utils.base64url_encode(signature).decode()}"


def wrong_tokens(auth: Verification) -> dict[str, str]:
    good = ES.sign(auth.claims())
    header, payload, signature = good.split(".")
    values = auth.claims()
    other = spelled({}, {**values, "sub": "somebody-else"}).split(".")[1]
    return {
        "empty": "",
        "no JWT": "hello",
        "two parts": f"{header}.{payload}",
        "four parts": f"{good}.x",
        "dots": "...",
        "not base64": "!.!.!",
        "not ASCII": "é.é.é",
        "a lone surrogate": "\ud800.\ud800.\ud800",
        "a null byte": f"{good}\x00.",
        "header no JSON": spelled("{", values),
        "header a list": spelled(["ES256"], values),
        "header deep": spelled("[" * 3000, values),
        "payload no JSON": ES_signed(b"{"),
        "payload a list": ES_signed(b"[]"),
        "payload deep": ES_signed(b'{"a":' * 900 + b"1" + b"}" * 900),
        "a number of 3000 digits": spelled('{"alg":' + "9" * 3000 + "}", values),
        "unsigned": spelled({"alg": "none", "typ": "JWT"}, values),
        "unsigned, with a key": spelled({"alg": "none", "kid": "es"}, values, b"x"),
        "unsigned, spelled otherwise": spelled({"alg": "NONE", "kid": "es"}, values),
        "no algorithm": spelled({"kid": "es"}, values, b"x"),
        "algorithm a list": spelled({"alg": ["ES256"], "kid": "es"}, values, b"x"),
        "no signature": f"{header}.{payload}.",
        "signature cut": good[:-10],
        "other claims, same signature": f"{header}.{other}.{signature}",
        "a stranger's key": STRANGER.sign(values),
        "other kind of key": ES.sign(values, headers={"kid": "rs"}),
        "HS256 by the public key of ES": forged_with_public_key(ES, values, "es"),
        "HS256 by the public key of RS": forged_with_public_key(RS, values, "rs"),
        "HS256 by another secret": legacy(values, "another-secret-which-is-as-long-as-that"),
        "HS512 by the secret": jwt.encode(values, SECRET * 2, "HS512", headers={"kid": "legacy"}),
        "RS512": RS.sign(values, algorithm="RS512"),
        "PS256": RS.sign(values, algorithm="PS256"),
        "no kid": jwt.encode(values, ES.private, "ES256"),
        "empty kid": ES.sign(values, headers={"kid": ""}),
        "kid of another type": spelled({"alg": "ES256", "kid": 7}, values, b"x" * 64),
        "kid a path": ES.sign(values, headers={"kid": "../../etc/passwd"}),
        "its own key": STRANGER.sign(values, headers={"jwk": STRANGER.jwk(), "kid": "es"}),
        "its own key's address": STRANGER.sign(
            values, headers={"jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/"}
        ),
        "critical extension": ES.sign(values, headers={"crit": ["exp"], "exp": 1}),
        "detached payload": ES.sign(values, headers={"b64": False, "crit": ["b64"]}),
        "too long": ES.sign({**values, "pad": "x" * TOKEN_CHARACTERS}),
        "publishable key": "sb_publishable_of_the_tests",
        "secret key": "sb_secret_of_the_tests",
    }


def ES_signed(payload: bytes) -> str:  # noqa: N802 - the key's name
    return jwt.PyJWS().encode(payload, ES.private, "ES256", headers={"kid": "es"})


@pytest.mark.parametrize("name", wrong_tokens(Verification(JwksServer(), None, None)))  # type: ignore[arg-type]
async def test_token_with_an_invalid_signature_is_rejected(auth: Verification, name: str) -> None:
    assert await auth.code(wrong_tokens(auth)[name]) == "token_invalid"


async def test_rejection_never_quotes_the_token(auth: Verification) -> None:
    for token in wrong_tokens(auth).values():
        with pytest.raises(RequestRejected) as caught:
            await auth.access.authenticate(token)
        parts = [part for part in token.split(".") if len(part) > 8]
        assert not any(part in caught.value.message for part in parts)


async def test_hs256_token_is_rejected_without_the_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(secret=None) as auth:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert await auth.code(legacy(auth.claims())) == "token_invalid"
        assert auth.server.requests == 0
        assert await auth.code(ES.sign(auth.claims())) == "ok"
    [record] = caplog.records
    assert "set SUPABASE_JWT_SECRET" in record.getMessage()


async def test_published_symmetric_key_is_not_accepted() -> None:
    async with opened(secret=None) as auth:
        shown = {"kty": "oct", "kid": "oct", "alg": "HS256", "k": "c2VjcmV0" * 8}
        auth.server.keys.append(shown)
        key = jwt.PyJWK.from_dict(shown)
        token = jwt.encode(auth.claims(), key, "HS256", headers={"kid": "oct"})
        assert await auth.code(token) == "token_invalid"


# -- modes -----------------------------------------------------------------------------------------


async def test_optional_token_has_to_be_valid(auth: Verification) -> None:
    assert await auth.rights(None) == UNRESTRICTED
    assert await auth.rights(ES.sign(auth.claims())) == Rights(None, "public", USER)
    assert await auth.code("") == "token_invalid"


async def test_required_token_cannot_be_omitted() -> None:
    async with opened(mode="required") as auth:
        assert await auth.code(None) == "token_required"
        assert await auth.code("x") == "token_invalid"
        assert (await auth.rights(ES.sign(auth.claims()))).user == USER


async def test_tokens_are_ignored_if_auth_is_off() -> None:
    async with opened(mode="off") as auth:
        for token in (None, "x", ES.sign(auth.claims())):
            assert await auth.access.authenticate(token) == await auth.access.authenticate(None)
        assert auth.server.requests == 0


async def test_authenticator_uses_url_and_issuer_of_the_settings() -> None:
    async with jwks_server() as server:
        server.keys = SHOWN
        of_the_settings = settings(supabase_jwt_secret=SECRET, token_leeway=0)
        access = authenticator(of_the_settings, server.base)
        elsewhere = authenticator(settings(token_issuer="https://auth.example.com"), server.base)
        try:
            token = ES.sign(claims(server.issuer))
            assert (await access.authenticate(token)).claims is not None
            assert (await access.authenticate(legacy(claims(server.issuer)))).claims is not None
            with pytest.raises(
                RequestRejected, match=r"expected iss to be https://auth\.example\.com"
            ):
                await elsewhere.authenticate(token)
            assert await elsewhere.authenticate(ES.sign(claims("https://auth.example.com")))
        finally:
            await access.close()
            await elsewhere.close()


# -- fetches of keys -------------------------------------------------------------------------------


async def test_keys_are_not_fetched_before_the_first_token() -> None:
    async with opened() as auth:
        await auth.code(None)
        await auth.code("nonsense")
        await auth.code(legacy(auth.claims()))
        assert auth.server.requests == 0


async def test_concurrent_lookups_share_one_fetch() -> None:
    async with opened() as auth:
        token = ES.sign(auth.claims())
        assert set(await asyncio.gather(*(auth.code(token) for _ in range(500)))) == {"ok"}
        assert set(await asyncio.gather(*(auth.code(token) for _ in range(500)))) == {"ok"}
        assert auth.server.requests == 1


async def test_new_key_is_fetched_with_its_first_token() -> None:
    async with opened() as auth:
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        new = Key("ES256", "new")
        auth.server.keys.append(new.jwk())
        assert await auth.code(new.sign(auth.claims())) == "ok"
        assert auth.server.requests == 2


async def test_key_replaced_under_its_kid_is_used_after_a_fetch() -> None:
    async with opened() as auth:
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        auth.server.keys = [STRANGER.jwk(), RS.jwk()]
        await auth.code(Key("ES256", "no such key").sign(auth.claims()))
        assert await auth.code(ES.sign(auth.claims())) == "token_invalid"
        assert await auth.code(STRANGER.sign(auth.claims())) == "ok"


async def test_flood_of_unknown_kids_costs_few_fetches_and_rejects_no_valid_token() -> None:
    async with opened(pause=0.2) as auth:
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        flood = [Key("EdDSA", f"made up {number}").sign(auth.claims()) for number in range(400)]
        new = Key("ES256", "new")
        auth.server.keys.append(new.jwk())
        codes = await asyncio.gather(*map(auth.code, [*flood, new.sign(auth.claims())]))
        assert codes[-1] == "ok"
        assert set(codes[:-1]) == {"token_invalid"}
        # The first fetch, and the one shared by all lookups.
        assert auth.server.requests == 2


async def test_fetches_start_at_least_a_pause_apart() -> None:
    async with opened(pause=0.2) as auth:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(3):
            await auth.code(Key("EdDSA", f"made up {number}").sign(auth.claims()))
        assert auth.server.requests == 3
        # Independent of speed: three fetches have two pauses between them.
        assert loop.time() - began >= 0.39


async def test_revoked_key_is_rejected_after_the_next_refresh() -> None:
    async with opened(refresh=0.05, pause=0.01) as auth:
        running = asyncio.create_task(auth.access.run())
        try:
            assert await auth.code(ES.sign(auth.claims())) == "ok"
            auth.server.keys = [RS.jwk()]
            async with asyncio.timeout(10):
                while await auth.code(ES.sign(auth.claims())) == "ok":
                    await asyncio.sleep(0.01)
            assert await auth.code(RS.sign(auth.claims())) == "ok"
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_removed_and_replaced_keys_are_reported_once() -> None:
    removed: list[set[str]] = []
    async with opened(pause=0.01) as auth:
        auth.access.on_keys_revoked(lambda kids: removed.append(set(kids)))
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        for shown in (
            [*SHOWN, Key("ES256", "one more").jwk()],
            SHOWN[::-1],
            [STRANGER.jwk(), RS.jwk()],
            [STRANGER.jwk(), RS.jwk()],
        ):
            auth.server.keys = shown
            await auth.code(Key("ES256", "no such key").sign(auth.claims()))
        assert removed == [{"one more"}, {"es", "ed"}]


OUTAGES: dict[str, Any] = {
    "500": tokens.plain(b"no", 500),
    "404": tokens.plain(b'{"keys": []}', 404),
    "redirect": tokens.plain(b"", 302, location="http://127.0.0.1:9/"),
    "garbage": tokens.plain(b"<html>oops</html>"),
    "other JSON": tokens.plain(b'{"error": "no"}'),
    "binary": tokens.plain(bytes(range(256))),
    "too large": tokens.plain(b'{"keys": [' + b" " * MAX_BYTES + b"]}"),
    "compressed": tokens.plain(gzip.compress(b" " * 50_000_000 + b'{"keys": []}'), encoding="gzip"),
    "silence": tokens.never,
    "breaks off": tokens.drop,
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_cached_keys_are_used_during_an_outage(
    outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(timeout=0.3) as auth:
        removed: list[object] = []
        auth.access.on_keys_revoked(removed.append)
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        auth.server.answer = OUTAGES[outage]
        new = Key("ES256", "new")
        with caplog.at_level(logging.WARNING):
            # The token cannot be verified, so it is not rejected as invalid.
            assert await auth.code(new.sign(auth.claims())) == "not_ready"
            assert await auth.code(new.sign(auth.claims())) == "not_ready"
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        assert await auth.code(STRANGER.sign(auth.claims())) == "token_invalid"
        [record] = [record for record in caplog.records if "can't be fetched" in record.message]
        assert "until then the cached keys are used" in record.message
        auth.server.answer = None
        auth.server.keys.append(new.jwk())
        assert await auth.code(new.sign(auth.claims())) == "ok"
        assert removed == []


@pytest.mark.parametrize("outage", OUTAGES)
async def test_outage_at_the_start_rejects_tokens_until_it_ends(outage: str) -> None:
    async with opened(timeout=0.3) as auth:
        auth.server.answer = OUTAGES[outage]
        assert await auth.code(ES.sign(auth.claims())) == "not_ready"
        assert await auth.code(None) == "ok"
        assert await auth.code(legacy(auth.claims())) == "ok"
        auth.server.answer = None
        assert await auth.code(ES.sign(auth.claims())) == "ok"


async def test_refused_connection_is_an_outage() -> None:
    access = authenticator(settings(), "http://127.0.0.1:9")
    try:
        with pytest.raises(RequestRejected) as caught:
            await access.authenticate(ES.sign(claims("x")))
        assert caught.value.code is Code.NOT_READY
    finally:
        await access.close()


async def test_keys_are_not_fetched_after_close() -> None:
    async with opened() as auth:
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        await auth.access.close()
        await auth.access.close()
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        assert await auth.code(Key("ES256", "new").sign(auth.claims())) == "not_ready"
        assert auth.server.requests == 1


async def test_slow_fetch_does_not_delay_tokens_with_cached_keys() -> None:
    async with opened() as auth:
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        held = asyncio.Event()

        async def slow(_request: Any) -> Any:
            held.set()
            return await tokens.never(_request)

        auth.server.answer = slow
        waiting = asyncio.create_task(auth.code(Key("ES256", "new").sign(auth.claims())))
        await held.wait()
        assert await auth.code(ES.sign(auth.claims())) == "ok"
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_cancelled_lookup_does_not_cancel_the_shared_fetch() -> None:
    async with opened() as auth:
        released = asyncio.Event()
        asked = asyncio.Event()

        async def slow(_request: Any) -> Any:
            asked.set()
            await released.wait()
            return await tokens.plain(json.dumps({"keys": SHOWN}).encode())(_request)

        auth.server.answer = slow
        first = asyncio.create_task(auth.code(ES.sign(auth.claims())))
        await asked.wait()
        second = asyncio.create_task(auth.code(ES.sign(auth.claims())))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        released.set()
        assert await second == "ok"
        assert auth.server.requests == 1


async def test_unusable_key_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as auth:
        auth.server.keys = [Key("ES384", "odd").jwk(), *SHOWN]
        with caplog.at_level(logging.WARNING):
            assert await auth.code(ES.sign(auth.claims())) == "ok"
            await auth.code(Key("ES256", "no such key").sign(auth.claims()))
        [record] = caplog.records
        assert "rejected key 0" in record.getMessage()
        assert auth.server.requests == 2
