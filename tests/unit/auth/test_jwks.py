from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.auth import jwks
from tests.tokens import Key

ES = Key("ES256", "es")
RS = Key("RS256", "rs")
ED = Key("EdDSA", "ed")


def read(*keys: Any) -> jwks.KeySet:
    return jwks.parse_jwks(json.dumps({"keys": keys}).encode())


@pytest.mark.parametrize("key", [ES, RS, ED], ids=lambda key: key.algorithm)
def test_key_has_the_algorithm_of_its_type(key: Key) -> None:
    found = read(key.jwk())
    assert found.keys[key.kid].algorithm_name == key.algorithm
    assert not found.rejected


@pytest.mark.parametrize("key", [ES, RS, ED], ids=lambda key: key.algorithm)
def test_key_without_use_and_operations_is_accepted(key: Key) -> None:
    assert key.kid in read(key.jwk(alg=None, use=None, key_ops=None)).keys


def test_key_with_the_newer_name_of_eddsa_is_accepted() -> None:
    assert read(ED.jwk(alg="Ed25519")).keys["ed"].algorithm_name == "EdDSA"


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        ("key", "expected an object"),
        (ES.jwk(kid=None), "no kid"),
        (ES.jwk(kid=""), "no kid"),
        (ES.jwk(kid=7), "no kid"),
        (ES.jwk(kty=None), "expected kty and crv as strings"),
        (ES.jwk(crv=["P-256"]), "expected kty and crv as strings"),
        (ES.jwk(alg="RS256"), "its alg is not ES256"),
        (ES.jwk(alg="HS256"), "its alg is not ES256"),
        (ES.jwk(alg=5), "its alg is not ES256"),
        (RS.jwk(alg="RS512"), "its alg is not RS256"),
        (RS.jwk(alg="PS256"), "its alg is not RS256"),
        (ES.jwk(use="enc"), "not meant for signatures"),
        (ES.jwk(key_ops=["sign"]), "not meant for signatures"),
        (ES.jwk(key_ops="verify"), "not meant for signatures"),
        (ES.jwk(private=True), "private key"),
        (ES.jwk(x=None), "can't be read"),
        (ES.jwk(x="AAAA"), "can't be read"),
        (ES.jwk(x=5), "can't be read"),
        (RS.jwk(n=5), "can't be read"),
        (ED.jwk(x="AAAA"), "can't be read"),
        (Key("ES384", "k").jwk(), "is not one in use"),
        (Key("Ed448", "k").jwk(), "is not one in use"),
        (Key("RS256", "k", bits=1024).jwk(), "fewer than 2048 bits"),
        ({"kty": "oct", "kid": "k", "alg": "HS256", "k": "c2VjcmV0"}, "is not one in use"),
    ],
)
def test_unusable_key_is_rejected_and_the_others_are_accepted(jwk: Any, why: str) -> None:
    found = read(jwk, RS.jwk(kid="good"))
    assert list(found.keys) == ["good"]
    [said] = found.rejected
    assert said.startswith("key 0: ")
    assert why in said


def test_first_of_two_keys_with_one_kid_is_accepted() -> None:
    found = read(ES.jwk(kid="same"), RS.jwk(kid="same"))
    assert found.keys["same"].algorithm_name == "ES256"
    assert found.rejected == ("key 1: another key has the same kid",)


def test_keys_beyond_the_bound_are_ignored() -> None:
    assert len(read(*(ED.jwk(kid=f"k{n}") for n in range(60))).keys) == jwks.MAX_KEYS


def test_key_set_may_be_empty() -> None:
    assert read() == jwks.KeySet({})


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"keys": {}}', b"{}", b'{"keys": ' + b"[" * 5000, b"\xff"],
)
def test_document_without_a_key_set_is_rejected(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JWKS document"):
        jwks.parse_jwks(body)
