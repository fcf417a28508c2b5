from __future__ import annotations

from typing import Any

import pytest

from bridge.auth.claims import Claims
from bridge.auth.policy import AccessPolicy
from bridge.errors import SettingsError
from bridge.options import (
    access_policy,
    notification_rules,
    source_options,
    watch_log_options,
    watch_projection,
)
from bridge.projection import Projection
from bridge.rights import UNRESTRICTED
from bridge.settings import Settings, load

SECRET = "sb_secret_that_must_not_show"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the environment, except the required ones."""
    import os

    for name in list(os.environ):
        if name.startswith(("BRIDGE_", "SUPABASE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SUPABASE_URL", "https://ref.supabase.co")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET)


def test_settings_need_only_url_and_key() -> None:
    settings = load()
    assert settings.supabase_url == "https://ref.supabase.co"
    assert settings.supabase_secret_key.get_secret_value() == SECRET
    assert settings.path == "/socket.io"
    assert settings.projection == Projection()


def test_missing_settings_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_URL")
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    with pytest.raises(SettingsError) as error:
        load()
    first, second = str(error.value).splitlines()
    assert first.startswith("SUPABASE_URL is not set. Expected: The project's URL")
    assert second.startswith("SUPABASE_SECRET_KEY is not set. Expected: The project's secret key")


@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"])
def test_secret_key_has_two_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    monkeypatch.setenv(name, "a-legacy-key")
    assert load().supabase_secret_key.get_secret_value() == "a-legacy-key"


def test_newer_name_of_the_secret_key_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "a-legacy-key")
    assert load().supabase_secret_key.get_secret_value() == SECRET


def test_keyword_arguments_take_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "9000")
    settings = load(supabase_url="http://other", supabase_secret_key="other-key", port=1)
    assert settings.supabase_url == "http://other"
    assert settings.supabase_secret_key.get_secret_value() == "other-key"
    assert settings.port == 1


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("SUPABASE_URL", "http://127.0.0.1:54321/", "supabase_url", "http://127.0.0.1:54321"),
        ("BRIDGE_TABLE", "listings", "table", "public.listings"),
        ("BRIDGE_TABLE", "crm.listings", "table", "crm.listings"),
        ("BRIDGE_REGION", "state, city", "region", ("state", "city")),
        ("BRIDGE_COLUMNS", "name,,price,", "columns", ("name", "price")),
        (
            "BRIDGE_MEMBER_COLUMNS",
            "owner_contact, notes",
            "member_columns",
            ("owner_contact", "notes"),
        ),
        ("BRIDGE_MEMBER_COLUMNS", "", "member_columns", ()),
        ("BRIDGE_CORS_ORIGINS", "", "cors_origins", ()),
        ("BRIDGE_PATH", "live/socket.io/", "path", "/live/socket.io"),
        ("BRIDGE_UPDATED_AT", "", "updated_at", ""),
        ("BRIDGE_LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("BRIDGE_PORT", "0", "port", 0),
        ("BRIDGE_TRUSTED_PROXIES", "10.0.0.0/8, ::1", "trusted_proxies", ("10.0.0.0/8", "::1")),
        ("BRIDGE_ADMIN_SECRET", "", "admin_secret", None),
    ],
)
def test_values_are_read_from_the_environment(
    variable: str, value: str, field: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(load(), field) == expected


def test_an_empty_updated_at_is_none_in_the_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_UPDATED_AT", "")
    monkeypatch.setenv("BRIDGE_TABLE", "crm.listings")
    projection = load().projection
    assert projection.updated_at is None
    assert (projection.schema, projection.table) == ("crm", "listings")


def test_region_column_cannot_be_a_member_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRIDGE_REGION", "branch")
    monkeypatch.setenv("BRIDGE_MEMBER_COLUMNS", "branch")
    with pytest.raises(SettingsError, match="branch: it is in BRIDGE_REGION"):
        load()


def test_invalid_columns_are_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRIDGE_COLUMNS", "")
    monkeypatch.setenv("BRIDGE_MEMBER_COLUMNS", "notes")
    with pytest.raises(SettingsError) as error:
        load()
    (line,) = str(error.value).splitlines()
    assert line.startswith("BRIDGE_COLUMNS=")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SUPABASE_URL", "ref.supabase.co", "expected http(s)://host"),
        ("SUPABASE_URL", "ftp://ref", "expected http(s)://host"),
        ("BRIDGE_TABLE", "a.b.c", "expected schema.table"),
        ("BRIDGE_TABLE", ".b", "expected schema.table"),
        ("BRIDGE_REGION", " , ", "expected at least one column name"),
        ("BRIDGE_REGION", "state,id", "other columns than the key id, which is BRIDGE_KEY"),
        ("BRIDGE_UPDATED_AT", "id", "another column than the key id, which is BRIDGE_KEY"),
        ("BRIDGE_COLUMNS", "", "expected at least one column name"),
        ("BRIDGE_MEMBER_COLUMNS", "notes,price", "price: it is in BRIDGE_COLUMNS"),
        ("BRIDGE_MEMBER_COLUMNS", "id", "id: it is in BRIDGE_KEY"),
        ("BRIDGE_MEMBER_COLUMNS", "updated_at", "updated_at: it is in BRIDGE_UPDATED_AT"),
        ("BRIDGE_PATH", "/", "expected a path such as /socket.io"),
        ("BRIDGE_LOG_LEVEL", "loud", "expected debug, info, warning or error"),
        ("BRIDGE_CORS_ORIGINS", "www.example.org", "expected origins such as"),
        ("BRIDGE_CORS_ORIGINS", "https://*.org", "expected a domain of one's own"),
        ("BRIDGE_CORS_ORIGINS", "*,https://a.example", "got both"),
        ("BRIDGE_TRUSTED_PROXIES", "10.0.0.1/8", "expected addresses and networks"),
        ("BRIDGE_CLIENT_IP_HEADER", "X Real", "expected the name of a header"),
        ("BRIDGE_CONNECTIONS", "0", "greater than or equal to 1"),
        ("BRIDGE_HANDSHAKES_PER_SECOND", "0", "greater than 0"),
        ("BRIDGE_LOG", "tape:", "expected sqlite:///file"),
        ("BRIDGE_LOG", "sqlite://", "expected sqlite:///file"),
        ("BRIDGE_LOG", "sqlite:///", "expected sqlite:///file"),
        ("BRIDGE_PORT", "http", "Input should be a valid integer"),
        ("BRIDGE_PORT", "65536", "less than or equal to 65535"),
        ("BRIDGE_PORT", "-1", "greater than or equal to 0"),
        ("BRIDGE_MAX_ROOMS", "0", "greater than or equal to 1"),
        ("BRIDGE_LOG_EVENTS", "0", "greater than or equal to 1"),
        ("BRIDGE_LOG_SECONDS", "0", "greater than 0"),
        ("BRIDGE_JOIN_TIMEOUT", "0", "greater than 0"),
        ("BRIDGE_WATCH_INTERVAL", "0", "greater than 0"),
        ("BRIDGE_WATCH_GRACE", "-1", "greater than 0"),
        ("BRIDGE_SWEEP_INTERVAL", "0", "greater than 0"),
        ("BRIDGE_SETTLE", "0", "greater than 0"),
        ("BRIDGE_STALE_AFTER", "soon", "Input should be a valid number"),
        ("BRIDGE_PAGE_ROWS", "1001", "less than or equal to 1000"),
        ("BRIDGE_QUEUE_CHANGES", "0", "greater than or equal to 1"),
        ("BRIDGE_AUTH", "maybe", "expected optional, required or off"),
        ("BRIDGE_SOURCE", "kafka", "expected realtime"),
        ("BRIDGE_TOKEN_AUDIENCE", "", "at least 1 character"),
        ("BRIDGE_TOKEN_LEEWAY", "-1", "greater than or equal to 0"),
        ("BRIDGE_TOKEN_LEEWAY", "301", "less than or equal to 300"),
        ("BRIDGE_TOKEN_SECONDS", "0", "greater than 0"),
        ("BRIDGE_TOKEN_WARNING_SECONDS", "-1", "greater than or equal to 0"),
        ("BRIDGE_REGIONS_CLAIM", "user_metadata.regions", "users can write their user_metadata"),
        ("BRIDGE_REGIONS_CLAIM", "a..b", "with dots between them"),
        ("BRIDGE_ROLE_CLAIMS", "role,user_metadata.role", "users can write their user_metadata"),
        ("BRIDGE_ANONYMOUS_REGIONS", "x" * 201, "expected regions as strings of 1 to 200"),
    ],
)
def test_wrong_setting_is_named_with_its_value_and_the_expected_one(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load()
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{variable}={value!r} is wrong: ")
    assert expected in line


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", "got an empty value"),
        ("   ", "got an empty value"),
        ("sb_publishable_not_to_be_shown", "got a publishable one"),
    ],
)
@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"])
def test_wrong_secret_key_is_named_and_not_shown(
    key: str, expected: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    monkeypatch.setenv(name, key)
    with pytest.raises(SettingsError) as error:
        load()
    (line,) = str(error.value).splitlines()
    assert line.startswith("SUPABASE_")
    assert expected in line
    assert "not_to_be_shown" not in line
    assert error.value.__cause__ is None


@pytest.mark.parametrize("value", ["short", "sixteen\ncharacters", "sechzehn Zeichen und ein ü"])
def test_wrong_admin_secret_is_named_and_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_ADMIN_SECRET", value)
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value).startswith("BRIDGE_ADMIN_SECRET is wrong: expected 16 or more")
    assert value not in str(error.value)


def test_secrets_have_the_values_of_all_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_ADMIN_SECRET", "an operators' secret")
    assert set(load().secrets) >= {SECRET, "an operators' secret"}


def test_secret_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load()
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    monkeypatch.setenv("BRIDGE_PORT", "http")
    with pytest.raises(SettingsError) as error:
        load()
    assert SECRET not in str(error.value)


def test_wrong_settings_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "http")
    monkeypatch.setenv("BRIDGE_PATH", "/")
    with pytest.raises(SettingsError) as error:
        load()
    assert len(str(error.value).splitlines()) == 2


def test_unknown_keyword_is_rejected() -> None:
    with pytest.raises(SettingsError, match="BRIDGE_COLOUR='red' is wrong"):
        load(colour="red")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_access_policy_is_made_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_AUTH", "required")
    monkeypatch.setenv("BRIDGE_ANONYMOUS_REGIONS", "TX, CA/San Diego")
    monkeypatch.setenv("BRIDGE_REGIONS_CLAIM", "app_metadata.regions")
    monkeypatch.setenv("BRIDGE_ROLE_CLAIMS", "app_metadata.role")
    monkeypatch.setenv("BRIDGE_ALL_REGIONS_ROLES", "admin,owner")
    monkeypatch.setenv("BRIDGE_MEMBER_ROLES", "agent")
    assert access_policy(load()) == AccessPolicy(
        anonymous=("TX", "CA/San Diego"),
        required=True,
        regions_claim=("app_metadata", "regions"),
        role_claims=(("app_metadata", "role"),),
        all_regions_roles=frozenset({"admin", "owner"}),
        member_roles=frozenset({"agent"}),
    )


def test_access_policy_grants_all_regions_and_no_membership_by_default() -> None:
    rules = access_policy(load())
    assert rules.rights_for(None) == UNRESTRICTED
    assert rules.rights_for(Claims("ada", 0, 1, values={"role": "service_role"})).view == "public"


def test_jwt_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_JWT_SECRET", "too-short-not-to-be-shown")
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value).startswith("SUPABASE_JWT_SECRET is wrong: expected the project's JWT")
    assert "not-to-be-shown" not in str(error.value)
    secret = "long-enough-and-still-not-to-be-shown"
    monkeypatch.setenv("SUPABASE_JWT_SECRET", secret)
    settings = load()
    assert settings.supabase_jwt_secret is not None
    assert settings.supabase_jwt_secret.get_secret_value() == secret
    assert secret not in repr(settings) + str(settings) + settings.model_dump_json()


def test_by_default_nobody_is_notified() -> None:
    assert not load().watchers


def test_the_table_of_watches_is_followed_with_settings_of_its_own() -> None:
    settings = load(
        watchers="watches", log="sqlite:////data/bridge.sqlite3", member_columns="cap_rate"
    )
    assert settings.watchers == "public.watches"
    projection = watch_projection(settings)
    assert watch_log_options(settings).url == "sqlite:////data/bridge-watchers.sqlite3"
    assert source_options(settings, projection).realtime.url == settings.supabase_url
    assert projection.selected == ("id", "user_id", "property_id", "region", "updated_at")
    assert (projection.schema, projection.table) == ("public", "watches")


@pytest.mark.parametrize(
    ("log", "beside"),
    [
        ("memory:", "memory:"),
        ("sqlite:///bridge.sqlite3", "sqlite:///bridge-watchers.sqlite3"),
        ("sqlite:///log", "sqlite:///log-watchers"),
        ("sqlite:////a.b/log.db", "sqlite:////a.b/log-watchers.db"),
    ],
)
def test_the_watches_are_kept_beside_the_log(log: str, beside: str) -> None:
    assert watch_log_options(load(watchers="watches", log=log)).url == beside


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("on", (("*", "*"),)),
        ("off", ()),
        ("available>pending, * > sold", (("available", "pending"), ("*", "sold"))),
    ],
)
def test_notified_statuses_are_on_off_or_transitions(
    monkeypatch: pytest.MonkeyPatch, text: str, statuses: Any
) -> None:
    monkeypatch.setenv("BRIDGE_NOTIFY_STATUS", text)
    monkeypatch.setenv("BRIDGE_NOTIFY_PRICE_PERCENT", "2.5")
    monkeypatch.setenv("BRIDGE_NOTIFY_NEW", "false")
    rules = notification_rules(load())
    assert (rules.statuses, rules.price_percent, rules.new_listings) == (statuses, 2.5, False)


@pytest.mark.parametrize("text", ["", "yes", "a>", ">b", "a>b>c", "on,off", "a>b,off"])
def test_other_values_of_notified_statuses_are_rejected(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("BRIDGE_NOTIFY_STATUS", text)
    with pytest.raises(SettingsError, match=r"BRIDGE_NOTIFY_STATUS=.* is wrong: expected on, off"):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_WATCHERS", "a.b.c"),
        ("BRIDGE_NOTIFY_PRICE_PERCENT", "-1"),
        ("BRIDGE_NOTIFY_USERS", "0"),
    ],
)
def test_invalid_notification_settings_are_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load()


@pytest.mark.parametrize("name", ["BRIDGE_COLUMNS", "BRIDGE_MEMBER_COLUMNS"])
def test_column_cannot_have_the_published_name_of_the_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "price,property_id")
    with pytest.raises(SettingsError, match=f"{name}.*expected columns without property_id"):
        load()


def test_loopback_is_limited_only_if_a_limit_per_address_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not load().count_loopback
    monkeypatch.setenv("BRIDGE_CONNECTIONS", "5000")
    assert not load().count_loopback
    monkeypatch.setenv("BRIDGE_CONNECTIONS_PER_ADDRESS", "200")
    assert load().count_loopback


URL = "postgresql://postgres:pass%40word@db.example.org:5432/postgres"


def test_replication_needs_a_url_and_no_key_of_supabase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    with pytest.raises(SettingsError, match="BRIDGE_DATABASE_URL is wrong: expected the URL"):
        load(source="postgres")
    database = source_options(load(source="postgres", database_url=URL)).database
    assert database is not None
    assert database.slot == "bridge"


def test_key_of_supabase_is_needed_without_replication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    with pytest.raises(SettingsError, match="SUPABASE_SECRET_KEY is not set"):
        load(database_url=URL)


def test_table_of_watches_has_a_slot_of_its_own() -> None:
    settings = load(source="postgres", database_url=URL, watchers="public.watchers", slot="mine")
    database = source_options(settings, watch_projection(settings)).database
    assert database is not None
    assert database.slot == "mine_watchers"


@pytest.mark.parametrize("slot", ["", "Bridge", "a-b", "x" * 55])
def test_slot_name_is_one_that_postgresql_allows(slot: str) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_SLOT"):
        load(slot=slot)


def test_password_of_the_database_is_a_secret_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = load(database_url=f"{URL}?sslpassword=other").secrets
    assert {"pass%40word", "pass@word", "other"} <= set(secrets)
    monkeypatch.setenv("BRIDGE_DATABASE_URL", URL.replace("postgresql", "mysql"))
    with pytest.raises(SettingsError) as error:
        load()
    assert "BRIDGE_DATABASE_URL" in str(error.value)
    assert "word" not in str(error.value).replace("password@host", "")
