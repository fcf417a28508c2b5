"""Composes the call of a function at `/rest/v1/rpc/{name}`: PostgREST's choice of the function by
the names of the arguments, and its result as JSON. Functions with unnamed or variadic arguments are
not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from bridge.sandbox.postgrest.errors import PostgrestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

FUNCTIONS_QUERY = """
select
  coalesce(p.proargnames[1:p.pronargs], '{}') as names,
  array(select format_type(type, null) from unnest(p.proargtypes) with ordinality as t(type, n)
        order by n) as types,
  p.pronargdefaults, p.proretset, p.provolatile <> 'v', p.prorettype = 'void'::regtype
from pg_proc p
where p.pronamespace = to_regnamespace($1) and p.proname = $2 and p.prokind = 'f'
  and p.provariadic = 0
"""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a name. `reads`: it is stable or immutable."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    defaults: int
    returns_set: bool
    reads: bool
    returns_void: bool

    def accepts(self, arguments: Collection[str]) -> bool:
        """Return whether it can be called with arguments of these names."""
        required = self.names[: len(self.names) - self.defaults]
        return set(required) <= set(arguments) <= set(self.names) and "" not in self.names


def choose(rows: Iterable[tuple[Any, ...]], name: str, arguments: Collection[str]) -> Function:
    """Return the function that takes these arguments, of the rows of `FUNCTIONS_QUERY`. Raises
    `PostgrestError` with PostgREST's code if there is none, or more than one.
    """
    functions = [Function(tuple(row[0]), tuple(row[1]), *row[2:]) for row in rows]
    found = [function for function in functions if function.accepts(arguments)]
    if len(found) == 1:
        return found[0]
    if found:
        raise PostgrestError(
            300,
            "PGRST203",
            f"Could not choose the best candidate function between: {name}",
            hint="Try renaming the parameters or the function itself in the database",
        )
    listed = ", ".join(sorted(arguments))
    raise PostgrestError(
        404,
        "PGRST202",
        f"Could not find the function public.{name}{f'({listed})' if listed else ''} "
        f"{'' if listed else 'without parameters '}in the schema cache",
        details=f"Searched for the function public.{name} "
        + (f"with parameters {listed}" if listed else "without parameters")
        + " or with a single unnamed json/jsonb parameter, but no matches were found in the schema "
        "cache.",
    )


def call(schema: str, name: str, function: Function, arguments: Collection[str]) -> sql.Composed:
    """Return a statement whose one row is the result as JSON text. Its value, if there are
    arguments, is their JSON object.
    """
    used = [each for each in function.names if each in arguments]
    types = dict(zip(function.names, function.types, strict=True))
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(each), sql.SQL(types[each])) for each in used
    )
    passed = sql.SQL(", ").join(
        sql.SQL("{} => _args.{}").format(sql.Identifier(each), sql.Identifier(each))
        for each in used
    )
    called = sql.SQL("{}({})").format(sql.Identifier(schema, name), passed)
    source = sql.SQL("json_to_record($1) as _args({}), ").format(columns) if used else sql.SQL("")
    result = (
        sql.SQL("coalesce(json_agg(_result), '[]')")
        if function.returns_set
        else sql.SQL("to_json(_result)")
    )
    return sql.SQL("select {}::text from {}lateral {} as _result").format(result, source, called)
