from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.auth.claims import TokenRequirements, at_path
from bridge.errors import Code, RequestRejected
from tests import tokens

ISSUER = "https://ref.supabase.co/auth/v1"
NOW = 1_800_000_000
TERMS = TokenRequirements(issuer=ISSUER, audience="authenticated", leeway=10, max_lifetime=604_800)


def taken(terms: TokenRequirements = TERMS, now: float = NOW, **changed: Any) -> Any:
    return terms.validate(tokens.claims(ISSUER, NOW, **changed), now)


def refused(now: float = NOW, terms: TokenRequirements = TERMS, **changed: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        taken(terms, now, **changed)
    return caught.value


def test_claims_have_user_session_and_expiry() -> None:
    claims = taken()
    assert claims.user == tokens.USER
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + 3600)
    assert claims.session == "0c8f7d52-6a0a-4d53-8a0e-4d3c9d1b2a33"
    assert claims.values["email"] == "demo@example.com"


def test_token_with_several_audiences_is_accepted() -> None:
    assert taken(aud=["other", "authenticated"]).user == tokens.USER


def test_token_without_a_session_is_accepted() -> None:
    assert taken(session_id=None).session is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iss": None}, f"expected iss to be {ISSUER}, got nothing"),
        ({"iss": ISSUER + "/"}, "expected iss to be"),
        ({"iss": [ISSUER]}, "got list"),
        ({"aud": None}, "expected aud to be authenticated, got nothing"),
        ({"aud": "anon"}, "got 'anon'"),
        ({"aud": []}, "expected aud"),
        ({"aud": {"authenticated": True}}, "expected aud"),
        ({"sub": None}, "expected sub, the user's id, as a non-empty string, got nothing"),
        ({"sub": ""}, "got ''"),
        ({"sub": 7}, "got int"),
        ({"sub": ["u"]}, "got list"),
        ({"session_id": ""}, "expected session_id as a non-empty string"),
        ({"session_id": 5}, "expected session_id"),
        ({"exp": None}, "expected exp in Unix seconds, got nothing"),
        ({"exp": str(NOW + 60)}, "expected exp in Unix seconds"),
        ({"exp": True}, "expected exp in Unix seconds, got bool"),
        ({"exp": float("inf")}, "expected exp in Unix seconds"),
        ({"exp": float("nan")}, "expected exp in Unix seconds"),
        ({"iat": None}, "expected iat in Unix seconds, got nothing"),
        ({"iat": "now"}, "expected iat in Unix seconds, got 'now'"),
        ({"iat": NOW + 11, "exp": NOW + 60}, "the token was issued in the future"),
        ({"nbf": NOW + 11}, "the token is not valid yet"),
        ({"nbf": "soon"}, "expected nbf in Unix seconds"),
        ({"exp": NOW + 604_801}, "expected a token with a lifetime of at most 604800 s"),
    ],
)
def test_wrong_claim_is_named(changed: dict[str, Any], expected: str) -> None:
    # None leaves a claim out.
    fault = refused(**changed)
    assert fault.code is Code.TOKEN_INVALID
    assert expected in fault.message


@pytest.mark.parametrize("role", ["anon", "service_role"])
def test_api_key_is_rejected_as_one(role: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        TERMS.validate({"iss": "supabase", "ref": "ref", "role": role, "iat": 1, "exp": 2}, NOW)
    assert caught.value.code is Code.TOKEN_INVALID
    assert f"this is an API key of the project ({role})" in caught.value.message


def test_token_is_accepted_until_the_leeway_has_passed() -> None:
    assert taken(now=NOW + 3609.9).expires_at == NOW + 3600
    assert refused(now=NOW + 3610).code is Code.TOKEN_EXPIRED


def test_token_without_leeway_expires_on_the_second() -> None:
    strict = replace(TERMS, leeway=0)
    assert taken(strict, now=NOW + 3599.9).expires_at == NOW + 3600
    assert refused(now=NOW + 3600, terms=strict).code is Code.TOKEN_EXPIRED


def test_clock_may_differ_by_the_leeway() -> None:
    assert taken(iat=NOW + 10, nbf=NOW + 10).issued_at == NOW + 10


def test_expired_token_with_a_wrong_claim_is_invalid() -> None:
    # A client that receives `token_expired` reconnects with a new token with the same claims.
    assert refused(now=NOW + 9999, aud="other").code is Code.TOKEN_INVALID


def test_long_value_is_quoted_in_part() -> None:
    assert len(refused(iss="x" * 5000).message) < 300


def test_claim_path_leads_through_objects_only() -> None:
    values = {"app_metadata": {"regions": ["TX"], "none": None}, "role": "agent"}
    assert at_path(values, ("app_metadata", "regions")) == (True, ["TX"])
    assert at_path(values, ("app_metadata", "none")) == (True, None)
    assert at_path(values, ("app_metadata", "other")) == (False, None)
    assert at_path(values, ("role", "regions")) == (False, None)
    assert at_path(values, ("other", "regions")) == (False, None)
    assert at_path(None, ("role",)) == (False, None)
