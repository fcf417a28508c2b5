"""What so many clients need, computed from measured costs; the table in deploy/README.md.

    python -m tests.bench capacity [--clients 10000 100000 1000000] [--changes 20] [--share 0.02]
        [--connections 10000] [--rows 100000] [--regions 3] [--costs FILE] [--list]

Costs are linear in the number of clients, machines and changes, as far as they were measured; what
follows for more is an extrapolation. `--list` prints each cost with the bench that measures it, and
`--costs` reads others from a JSON object: {"delivery_us": 12.5, ...}.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUSY: Final = 0.5
"""Share of a core that a process may use on average: bursts take the rest."""

PING_SECONDS: Final = 25
MONTH_SECONDS: Final = 30 * 86_400
RECONNECTS_PER_HOUR: Final = 2
"""Of a client: networks that change, tabs that sleep."""


@dataclass(frozen=True, slots=True)
class Cost:
    value: float
    unit: str
    bench: str
    """The command that measures it."""


COSTS: Final = {
    "delivery_us": Cost(10.8, "CPU µs per event and client", "tests.bench fanout"),
    "ping_us": Cost(26, "CPU µs per ping and its answer", "tests.bench pings"),
    "connect_us": Cost(326, "CPU µs per connect", "tests.bench connect"),
    "token_us": Cost(200, "CPU µs per token", "tests.bench tokens"),
    "client_bytes": Cost(3_600, "bytes of an idle client", "tests.bench memory"),
    "change_us": Cost(41, "CPU µs of the leader per change", "tests.bench pipeline"),
    "row_bytes": Cost(370, "bytes of each machine per row", "tests.bench table"),
    "process_bytes": Cost(87e6, "bytes of a machine with 1,000 rows", "tests.bench table"),
    "leader_us": Cost(780, "CPU µs of the leader per append", "tests.bench shared"),
    "follower_us": Cost(170, "CPU µs of a machine per append", "tests.bench shared"),
    "append_us": Cost(270, "CPU µs of Redis per append", "tests.bench shared"),
    "read_us": Cost(11, "CPU µs of Redis per append and machine", "tests.bench shared"),
    "append_bytes": Cost(1_360, "bytes to Redis per append", "tests.bench shared"),
    "request_bytes": Cost(108, "bytes to Redis per append and machine", "tests.bench shared"),
    "read_bytes": Cost(834, "bytes from Redis per append and machine", "tests.bench shared"),
    "idle_leader_requests": Cost(1.5, "idle commands/s of the leader", "tests.bench shared"),
    "idle_requests": Cost(0.49, "idle commands/s of a machine", "tests.bench shared"),
    "idle_pair_requests": Cost(0.21, "idle commands/s of a pair of machines", "tests.bench shared"),
    "event_bytes": Cost(263, "bytes of an event to a client", "tests.bench shared"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """`changes` a second, each of which reaches the `share` of the clients that subscribe to its
    region. `regions`: places of the machines, of which one has Redis.
    """

    changes: float
    share: float
    connections: int
    rows: int
    regions: int


@dataclass(frozen=True, slots=True)
class Need:
    """What so many clients need. Rates are per second."""

    clients: int
    machines: int
    deliveries: float
    client_cpu: float
    """Cores of all machines for clients."""
    leader_cpu: float
    memory_bytes: float
    """Of one machine."""
    out_bytes: float
    """To all clients."""
    redis_requests: float
    redis_in: float
    redis_out: float
    redis_cpu: float
    between_regions: float
    reconnect_seconds: float
    """CPU seconds of each other machine when the clients of one reconnect at once."""
    uses: dict[str, float]
    """Used share of each resource that has an end."""

    @property
    def bottlenecks(self) -> list[str]:
        """The used shares, the largest first."""
        ordered = sorted(self.uses.items(), key=lambda use: use[1], reverse=True)
        return [f"{name} ({share:.0%})" for name, share in ordered]


def need(clients: int, load: Load, costs: dict[str, float]) -> Need:
    """Return what `clients` need, with one machine more than that, which may be lost."""
    deliveries = load.changes * load.share * clients
    connects = clients * RECONNECTS_PER_HOUR / 3600
    connect_us = costs["connect_us"] + costs["token_us"]
    client_cpu = (
        deliveries * costs["delivery_us"]
        + clients / PING_SECONDS * costs["ping_us"]
        + connects * connect_us
    ) / 1e6
    each = load.changes * costs["follower_us"] / 1e6  # whatever its clients
    serving = max(math.ceil(clients / load.connections), math.ceil(client_cpu / (BUSY - each)))
    machines = serving + 1
    leader_cpu = (
        client_cpu / machines
        + load.changes * (costs["change_us"] + costs["leader_us"] + costs["follower_us"]) / 1e6
    )
    idle = (
        costs["idle_leader_requests"]
        + machines * costs["idle_requests"]
        + machines**2 * costs["idle_pair_requests"]
    )
    appends = load.changes  # one each, at the worst
    out = machines * appends * costs["read_bytes"]
    redis_cpu = appends * (costs["append_us"] + machines * costs["read_us"]) / 1e6
    redis_cpu += idle * costs["read_us"] / 1e6
    memory = (
        costs["process_bytes"]
        + load.rows * costs["row_bytes"]
        + clients / serving * costs["client_bytes"]
    )
    return Need(
        clients=clients,
        machines=machines,
        deliveries=deliveries,
        client_cpu=client_cpu,
        leader_cpu=leader_cpu,
        memory_bytes=memory,
        out_bytes=deliveries * costs["event_bytes"],
        redis_requests=appends * (1 + machines) + idle,
        redis_in=appends * (costs["append_bytes"] + machines * costs["request_bytes"]),
        redis_out=out,
        redis_cpu=redis_cpu,
        between_regions=out * (1 - 1 / load.regions),
        reconnect_seconds=clients / serving / max(1, machines - 1) * connect_us / 1e6,
        uses={
            "connections of a machine": clients / serving / load.connections,
            "CPU of the machines": client_cpu / serving / BUSY,
            "CPU of the leader": leader_cpu,
            "CPU of Redis": redis_cpu,
            "memory of a machine of 1 GB": memory / 1e9,
        },
    )


def table(needs: list[Need]) -> str:
    """Return the Markdown table."""
    rows = {
        "machines, one of them spare": [f"{n.machines:,}" for n in needs],
        "events delivered per second": [f"{n.deliveries:,.0f}" for n in needs],
        "cores for clients, all machines": [f"{n.client_cpu:.2f}" for n in needs],
        "share of a core, leader": [f"{n.leader_cpu:.0%}" for n in needs],
        "memory of a machine": [f"{n.memory_bytes / 1e6:,.0f} MB" for n in needs],
        "to clients": [_rate(n.out_bytes) for n in needs],
        "Redis, commands per second": [f"{n.redis_requests:,.0f}" for n in needs],
        "Redis, received": [_rate(n.redis_in) for n in needs],
        "Redis, sent": [_rate(n.redis_out) for n in needs],
        "Redis, share of a core": [f"{n.redis_cpu:.1%}" for n in needs],
        "between regions, per month": [
            f"{n.between_regions * MONTH_SECONDS / 1e9:,.0f} GB" for n in needs
        ],
        "one machine lost, CPU seconds of each other": [
            f"{n.reconnect_seconds:.2f}" for n in needs
        ],
        "first bottleneck": [n.bottlenecks[0] for n in needs],
        "the next one": [n.bottlenecks[1] for n in needs],
    }
    lines = ["| clients | " + " | ".join(f"{n.clients:,}" for n in needs) + " |"]
    lines += ["|---|" + "---:|" * len(needs)]
    lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in rows.items()]
    return "\n".join(lines)


def cost_table(costs: dict[str, float]) -> str:
    """Return the costs as a Markdown table, each with its bench."""
    lines = ["| cost | | measured by |", "|---|---:|---|"]
    lines += [
        f"| {cost.unit} | {costs[name]:,.6g} | `python -m {cost.bench}` |"
        for name, cost in COSTS.items()
    ]
    return "\n".join(lines)


def _rate(per_second: float) -> str:
    return f"{per_second / 1e3:,.0f} KB/s" if per_second < 1e6 else f"{per_second / 1e6:,.1f} MB/s"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--changes", type=float, default=20, help="a second")
    parser.add_argument("--share", type=float, default=0.02, help="clients that receive a change")
    parser.add_argument("--connections", type=int, default=10_000, help="of one machine")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--regions", type=int, default=3, help="places of the machines")
    parser.add_argument("--costs", type=Path, help="JSON with other costs")
    parser.add_argument("--list", action="store_true", help="print the costs")
    options = parser.parse_args(argv)
    costs = {name: cost.value for name, cost in COSTS.items()}
    if options.costs:
        given = json.loads(options.costs.read_text())
        if unknown := given.keys() - costs.keys():
            parser.error(f"no such cost: {', '.join(sorted(unknown))}")
        costs |= given
    if options.list:
        print(cost_table(costs))
        return 0
    load = Load(options.changes, options.share, options.connections, options.rows, options.regions)
    print(table([need(clients, load, costs) for clients in options.clients]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
