"""What runs with which settings: logged once, when `bridge serve` starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.log.redis.url import is_redis

if TYPE_CHECKING:
    from bridge.settings import Settings


def summary(settings: Settings, url: str) -> dict[str, Any]:
    """Return the settings that matter to an operator. Of secrets it has only whether they are set.

    The log redacts the passwords of URLs.
    """
    return {
        "address": f"{url}{settings.path}",
        "source": f"{settings.source} at {settings.supabase_url}",
        "table": settings.table,
        "key": settings.key,
        "region": list(settings.region),
        "columns": list(settings.columns),
        "member columns": list(settings.member_columns),
        "log": settings.log,
        "auth": settings.auth,
        "operators": "with a secret" if settings.admin_secret else "this machine only",
        "cors": list(settings.cors_origins),
        "role": "leads and serves, in turn with other machines"
        if is_redis(settings.log)
        else "leads and serves",
        "processes": settings.processes,
        "limits": {
            "connections": settings.connections,
            "per address": settings.connections_per_address,
            "rooms per client": settings.max_rooms,
        },
    }
