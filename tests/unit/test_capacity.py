"""The capacity table of deploy/README.md, and the model behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import capacity
from tests.bench.capacity import COSTS, Load, Need, need

README = (Path(__file__).parents[2] / "deploy/README.md").read_text("utf-8")
VALUES = {name: cost.value for name, cost in COSTS.items()}
LOAD = Load(changes=20, share=0.02, connections=10_000, rows=100_000, regions=3)
SIZES = (10_000, 100_000, 1_000_000)


def needs(load: Load = LOAD, **costs: float) -> list[Need]:
    return [need(clients, load, VALUES | costs) for clients in SIZES]


def test_table_of_the_readme_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert capacity.main([]) == 0
    assert capsys.readouterr().out.strip() in README


def test_costs_of_the_readme_are_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert capacity.main(["--list"]) == 0
    assert capsys.readouterr().out.strip() in README


def test_every_cost_names_a_bench_that_exists() -> None:
    from tests.bench.__main__ import BENCHES, MODULES

    for cost in COSTS.values():
        assert cost.bench.removeprefix("tests.bench ") in {*BENCHES, *MODULES}, cost


def test_more_clients_need_more_of_everything() -> None:
    small, middle, large = needs()
    for name in ("machines", "deliveries", "client_cpu", "redis_requests", "between_regions"):
        assert getattr(small, name) < getattr(middle, name) < getattr(large, name), name


def test_one_machine_may_be_lost() -> None:
    for each in needs():
        serving = each.machines - 1
        assert each.clients / serving <= LOAD.connections
        assert each.client_cpu / serving <= capacity.BUSY


@pytest.mark.parametrize(
    ("load", "costs", "bottleneck"),
    [
        (LOAD, {}, "connections of a machine"),
        (Load(20, 1.0, 1_000_000, 1000, 3), {}, "CPU of the machines"),
        (Load(20, 0.02, 10_000, 3_000_000, 3), {}, "memory of a machine of 1 GB"),
        (Load(20, 0.02, 20_000, 1000, 3), {"append_us": 60_000}, "CPU of Redis"),
        (Load(20, 0.02, 20_000, 1000, 3), {"leader_us": 60_000}, "CPU of the leader"),
    ],
)
def test_bottleneck_is_the_resource_that_ends_first(
    load: Load, costs: dict[str, float], bottleneck: str
) -> None:
    assert needs(load, **costs)[1].bottlenecks[0].startswith(bottleneck)


def test_machines_in_one_region_send_nothing_to_another() -> None:
    assert needs(Load(20, 0.02, 10_000, 1000, regions=1))[2].between_regions == 0


def test_costs_are_read_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"delivery_us": 1000}))
    assert capacity.main(["--costs", str(file), "--list"]) == 0
    assert "| CPU µs per event and client | 1,000 |" in capsys.readouterr().out


def test_cost_that_does_not_exist_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"delivery": 1}))
    with pytest.raises(SystemExit):
        capacity.main(["--costs", str(file)])
    assert "no such cost: delivery" in capsys.readouterr().err
