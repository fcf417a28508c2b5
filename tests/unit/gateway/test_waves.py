"""Disconnects are spread over a time."""

from __future__ import annotations

from collections import Counter

from bridge.gateway.waves import WAVE_SECONDS, in_waves


async def waves(number: int, seconds: float) -> list[list[int]]:
    """Return the items of each wave."""
    out: list[list[int]] = [[]]

    async def sleep(_seconds: float) -> None:
        out.append([])

    def close(item: int) -> None:
        out[-1].append(item)

    await in_waves(range(number), close, seconds=seconds, sleep=sleep)
    return out


async def test_every_item_is_in_one_wave() -> None:
    found = await waves(1000, 5)
    assert len(found) == 5 / WAVE_SECONDS
    assert Counter(item for wave in found for item in wave) == Counter(range(1000))


async def test_waves_are_about_equal() -> None:
    sizes = [len(wave) for wave in await waves(10_000, 5)]
    assert min(sizes) > 350
    assert max(sizes) < 650


async def test_without_a_time_all_are_in_one_wave() -> None:
    assert await waves(3, 0) == [[0, 1, 2]]
