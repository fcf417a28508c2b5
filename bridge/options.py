"""Makes the options of each part of the bridge from `Settings`.

Parts below application level take frozen options and do not import `bridge.settings`; the functions
that derive the options are all here.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from bridge.auth.authenticator import Authenticator, AuthOptions
from bridge.auth.claims import TokenRequirements
from bridge.auth.policy import AccessPolicy, path, regions_in
from bridge.gateway.build import GatewayOptions
from bridge.gateway.recovery.sessions import RecoveryLimits
from bridge.gateway.request_handlers import RequestLimits
from bridge.log.backends import LogOptions
from bridge.notifications.notifier import NotifierOptions
from bridge.notifications.rules import ANY, NotificationRules
from bridge.notifications.watch_index import WATCH_COLUMNS
from bridge.notifications.watch_sync import WatchSyncOptions
from bridge.pipeline.reconciler import ReconcileOptions
from bridge.pipeline.scan_scheduler import ScanOptions
from bridge.projection import Projection
from bridge.schema.asyncapi import DocumentOptions
from bridge.security.client_ip import ClientAddress
from bridge.security.handshake_limits import AdmissionLimits
from bridge.security.origins import Origins
from bridge.source.factory import DatabaseOptions, SourceOptions
from bridge.source.postgrest import PostgrestOptions
from bridge.source.realtime.source import RealtimeOptions
from bridge.source.realtime.watchdog import WatchdogOptions

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.log.base import RevocationStore
    from bridge.settings import Settings


SHARED_DRAIN_SECONDS: Final = 20.0
"""With the time to stop it fits into 30 s, Fly's `kill_timeout` in deploy/fly.toml."""


def source_options(settings: Settings, projection: Projection | None = None) -> SourceOptions:
    """Options of the source and of the table reader, for the table of `projection`: the listings
    unless another one is given.
    """
    return SourceOptions(
        kind=settings.source,
        realtime=realtime_options(settings, projection),
        postgrest=postgrest_options(settings, projection),
        database=database_options(settings, watches=projection not in (None, settings.projection)),
    )


def database_options(settings: Settings, *, watches: bool = False) -> DatabaseOptions | None:
    """Options of a direct connection; None: `settings` have no URL. The table of `watches` has a
    slot of its own.
    """
    if settings.database_url is None:
        return None
    return DatabaseOptions(
        url=settings.database_url.get_secret_value(),
        slot=f"{settings.slot}_watchers" if watches else settings.slot,
        publication=settings.publication,
        warning_bytes=settings.slot_warning_bytes,
    )


def realtime_options(settings: Settings, projection: Projection | None = None) -> RealtimeOptions:
    projection = projection or settings.projection
    return RealtimeOptions(
        url=settings.supabase_url,
        key=settings.supabase_secret_key.get_secret_value(),
        projection=projection,
        join_timeout=settings.join_timeout,
        settle=settings.settle,
        watchdog=watchdog_options(settings, projection),
    )


def watchdog_options(settings: Settings, projection: Projection | None = None) -> WatchdogOptions:
    return WatchdogOptions(
        updated_at=(projection or settings.projection).updated_at,
        interval=settings.watch_interval,
        grace=settings.watch_grace,
    )


def postgrest_options(settings: Settings, projection: Projection | None = None) -> PostgrestOptions:
    return PostgrestOptions(
        url=settings.supabase_url,
        key=settings.supabase_secret_key.get_secret_value(),
        projection=projection or settings.projection,
    )


def reconcile_options(settings: Settings) -> ReconcileOptions:
    return ReconcileOptions(
        page_rows=settings.page_rows,
        grace=settings.watch_grace,
        delete_hold=settings.delete_hold,
        scans=_rare_scans(settings)
        if settings.source == "postgres"
        else ScanOptions(
            recent_interval=settings.watch_interval,
            key_interval=settings.sweep_interval,
            full_interval=settings.compare_interval,
            full_scan_rows=settings.pass_rows,
        ),
    )


def _rare_scans(settings: Settings) -> ScanOptions:
    """With a stream that has no gaps, scans only find what should not be there."""
    interval = settings.slot_compare_interval
    return ScanOptions(
        recent_interval=interval,
        key_interval=interval,
        full_interval=interval,
        full_scan_rows=settings.pass_rows,
    )


def log_options(settings: Settings) -> LogOptions:
    """Options of the log of the listings."""
    shape = asdict(settings.projection)
    if not shape["member"]:
        del shape["member"]  # as in files from before there were member columns
    return LogOptions(
        settings.log,
        _shape(shape),
        settings.log_events,
        settings.log_seconds,
        name=settings.log_name,
        lease_seconds=settings.lease_seconds,
        session_seconds=settings.recovery_seconds,
    )


def watch_projection(settings: Settings) -> Projection:
    """The columns of the table of watches, `settings.watchers`. None of them is published."""
    schema, _, table = settings.watchers.partition(".")
    return Projection(
        key="id",
        published=WATCH_COLUMNS,
        region=(),
        updated_at="updated_at",
        schema=schema,
        table=table,
    )


def notifier_options(settings: Settings) -> NotifierOptions:
    return NotifierOptions(
        rules=notification_rules(settings),
        max_users=settings.notify_users,
        region_scoped=bool(settings.regions_claim),
    )


def watch_sync_options(settings: Settings) -> WatchSyncOptions:
    return WatchSyncOptions(
        projection=watch_projection(settings),
        reconcile=reconcile_options(settings),
        queue_changes=settings.queue_changes,
    )


