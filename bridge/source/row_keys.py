"""Checks that keys identify rows, as the table and the stream show them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bridge.changes import MAX_SAFE_INTEGER
from bridge.errors import TableUnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Json, Record
    from bridge.projection import Projection
    from bridge.source.column_types import ColumnTypes

log = logging.getLogger(__name__)


class RowKeys:
    """The keys of one table."""

    def __init__(
        self, projection: Projection, types: ColumnTypes, *, cut_short: bool = True
    ) -> None:
        """`cut_short`: the stream has values of `char(n)` and `bit(n)` only in part."""
        self._cut_short = cut_short
        self._column = projection.key
        self._table = f"{projection.schema}.{projection.table}"
        self._types = types
        self._named_long_keys = False
        self._named_advice = False

    @property
    def advice(self) -> str | None:
        """What the key costs or requires, for an operator; None: nothing. From the table's
        description, so that it is known without any row.
        """
        type_name, primary = self._types.get(self._column), self._types.primary_key
        if self._cut_short and type_name in ("bpchar", "bit"):
            return (
                f"{self._column} has the type char(n) or bit(n), of which Realtime sends the first "
                "character only: every change costs a scan of the whole table; use text or varchar"
            )
        if primary and primary != (self._column,):
            return f"{self._column} has to be unique; {self._primary_key}"
        return None

    def check(self, records: Sequence[Record]) -> None:
        """Raise `TableUnreadableError` if a row has no key, or two have the same one."""
        if not self._named_advice and (advice := self.advice) is not None:
            self._named_advice = True
            log.warning("the key of %s: %s", self._table, advice)
        keys = [record[self._column] for record in records]
        for key in keys:
            if type(key) not in (str, int):
                raise self._unusable(f"{_kind(key)} in a row")
        if len(set(keys)) < len(keys):
            repeated = next(key for n, key in enumerate(keys) if key in keys[:n])
            raise self._unusable(f"the key {repeated!r} in several rows")
        if not self._named_long_keys and self._types.get(self._column) == "int8":
            self._name_long_keys(keys)

    def _name_long_keys(self, keys: Sequence[Json]) -> None:
        """Log once that keys are sent as strings though they are numbers in the table."""
        if any(type(key) is str for key in keys):
            self._named_long_keys = True
            log.warning(
                "%s has keys past %d, which JavaScript can't hold as numbers: such a property_id "
                "is a string",
                self._table,
                MAX_SAFE_INTEGER,
            )

    def _unusable(self, found: str) -> TableUnreadableError:
        return TableUnreadableError(
            f"reading {self._table}: expected in BRIDGE_KEY a column with one unique value per "
            f"row, but {self._column} has {found}; {self._primary_key}",
            permanent=True,
        )

    @property
    def _primary_key(self) -> str:
        primary = self._types.primary_key
        if not primary:
            return "the table's primary key is not known"
        if len(primary) == 1:
            return f"the table's primary key is {primary[0]}"
        return (
            f"the table's primary key is ({', '.join(primary)}); if none of its columns is unique, "
            "add one that is, such as: id bigint generated always as identity unique"
        )


def _kind(key: Json) -> str:
    if key is None:
        return "null"
    if type(key) is float:
        return "a number with more digits than JSON readers hold"
    return "an array" if type(key) is list else "an object"
