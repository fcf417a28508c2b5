"""A list of scenarios, added to by decorating what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.stage import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.stage import Act


class Repertoire:
    def __init__(self) -> None:
        self._scenarios: list[Scenario] = []

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self._scenarios)

    def scenario(
        self,
        name: str,
        *,
        before: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
        idle: bool = False,
        blends: bool = False,
    ) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            self._scenarios.append(Scenario(name, act, before, after, idle=idle, blends=blends))
            return act

        return add