def watch_log_options(settings: Settings) -> LogOptions:
    """Options of the log that stores the rows of the table of watches: the file
    `bridge-watchers.sqlite3` in the directory of `bridge.sqlite3`, or keys on the same Redis
    server. It has no entries.
    """
    url = settings.log
    if url.startswith("sqlite:"):
        path = PurePosixPath(url.removeprefix("sqlite:///"))
        url = f"sqlite:///{path.with_name(f'{path.stem}-watchers{path.suffix}')}"
    shape = asdict(watch_projection(settings))
    # As in files of earlier versions, since their watches are still valid.
    shape["region"], shape["published"] = shape["published"], ()
    del shape["member"]
    return LogOptions(
        url,
        _shape(shape),
        events=1,
        seconds=settings.log_seconds,
        name=settings.log_name,
        rows_only=True,
    )


def _shape(fields: dict[str, Any]) -> str:
    """Identify the meaning of stored rows: if any field changes, rows of an earlier run can't be
    compared with the table, or clients hold rows with other columns.
    """
    return json.dumps(fields, sort_keys=True)


def drain_seconds(settings: Settings, *, shared: bool) -> float:
    """Time over which clients are disconnected at the end; `shared`: others can receive them."""
    if settings.drain_seconds is not None:
        return settings.drain_seconds
    return SHARED_DRAIN_SECONDS if shared else 0.0


def peer_url(settings: Settings) -> str:
    """Address at which the other machines reach this one; empty: they don't."""
    if settings.peer_url != "auto":
        return settings.peer_url
    return f"http://{socket.gethostname()}:{settings.port}"


def admin_secret(settings: Settings) -> str | None:
    """The operators' secret; None: administration is off."""
    secret = settings.admin_secret
    return None if secret is None else secret.get_secret_value()


def admission_limits(settings: Settings) -> AdmissionLimits:
    return AdmissionLimits(
        connections=settings.connections,
        connections_per_address=settings.connections_per_address,
        handshakes_per_second=settings.handshakes_per_second,
        handshakes_burst=settings.handshakes_burst,
        handshakes_per_second_per_address=settings.handshakes_per_second_per_address,
        handshakes_burst_per_address=settings.handshakes_burst_per_address,
    )


def client_address(settings: Settings) -> ClientAddress:
    """Finds the address of a request's client, behind the proxies that the settings trust."""
    return ClientAddress(
        settings.trusted_proxies,
        settings.client_ip_header,
        count_loopback=settings.count_loopback,
    )


def auth_options(settings: Settings, url: str | None = None) -> AuthOptions:
    """Options of authentication for users of the project at `url`, by default the settings' own."""
    auth_url = f"{url or settings.supabase_url}/auth/v1"
    secret = settings.supabase_jwt_secret
    return AuthOptions(
        mode=settings.auth,
        jwks_url=f"{auth_url}/.well-known/jwks.json",
        requirements=TokenRequirements(
            issuer=settings.token_issuer or auth_url,
            audience=settings.token_audience,
            leeway=settings.token_leeway,
            max_lifetime=settings.token_seconds,
        ),
        policy=access_policy(settings),
        secret=None if secret is None else secret.get_secret_value(),
    )


def access_policy(settings: Settings) -> AccessPolicy:
    """Maps the claims of a token to rights."""
    return AccessPolicy(
        anonymous=regions_in(settings.anonymous_regions),
        required=settings.auth == "required",
        regions_claim=path(settings.regions_claim) if settings.regions_claim else (),
        role_claims=tuple(map(path, settings.role_claims)),
        all_regions_roles=frozenset(settings.all_regions_roles),
        member_roles=frozenset(settings.member_roles),
    )


def authenticator(
    settings: Settings,
    url: str | None = None,
    *,
    clock: Clock | None = None,
    store: RevocationStore | None = None,
) -> Authenticator:
    """The authenticator of the settings. Nothing is fetched yet."""
    return Authenticator.create(auth_options(settings, url), clock=clock, store=store)


def gateway_options(settings: Settings) -> GatewayOptions:
    return GatewayOptions(
        projection=settings.projection,
        origins=Origins(settings.cors_origins),
        recovery=RecoveryLimits(
            seconds=settings.recovery_seconds,
            sessions=settings.recovery_clients,
            events=settings.recovery_events,
            bytes=settings.recovery_bytes,
        ),
        requests=RequestLimits(settings.requests_per_second, settings.requests_burst),
        max_rooms=settings.max_rooms,
        max_message_bytes=settings.message_bytes,
        max_queued_bytes=settings.client_bytes,
        batch_seconds=settings.batch_seconds,
        snapshot_page_bytes=settings.snapshot_bytes,
        snapshot_pages_per_second=settings.snapshot_pages_per_second_per_address,
        snapshot_pages_burst=settings.snapshot_pages_burst_per_address,
        token_warning_seconds=settings.token_warning_seconds,
    )


def notification_rules(settings: Settings) -> NotificationRules:
    """Selects the changes that are notified."""
    statuses: tuple[tuple[str, str], ...] = ()
    if settings.notify_status == ("on",):
        statuses = ((ANY, ANY),)
    elif settings.notify_status != ("off",):
        pairs = (transition.split(">") for transition in settings.notify_status)
        statuses = tuple((old.strip(), new.strip()) for old, new in pairs)
    return NotificationRules(statuses, settings.notify_price_percent, settings.notify_new)


def document_options(settings: Settings) -> DocumentOptions:
    return DocumentOptions(settings.projection, path=settings.path, port=settings.port)
