"""Makes the options of each part of the bridge from `Settings`.

Parts below application level take frozen options and do not import `bridge.settings`; the functions
that derive the options are all here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.auth.authenticator import Authenticator, AuthOptions
from bridge.auth.claims import TokenRequirements
from bridge.auth.policy import AccessPolicy, path, regions_in
from bridge.notifications.rules import ANY, NotificationRules
from bridge.schema.asyncapi import DocumentOptions
from bridge.security.admission import AdmissionLimits
from bridge.security.client_ip import ClientAddress
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
