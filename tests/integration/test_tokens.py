"""Tokens and keys, against a server that shows a project's keys over HTTP."""

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

    from bridge.auth.authenticator import AuthMode

PAUSE = 0.05
"""Between two fetches, in most tests; the real ones wait longer."""

ES = Key("ES256", "es")
RS = Key("RS256", "rs")
ED = Key("EdDSA", "ed")
SHOWN = [ES.jwk(), RS.jwk(), ED.jwk()]
STRANGER = Key("ES256", "es")
"""Has the name of another's key."""


class Door:
    """A project's key server, and somebody who looks at tokens by its keys."""

    def __init__(self, server: JwksServer, keys: JwksClient, access: Authenticator) -> None:
        self.server, self.keys, self.access = server, keys, access

    def claims(self, **changed: Any) -> dict[str, Any]:
        return claims(self.server.issuer, **changed)

    async def rights(self, token: str | None) -> Rights:
        return (await self.access.authenticate(token)).rights

    async def code(self, token: str | None) -> str:
        """What becomes of it: `ok`, or why not."""
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
) -> AsyncIterator[Door]:
    async with jwks_server() as server:
        server.keys = list(SHOWN)
        keys = JwksClient(server.url, pause=pause, refresh=refresh, timeout=timeout)
        terms = TokenRequirements(
            issuer=server.issuer, audience=audience, leeway=10, max_lifetime=604_800
        )
        verifier = TokenVerifier(keys, terms, SystemClock(), secret=secret)
        sign_outs = RevocationList(None, SystemClock(), keep=604_820)
        access = Authenticator(mode, verifier, AccessPolicy(), keys=keys, sign_outs=sign_outs)
        try:
            yield Door(server, keys, access)
        finally:
            await access.close()


@pytest.fixture(scope="module")
async def door() -> AsyncIterator[Door]:
    async with opened() as one:
        yield one


# -- which tokens are believed -------------------------------------------------------------------

SIGNERS: dict[str, Any] = {
    "ES256": ES.sign,
    "RS256": RS.sign,
    "EdDSA": ED.sign,
    "HS256": legacy,
}
"""By each kind of key that there may be."""


def claim_faults(now: float) -> dict[str, tuple[dict[str, Any], str]]:
    """Claims that are changed, and what becomes of the token."""
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
async def test_each_key_proves_the_claims_and_no_more(
    door: Door, algorithm: str, fault: str
) -> None:
    changed, expected = claim_faults(int(SystemClock().wall()))[fault]
    token = SIGNERS[algorithm](door.claims(**changed))
    assert await door.code(token) == expected


