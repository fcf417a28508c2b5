"""The settings that bound what clients may take."""

from __future__ import annotations

from pydantic import Field

from bridge.settings.base import SettingsGroup


class LimitSettings(SettingsGroup):
    """What clients may take, each of them, those of one address, and all."""

    max_rooms: int = Field(
        200, ge=1, description="Regions and properties that one client may name at a time"
    )
    requests_per_second: float = Field(
        20, gt=0, description="Requests (subscribe and so on) that one client may make, lasting"
    )
    requests_burst: int = Field(
        60, ge=1, description="Requests that one client may make at once, after a rest"
    )
    connections: int = Field(
        10_000,
        ge=1,
        description="Connections in all, some 30 KB each; fewer where the machine is small",
    )
    connections_per_address: int = Field(
        200,
        ge=1,
        description="Connections of one address (of IPv6: one /64): an office of 50 people with "
        "two pages each, twice, since connections that broke are noticed within 45 s only",
    )
    handshakes_per_second: float = Field(
        1000, gt=0, description="Connections that may be begun in all, lasting: a core's worth"
    )
    handshakes_burst: int = Field(
        10_000,
        ge=1,
        description="The same at once, after a rest: all that are there may come back together",
    )
    handshakes_per_second_per_address: float = Field(
        20, gt=0, description="Connections that one address may begin, lasting"
    )
    handshakes_burst_per_address: int = Field(
        400,
        ge=1,
        description="The same at once, after a rest: all of its connections, and each once more",
    )
    snapshot_pages_per_second_per_address: float = Field(
        20,
        gt=0,
        description="Full pages of snapshots that the clients of one address may ask for, lasting, "
        "some 10 ms of a core each; a smaller page counts as the part it is, GET /properties as a "
        "page for each thousand rows",
    )
    snapshot_pages_burst_per_address: int = Field(
        200,
        ge=1,
        description="The same at once, after a rest: four full pages for each of 50 people",
    )
    client_bytes: int = Field(
        1_048_576,
        ge=65_536,
        description="What may wait for one client; past it for a second, its connection is cut",
    )
    message_bytes: int = Field(
        65_536, ge=1024, description="The longest message that a client may send"
    )
    recovery_seconds: float = Field(
        120, ge=0, description="How long a client that lost its connection may come back; 0: never"
    )
    recovery_clients: int = Field(
        10_000, ge=0, description="Clients without a connection that may come back, the newest"
    )
    recovery_events: int = Field(
        20_000, ge=0, description="Missed events that one client may be told when it comes back"
    )
    recovery_bytes: int = Field(4_194_304, ge=0, description="The same, in bytes of JSON")
    batch_seconds: float = Field(
        0.05, gt=0, description="How long events gather for clients that asked for batches"
    )
    snapshot_bytes: int = Field(
        262_144, ge=1024, description="About the size of one page of a snapshot, in bytes of JSON"
    )

    @property
    def count_loopback(self) -> bool:
        """Whether limits per address hold for what comes straight from this machine, too: only
        where somebody has set one. Else it is a proxy that stands for many, or somebody who tries
        how much the bridge can take.
        """
        return any(name.endswith("_per_address") for name in self.model_fields_set)
