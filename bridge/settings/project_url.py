"""The project's URL, and what is often given in its place. No I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_DASHBOARD: Final = re.compile(r"/(?:dashboard/)?project/(?P<ref>[a-z0-9]+)")
_SERVICE: Final = re.compile(r"/(?:rest|realtime|auth|storage|functions|graphql)/v1.*$")
_DASHBOARD_HOSTS: Final = ("supabase.com", "www.supabase.com", "app.supabase.com", "supabase.io")


def project_url(value: str) -> str:
    """Return the URL without blanks and slashes at its ends. Raises ValueError with the URL that
    was probably meant.
    """
    url = value.strip()
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{error}; expected https://<ref>.supabase.co") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected http(s)://host, such as https://<ref>.supabase.co")
    if any(character.isspace() for character in url):
        raise ValueError("expected a URL without blanks, such as https://<ref>.supabase.co")
    if host in _DASHBOARD_HOSTS:
        found = _DASHBOARD.search(parts.path)
        meant = f"https://{found['ref']}.supabase.co" if found else "https://<ref>.supabase.co"
        raise ValueError(f"this is a page of the dashboard; expected the project's URL: {meant}")
    if host.startswith("db.") and host.endswith(".supabase.co"):
        raise ValueError(
            f"this is the host of the database; expected https://{host.removeprefix('db.')}"
        )
    if _SERVICE.search(parts.path):
        meant = f"{parts.scheme}://{parts.netloc}{_SERVICE.sub('', parts.path)}"
        raise ValueError(f"expected the URL without the path of a service: {meant}")
    if parts.query or parts.fragment:
        raise ValueError(f"expected {parts.scheme}://{parts.netloc}, without what follows")
    return url.rstrip("/")
