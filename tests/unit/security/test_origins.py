"""Origins that may connect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.security.origins import Origins

VERCEL = "https://my-app-*-team.vercel.app"


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://www.example.org", "https://www.example.org"),
        ("https://www.example.org", "HTTPS://WWW.Example.ORG"),
        ("https://WWW.example.org", "https://www.example.org"),
        ("https://www.example.org", "https://www.example.org:443"),
        ("https://www.example.org:443", "https://www.example.org"),
        ("http://www.example.org:80", "http://www.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://*.example.org", "https://a.example.org"),
        ("https://*.example.org", "https://A-1_b.example.org:443"),
        ("https://*.example.org:8443", "https://a.example.org:8443"),
        (VERCEL, "https://my-app-git-main-team.vercel.app"),
        (VERCEL, "https://my-app-8f3k2-team.vercel.app"),
        ("https://*.*.example.org", "https://a.b.example.org"),
        ("https://*.example.co.uk", "https://a.example.co.uk"),
        ("https://*.team.github.io", "https://a.team.github.io"),
        ("http://*.lan", "http://a.lan"),
        ("http://*.localhost:3000", "http://tenant.localhost:3000"),
    ],
)
def test_listed_origin_is_allowed(pattern: str, origin: str) -> None:
    assert Origins([pattern]).allows(origin)


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://www.example.org", "http://www.example.org"),
        ("https://www.example.org", "https://www.example.org:8443"),
        ("https://www.example.org", "https://www.example.org.evil.net"),
        ("https://www.example.org", "https://evil.net/https://www.example.org"),
        ("https://www.example.org", "https://www.example.org@evil.net"),
        ("https://www.example.org", "https://www.example.org/"),
        ("https://www.example.org", "https://www.example.org "),
        ("https://www.example.org", "https://www.example.org,https://evil.net"),
        ("https://www.example.org", "https://wwwxexample.org"),
        ("https://www.example.org", "null"),
        ("https://www.example.org", ""),
        ("https://*.example.org", "https://example.org"),
        ("https://*.example.org", "https://.example.org"),
        ("https://*.example.org", "https://a.b.example.org"),
        ("https://*.example.org", "https://evil.net/.example.org"),
        ("https://*.example.org", "https://evil.net#.example.org"),
        ("https://*.example.org", "https://evil.net?.example.org"),
        ("https://*.example.org", "https://evil.net:1.example.org"),
        ("https://*.example.org", "https://a.example.org\n"),
        ("https://*.example.org", "https://a.example.org.evil.net"),
        ("https://*.example.org", "http://a.example.org"),
        ("https://*.example.org", "https://a.exampleXorg"),
        ("https://*.example.org", "https://a@b.example.org"),
        ("https://*.example.org", "https://ä.example.org"),
        (VERCEL, "https://my-app--team.vercel.app"),
        (VERCEL, "https://my-app-x.evil-team.vercel.app"),
        (VERCEL, "https://my-app-x-team.vercel.app.evil.net"),
        (VERCEL, "https://other-x-team.vercel.app"),
    ],
)
def test_other_origin_is_not_allowed(pattern: str, origin: str) -> None:
    assert not Origins([pattern]).allows(origin)


def test_request_without_an_origin_is_allowed() -> None:
    assert Origins(["https://www.example.org"]).allows(None)


def test_star_allows_any_origin() -> None:
    assert Origins(["*"]).allows("null")
    assert Origins(["*"]).allows("https://evil.net")


@pytest.mark.parametrize("listed", [[], ["https://www.example.org"], ["https://*.example.org"]])
def test_own_origin_is_allowed_with_any_list(listed: list[str]) -> None:
    origins = Origins(listed)
    assert origins.allows("https://bridge.net", "bridge.net")
    assert origins.allows("https://bridge.net", "10.0.0.1:8080", "bridge.net")
    assert not origins.allows("https://bridge.net", "10.0.0.1:8080")
    assert not origins.allows("https://bridge.net:8080", "bridge.net")
    assert not origins.allows("null", "null")


def test_empty_list_allows_the_bridges_own_origin() -> None:
    own = Origins([])
    assert own.allows("https://bridge.example.org", "bridge.example.org")
    assert own.allows("https://bridge.example.org", "Bridge.example.org:443")
    assert own.allows("http://127.0.0.1:8000", "127.0.0.1:8000")
    assert not own.allows("https://evil.net", "bridge.example.org")
    assert not own.allows("http://bridge.example.org:81", "bridge.example.org")
    assert not own.allows("https://bridge.example.org", "")


@pytest.mark.parametrize(
    "pattern",
    [
        "www.example.org",
        "https://",
        "https://www.example.org/",
        "https://www.example.org/path",
        "https://user@example.org",
        "https://www.example.org:port",
        "https://www.example.org:*",
        "*://www.example.org",
        "https://bücher.example",
        "https://a b.example",
        "https://a..example",
        "null",
        "",
        "https://*",
        "https://*.org",
        "https://example.*",
        "https://www.*.org",
        "https://my-*.com",
        "http://*.localhost/",
        "https://*.vercel.app",
        "https://*-*.vercel.app",
        "https://a.*.vercel.app",
        "https://*.github.io",
        "https://*.co.uk",
        "https://my-*.co.uk",
        "https://www.*.co.uk",
        "https://*.compute.amazonaws.com",
        "https://*.fly.dev",
        "https://" + "a" * 600,
    ],
)
def test_invalid_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        Origins([pattern])
    assert pattern[:60] in str(error.value)


def test_star_with_other_origins_is_rejected() -> None:
    with pytest.raises(ValueError, match="got both"):
        Origins(["*", "https://www.example.org"])


@given(st.text(max_size=40), st.text(max_size=40))
def test_star_in_a_label_never_matches_another_host(before: str, after: str) -> None:
    origin = f"https://{before}.example.org{after}"
    if Origins(["https://*.example.org"]).allows(origin):
        assert set(before.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
        assert after in ("", ":443") or set(after) <= set(":043")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_origin_header_is_handled(origin: str, host: str) -> None:
    assert Origins([]).allows(origin, host) in (True, False)
    assert Origins([VERCEL]).allows(origin, host) is False or "vercel" in origin.lower()
