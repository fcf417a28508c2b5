"""Makes the options of each part of the bridge from `Settings`.

Parts below application level take frozen options and do not import `bridge.settings`; the functions
that derive the options are all here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.auth.authenticator import Authenticator, AuthOptions
from bridge.auth.claims import TokenRequirements
from bridge.gateway.build import GatewayOptions
from bridge.gateway.recovery.sessions import RecoveryLimits
from bridge.gateway.request_handlers import RequestLimits
from bridge.schema.asyncapi import DocumentOptions
from bridge.security.admission import AdmissionLimits
from bridge.security.client_ip import ClientAddress
from bridge.security.origins import Origins
from bridge.source.factory import SourceOptions
from bridge.source.postgrest import PostgrestOptions
from bridge.source.realtime.source import RealtimeOptions
from bridge.source.realtime.watchdog import WatchdogOptions

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.log.base import RevocationStore
    from bridge.projection import Projection
    from bridge.settings import Settings


def source_options(settings: Settings, projection: Projection | None = None) -> SourceOptions:
    """Options of the source and of the table reader, for the table of `projection`: the listings
    unless another one is given.
    """
    return SourceOptions(
        kind=settings.source,
        realtime=realtime_options(settings, projection),
        postgrest=postgrest_options(settings, projection),
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
            longest=settings.token_seconds,
        ),
        policy=settings.rules,
        secret=None if secret is None else secret.get_secret_value(),
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


def document_options(settings: Settings) -> DocumentOptions:
    return DocumentOptions(settings.projection, path=settings.path, port=settings.port)