def public_pem(key: Key) -> bytes:
    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged_with_public_key(key: Key, values: dict[str, Any], kid: str) -> str:
    """HS256 by what everybody can read: the oldest trick against who lets tokens choose."""
    import hashlib
    import hmac

    unsigned = spelled({"alg": "HS256", "typ": "JWT", "kid": kid}, values).rpartition(".")[0]
    signature = hmac.new(public_pem(key), unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{jwt.utils.base64url_encode(signature).decode()}"


def wrong_tokens(door: Door) -> dict[str, str]:
    good = ES.sign(door.claims())
    header, payload, signature = good.split(".")
    values = door.claims()
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


@pytest.mark.parametrize("name", wrong_tokens(Door(JwksServer(), None, None)))  # type: ignore[arg-type]
async def test_what_proves_nothing_is_refused(door: Door, name: str) -> None:
    assert await door.code(wrong_tokens(door)[name]) == "token_invalid"


async def test_no_refusal_quotes_the_token(door: Door) -> None:
    for token in wrong_tokens(door).values():
        with pytest.raises(RequestRejected) as caught:
            await door.access.authenticate(token)
        parts = [part for part in token.split(".") if len(part) > 8]
        assert not any(part in caught.value.message for part in parts)


async def test_without_the_secret_no_token_signed_with_one_is_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(secret=None) as door:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert await door.code(legacy(door.claims())) == "token_invalid"
        assert door.server.requests == 0
        assert await door.code(ES.sign(door.claims())) == "ok"
    [record] = caplog.records
    assert "set SUPABASE_JWT_SECRET" in record.getMessage()


async def test_a_symmetric_key_that_everybody_can_read_proves_nothing() -> None:
    async with opened(secret=None) as door:
        shown = {"kty": "oct", "kid": "oct", "alg": "HS256", "k": "c2VjcmV0" * 8}
        door.server.keys.append(shown)
        key = jwt.PyJWK.from_dict(shown)
        token = jwt.encode(door.claims(), key, "HS256", headers={"kid": "oct"})
        assert await door.code(token) == "token_invalid"


# -- who needs one ---------------------------------------------------------------------------------


async def test_where_tokens_are_optional_one_that_is_shown_must_be_good(door: Door) -> None:
    assert await door.rights(None) == UNRESTRICTED
    assert await door.rights(ES.sign(door.claims())) == Rights(None, "public", USER)
    assert await door.code("") == "token_invalid"


async def test_where_a_token_is_required_nobody_gets_in_without() -> None:
    async with opened(mode="required") as door:
        assert await door.code(None) == "token_required"
        assert await door.code("x") == "token_invalid"
        assert (await door.rights(ES.sign(door.claims()))).user == USER


async def test_where_tokens_are_off_nobody_looks_at_them() -> None:
    async with opened(mode="off") as door:
        for token in (None, "x", ES.sign(door.claims())):
            assert await door.access.authenticate(token) == await door.access.authenticate(None)
        assert door.server.requests == 0


async def test_settings_say_where_the_keys_are_and_who_issues_tokens() -> None:
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


# -- keys that come and go -------------------------------------------------------------------------


async def test_nothing_is_fetched_before_it_is_needed() -> None:
    async with opened() as door:
        await door.code(None)
        await door.code("nonsense")
        await door.code(legacy(door.claims()))
        assert door.server.requests == 0


async def test_the_keys_are_fetched_once_for_all_who_come_at_once() -> None:
    async with opened() as door:
        token = ES.sign(door.claims())
        assert set(await asyncio.gather(*(door.code(token) for _ in range(500)))) == {"ok"}
        assert set(await asyncio.gather(*(door.code(token) for _ in range(500)))) == {"ok"}
        assert door.server.requests == 1


async def test_a_new_key_is_found_when_its_first_token_comes() -> None:
    async with opened() as door:
        assert await door.code(ES.sign(door.claims())) == "ok"
        new = Key("ES256", "new")
        door.server.keys.append(new.jwk())
        assert await door.code(new.sign(door.claims())) == "ok"
        assert door.server.requests == 2


async def test_a_key_under_an_old_name_is_the_new_one_after_a_fetch() -> None:
    async with opened() as door:
        assert await door.code(ES.sign(door.claims())) == "ok"
        door.server.keys = [STRANGER.jwk(), RS.jwk()]
        await door.code(Key("ES256", "no such key").sign(door.claims()))
        assert await door.code(ES.sign(door.claims())) == "token_invalid"
        assert await door.code(STRANGER.sign(door.claims())) == "ok"


async def test_a_flood_of_made_up_keys_costs_few_fetches_and_nobody_good_is_refused() -> None:
    async with opened(pause=0.2) as door:
        assert await door.code(ES.sign(door.claims())) == "ok"
        flood = [Key("EdDSA", f"made up {number}").sign(door.claims()) for number in range(400)]
        new = Key("ES256", "new")
        door.server.keys.append(new.jwk())
        codes = await asyncio.gather(*map(door.code, [*flood, new.sign(door.claims())]))
        assert codes[-1] == "ok"
        assert set(codes[:-1]) == {"token_invalid"}
        # The first, and the one that they all waited for.
        assert door.server.requests == 2


async def test_between_two_fetches_there_is_a_pause_whatever_comes() -> None:
    async with opened(pause=0.2) as door:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(3):
            await door.code(Key("EdDSA", f"made up {number}").sign(door.claims()))
        assert door.server.requests == 3
        # Not a matter of speed: three fetches have two pauses between them.
        assert loop.time() - began >= 0.39


async def test_a_key_that_was_revoked_is_believed_no_longer_than_until_the_next_refresh() -> None:
    async with opened(refresh=0.05, pause=0.01) as door:
        running = asyncio.create_task(door.access.run())
        try:
            assert await door.code(ES.sign(door.claims())) == "ok"
            door.server.keys = [RS.jwk()]
            async with asyncio.timeout(10):
                while await door.code(ES.sign(door.claims())) == "ok":
                    await asyncio.sleep(0.01)
            assert await door.code(RS.sign(door.claims())) == "ok"
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_that_a_key_is_gone_or_replaced_under_its_name_is_told_once() -> None:
    gone: list[set[str]] = []
    async with opened(pause=0.01) as door:
        door.access.on_keys_revoked(lambda kids: gone.append(set(kids)))
        assert await door.code(ES.sign(door.claims())) == "ok"
        for shown in (
            [*SHOWN, Key("ES256", "one more").jwk()],
            SHOWN[::-1],
            [STRANGER.jwk(), RS.jwk()],
            [STRANGER.jwk(), RS.jwk()],
        ):
            door.server.keys = shown
            await door.code(Key("ES256", "no such key").sign(door.claims()))
        assert gone == [{"one more"}, {"es", "ed"}]


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
async def test_through_an_outage_the_last_good_keys_are_believed(
    outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(timeout=0.3) as door:
        gone: list[object] = []
        door.access.on_keys_revoked(gone.append)
        assert await door.code(ES.sign(door.claims())) == "ok"
        door.server.answer = OUTAGES[outage]
        new = Key("ES256", "new")
        with caplog.at_level(logging.WARNING):
            # Nothing can be said of it, so it isn't called wrong.
            assert await door.code(new.sign(door.claims())) == "not_ready"
            assert await door.code(new.sign(door.claims())) == "not_ready"
        assert await door.code(ES.sign(door.claims())) == "ok"
        assert await door.code(STRANGER.sign(door.claims())) == "token_invalid"
        [said] = [record for record in caplog.records if "can't be fetched" in record.message]
        assert "until then the cached keys are used" in said.message
        door.server.answer = None
        door.server.keys.append(new.jwk())
        assert await door.code(new.sign(door.claims())) == "ok"
        assert gone == []


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_at_the_beginning_refuses_nobody_for_good(outage: str) -> None:
    async with opened(timeout=0.3) as door:
        door.server.answer = OUTAGES[outage]
        assert await door.code(ES.sign(door.claims())) == "not_ready"
        assert await door.code(None) == "ok"
        assert await door.code(legacy(door.claims())) == "ok"
        door.server.answer = None
        assert await door.code(ES.sign(door.claims())) == "ok"


async def test_nobody_there_is_an_outage_too() -> None:
    access = authenticator(settings(), "http://127.0.0.1:9")
    try:
        with pytest.raises(RequestRejected) as caught:
            await access.authenticate(ES.sign(claims("x")))
        assert caught.value.code is Code.NOT_READY
    finally:
        await access.close()


async def test_after_the_end_nothing_is_fetched() -> None:
    async with opened() as door:
        assert await door.code(ES.sign(door.claims())) == "ok"
        await door.access.close()
        await door.access.close()
        assert await door.code(ES.sign(door.claims())) == "ok"
        assert await door.code(Key("ES256", "new").sign(door.claims())) == "not_ready"
        assert door.server.requests == 1


async def test_slow_keys_hold_up_nobody_who_needs_none() -> None:
    async with opened() as door:
        assert await door.code(ES.sign(door.claims())) == "ok"
        held = asyncio.Event()

        async def slow(_request: Any) -> Any:
            held.set()
            return await tokens.never(_request)

        door.server.answer = slow
        waiting = asyncio.create_task(door.code(Key("ES256", "new").sign(door.claims())))
        await held.wait()
        assert await door.code(ES.sign(door.claims())) == "ok"
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_who_gives_up_waiting_takes_nobody_along() -> None:
    async with opened() as door:
        released = asyncio.Event()
        asked = asyncio.Event()

        async def slow(_request: Any) -> Any:
            asked.set()
            await released.wait()
            return await tokens.plain(json.dumps({"keys": SHOWN}).encode())(_request)

        door.server.answer = slow
        first = asyncio.create_task(door.code(ES.sign(door.claims())))
        await asked.wait()
        second = asyncio.create_task(door.code(ES.sign(door.claims())))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        released.set()
        assert await second == "ok"
        assert door.server.requests == 1


async def test_a_key_that_cannot_be_used_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as door:
        door.server.keys = [Key("ES384", "odd").jwk(), *SHOWN]
        with caplog.at_level(logging.WARNING):
            assert await door.code(ES.sign(door.claims())) == "ok"
            await door.code(Key("ES256", "no such key").sign(door.claims()))
        [record] = caplog.records
        assert "rejected key 0" in record.getMessage()
        assert door.server.requests == 2
