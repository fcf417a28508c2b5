"""URLs of Redis servers: which are accepted, and what of them is shown."""

from __future__ import annotations

import pytest

from bridge.errors import SettingsError
from bridge.log.redis.url import check_url, client_url, is_redis, secrets_of, shown
from bridge.settings import load
from tests.fakes import KEY


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://host",
        "rediss://default:pass@host:6380",
        "valkey://:pass@host/3",
        "valkeys://[::1]:6379/0?ssl_cert_reqs=none",
    ],
)
def test_url_of_a_server_is_accepted(url: str) -> None:
    assert is_redis(url)
    check_url(url)


@pytest.mark.parametrize(
    "url",
    ["redis://", "redis:///0", "redis://:secret@", "redis://host:port/0", "rediss://host/name"],
)
def test_url_without_a_server_is_rejected_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="expected redis://host:6379/0") as raised:
        check_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["memory:", "sqlite:///redis.sqlite3", "http://host", ""])
def test_other_url_is_not_of_redis(url: str) -> None:
    assert not is_redis(url)


def test_server_is_shown_without_credentials_and_options() -> None:
    assert shown("rediss://user:pass@host:6380/2?ssl_cert_reqs=none") == "rediss://host:6380/2"
    assert shown("valkey://:pass@[::1]:6379") == "valkey://[::1]:6379"


def test_scheme_of_valkey_becomes_one_that_the_client_knows() -> None:
    assert client_url("valkey://:p@host:6379/0") == "redis://:p@host:6379/0"
    assert client_url("valkeys://host") == "rediss://host"


def test_password_is_a_secret_as_written_and_decoded() -> None:
    assert secrets_of("redis://u:p%40ss@host") == ("p%40ss", "p@ss")
    assert secrets_of("redis://host") == ()
    assert secrets_of("sqlite:///a") == ()


def test_password_of_the_log_is_among_the_secrets_of_the_settings() -> None:
    settings = load(
        supabase_url="http://h", supabase_secret_key=KEY, log="redis://:pa55word@host:6379/0"
    )
    assert "pa55word" in settings.secrets


@pytest.mark.parametrize("url", ["redis://:pa55word@", "rediss://u:pa55word@host:x/0"])
def test_wrong_url_is_explained_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"BRIDGE_LOG is wrong: expected redis://") as raised:
        load(supabase_url="http://h", supabase_secret_key=KEY, log=url)
    assert "pa55word" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a{b}", "x" * 64])
def test_name_of_another_form_is_rejected(name: str) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_LOG_NAME"):
        load(supabase_url="http://h", supabase_secret_key=KEY, log_name=name)
