"""Every change of a Supabase table, live over Socket.IO, per region.

`create_app` returns the ASGI application, which is configured by `Settings`. Both are imported on
first use, since Supabase's client is slow to import and not needed for the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.version import __version__

if TYPE_CHECKING:
    from bridge.app import Bridge, create_app
    from bridge.settings import Settings

__all__ = ["Bridge", "Settings", "__version__", "create_app"]


def __getattr__(name: str) -> Any:
    if name in ("Bridge", "create_app"):
        from bridge import app  # noqa: PLC0415 - on first use

        return getattr(app, name)
    if name == "Settings":
        from bridge.settings import Settings  # noqa: PLC0415 - on first use

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
