"""Checks of this machine and of the settings' environment. No network."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.server.file_limit import RESERVED_FILES, open_files_limit
from bridge.settings.environment import unknown_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.settings import Settings

TRIMMED: Final = ("SUPABASE_URL", "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")


def environment_findings(settings: Settings, variables: Mapping[str, str]) -> Iterator[Finding]:
    """`variables`: those that the settings were read from."""
    for unknown in unknown_names(variables):
        yield warn("environment", f"{unknown}; it is ignored", unknown.fix)
    for name in TRIMMED:
        value = variables.get(name, "")
        if value != value.strip():
            kind = "a newline" if "\n" in value else "blanks"
            yield warn(
                "environment",
                f"{name} has {kind} at an end, which the bridge removes",
                f"remove it from {name}, for programs that do not",
            )
    yield from _origins(settings)
    yield from _files(settings)


def proxy_findings(settings: Settings) -> Iterator[Finding]:
    """Find a SOCKS proxy that neither the HTTP client nor the websocket client can use."""
    host = urlsplit(settings.supabase_url).hostname or ""
    proxies = {
        name: url
        for name, url in getproxies().items()
        if url.startswith("socks") and name in ("all", "socks", "http", "https", "ws", "wss")
    }
    missing = [name for name in ("socksio", "python_socks") if find_spec(name) is None]
    if not proxies or not missing or proxy_bypass(host):
        return
    names = ", ".join(f"{name.upper()}_PROXY" for name in sorted(proxies))
    packages = " ".join(name.replace("_", "-") for name in missing)
    yield fail(
        "proxy",
        f"{names} names a SOCKS proxy, which needs packages that are not installed",
        f"pip install {packages}, or unset {names}, or set NO_PROXY={host}",
    )


def _origins(settings: Settings) -> Iterator[Finding]:
    default = type(settings).model_fields["cors_origins"].default
    if settings.cors_origins == default and not _is_local(settings.supabase_url):
        yield warn(
            "origins",
            f"BRIDGE_CORS_ORIGINS is the default {','.join(default)}: browsers refuse pages of "
            "every other origin",
            "set BRIDGE_CORS_ORIGINS to the origins of your pages, such as https://app.example.com",
        )


def _files(settings: Settings) -> Iterator[Finding]:
    limit, needed = open_files_limit(), settings.connections + RESERVED_FILES
    if limit < needed:
        yield warn(
            "open files",
            f"this process may open {limit:,} files, which {settings.connections:,} connections "
            f"(BRIDGE_CONNECTIONS) exceed: those past {max(limit - RESERVED_FILES, limit // 2):,} "
            "are rejected",
            f"raise the limit to {needed:,} (ulimit -n, systemd: LimitNOFILE, Docker: --ulimit "
            "nofile), or lower BRIDGE_CONNECTIONS",
        )
    else:
        yield ok("open files", f"{needed:,} of {limit:,} are enough for BRIDGE_CONNECTIONS")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
