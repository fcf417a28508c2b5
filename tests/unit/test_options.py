"""Options that are made of the settings."""

from __future__ import annotations

from bridge.options import (
    admission_limits,
    auth_options,
    client_address,
    document_options,
    source_options,
)
from tests.fakes import settings

LOOPBACK = {"client": ("127.0.0.1", 5), "headers": []}
SECRET = "a secret of at least thirty-two bytes"


def test_admission_limits_are_those_of_the_settings() -> None:
    limits = admission_limits(
        settings(
            connections=1,
            connections_per_address=2,
            handshakes_per_second=3,
            handshakes_burst=4,
            handshakes_per_second_per_address=5,
            handshakes_burst_per_address=6,
        )
    )
    assert (limits.connections, limits.connections_per_address) == (1, 2)
    assert (limits.handshakes_per_second, limits.handshakes_burst) == (3, 4)
    assert limits.handshakes_per_second_per_address == 5
    assert limits.handshakes_burst_per_address == 6


def test_auth_options_use_the_project_unless_an_issuer_is_set() -> None:
    options = auth_options(settings())
    assert options.jwks_url == "http://127.0.0.1:9/auth/v1/.well-known/jwks.json"
    assert options.requirements.issuer == "http://127.0.0.1:9/auth/v1"
    assert options.secret is None
    options = auth_options(settings(token_issuer="https://issuer.example"), "https://other.example")
    assert options.jwks_url == "https://other.example/auth/v1/.well-known/jwks.json"
    assert options.requirements.issuer == "https://issuer.example"


def test_auth_options_have_the_limits_of_tokens() -> None:
    options = auth_options(
        settings(
            auth="required",
            supabase_jwt_secret=SECRET,
            token_audience="homes",
            token_leeway=3,
            token_seconds=60,
        )
    )
    assert (options.mode, options.policy.required, options.secret) == ("required", True, SECRET)
    required = options.requirements
    assert (required.audience, required.leeway, required.max_lifetime) == ("homes", 3, 60)


def test_client_address_limits_loopback_only_if_a_limit_per_address_is_set() -> None:
    assert client_address(settings()).rate_limit_key(LOOPBACK) is None
    limited = client_address(settings(connections_per_address=5))
    assert limited.rate_limit_key(LOOPBACK) == "127.0.0.1"


def test_options_do_not_show_secrets() -> None:
    configured = settings(supabase_jwt_secret=SECRET)
    shown = repr(source_options(configured)) + repr(auth_options(configured))
    assert configured.supabase_secret_key.get_secret_value() not in shown
    assert SECRET not in shown


def test_document_options_have_the_table_and_the_path() -> None:
    options = document_options(settings(table="crm.homes", path="/live", port=9000))
    assert (options.table, options.path, options.port) == ("crm.homes", "/live", 9000)
