"""Settings that limit clients and addresses."""

from __future__ import annotations

from pydantic import Field

from bridge.settings.base import SettingsGroup


class LimitSettings(SettingsGroup):
    """Limits per client, per address and in total."""

    max_rooms: int = Field(
        200, ge=1, description="Regions and properties that one client may subscribe to at a time"
    )
    requests_per_second: float = Field(
        20, gt=0, description="Sustained rate of requests (subscribe etc.) of one client"
    )
    requests_burst: int = Field(
        60, ge=1, description="Requests of one client at once, after a pause"
    )
    connections: int = Field(
        10_000,
        ge=1,
        description="Connections in total, about 30 KB each; set fewer on a small machine",
    )
    connections_per_address: int = Field(
        200,
        ge=1,
        description="Connections of one address (IPv6: one /64): an office of 50 people with two "
        "pages each, twice, since a broken connection is detected after up to 45 s",
    )
    handshakes_per_second: float = Field(
        1000,
        gt=0,
        description="Sustained rate of new connections in total: what one core can accept",
    )
    handshakes_burst: int = Field(
        10_000,
        ge=1,
        description="New connections in total at once, after a pause: all clients may reconnect "
        "together",
    )
    handshakes_per_second_per_address: float = Field(
        20, gt=0, description="Sustained rate of new connections of one address"
    )
    handshakes_burst_per_address: int = Field(
        400,
        ge=1,
        description="New connections of one address at once, after a pause: all of its "
        "connections, twice",
    )
    snapshot_pages_per_second_per_address: float = Field(
        20,
        gt=0,
        description="Sustained rate of full snapshot pages of one address, about 10 ms of a core "
        "each; a smaller page counts in proportion, GET /properties as one page per 1,000 rows",
    )
    snapshot_pages_burst_per_address: int = Field(
        200,
        ge=1,
        description="Full snapshot pages of one address at once, after a pause: four for each of "
        "50 people",
    )
    client_bytes: int = Field(
        1_048_576,
        ge=65_536,
        description="Bytes queued for one client; a client above it for a second is disconnected",
    )
    message_bytes: int = Field(65_536, ge=1024, description="Longest message of a client, in bytes")
    recovery_seconds: float = Field(
        120,
        ge=0,
        description="How long the session of a disconnected client can be recovered; 0: never",
    )
    recovery_clients: int = Field(
        10_000,
        ge=0,
        description="Maximum number of disconnected clients that are kept for recovery, the newest",
    )
    recovery_events: int = Field(
        20_000, ge=0, description="Maximum number of missed events that a recovery replays"
    )
    recovery_bytes: int = Field(
        4_194_304,
        ge=0,
        description="Maximum size of the missed events that a recovery replays, in bytes of JSON",
    )
    batch_seconds: float = Field(
        0.05,
        gt=0,
        description="Batch window: how long events are collected for clients that request batches",
    )
    snapshot_bytes: int = Field(
        262_144, ge=1024, description="Approximate size of a snapshot page, in bytes of JSON"
    )

    @property
    def count_loopback(self) -> bool:
        """Whether limits per address also apply to direct connections from this machine: only if
        one of these limits is set. Otherwise such a peer is a local proxy that stands for many
        clients, or a load test.
        """
        return any(name.endswith("_per_address") for name in self.model_fields_set)
