"""Parsing of PostgREST query strings, and the SQL composed from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sandbox.postgrest.errors import PostgrestError
from bridge.sandbox.postgrest.query import MAX_DEPTH, Logic, Order, Query, QueryFilter, parse
from bridge.sandbox.postgrest.sql import Statement, compose

HOSTILE = (
    "x; drop table properties; --",
    "' or '1'='1",
    '"; select pg_sleep(10); --',
    "1) union select owner_contact from properties --",
    "$1",
    "%s %(a)s {} {table}",
    "\\'; --",
    "/* */ or 1=1",
    "id) from properties; --",
    "é" * 300,
)


def composed(*parameters: tuple[str, str]) -> Statement:
    return compose(parse(parameters), "public", "properties", limit=10, count=True)


def sql(*parameters: tuple[str, str]) -> str:
    return composed(*parameters).text.as_string(None)


def refused(*parameters: tuple[str, str]) -> PostgrestError:
    with pytest.raises(PostgrestError) as caught:
        parse(parameters)
    return caught.value


def test_empty_query_string_means_all_columns_of_all_rows() -> None:
    assert parse([]) == Query()


def test_star_means_all_columns() -> None:
    assert parse([("select", "*")]).columns is None


def test_select_keeps_order_and_removes_duplicates() -> None:
    assert parse([("select", "id,name,id")]).columns == ("id", "name")


def test_quoted_column_may_contain_any_character() -> None:
    assert parse([("select", '"a,b","c\\"d"')]).columns == ("a,b", 'c"d')


@pytest.mark.parametrize("operator", ["eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike"])
def test_each_comparison_is_a_filter(operator: str) -> None:
    assert parse([("price", f"{operator}.5")]).conditions == (QueryFilter("price", operator, "5"),)


def test_filters_on_one_column_are_all_kept() -> None:
    conditions = parse([("price", "gt.1"), ("price", "lt.9")]).conditions
    assert conditions == (QueryFilter("price", "gt", "1"), QueryFilter("price", "lt", "9"))


def test_filter_value_is_literal_with_dots_commas_and_quotes() -> None:
    assert parse([("name", 'eq."a",b.c(d)')]).conditions == (
        QueryFilter("name", "eq", '"a",b.c(d)'),
    )


def test_filter_value_may_be_empty() -> None:
    assert parse([("name", "eq.")]).conditions == (QueryFilter("name", "eq", ""),)


def test_not_negates_a_filter() -> None:
    assert parse([("city", "not.is.null")]).conditions == (QueryFilter("city", "is", "null", True),)


def test_list_splits_at_commas_outside_quotes() -> None:
    (found,) = parse([("city", 'in.(Austin,"San Diego, CA","a\\"b\\\\",)')]).conditions
    assert found == QueryFilter("city", "in", ("Austin", "San Diego, CA", 'a"b\\', ""))


def test_empty_list_matches_nothing() -> None:
    assert parse([("id", "in.()")]).conditions == (QueryFilter("id", "in", ()),)
    assert "false" in sql(("id", "in.()"))


def test_logic_tree_nests_and_in_or() -> None:
    (found,) = parse([("or", "(and(a.eq.x,b.gt.y),a.gt.x)")]).conditions
    assert found == Logic(
        "or",
        (
            Logic("and", (QueryFilter("a", "eq", "x"), QueryFilter("b", "gt", "y"))),
            QueryFilter("a", "gt", "x"),
        ),
    )


def test_value_in_a_tree_with_delimiters_is_quoted() -> None:
    (found,) = parse([("or", '(a.eq."x,y)",b.in.(1,"2,3"))')]).conditions
    assert found == Logic(
        "or", (QueryFilter("a", "eq", "x,y)"), QueryFilter("b", "in", ("1", "2,3")))
    )


def test_timestamp_needs_no_quotes_in_a_tree() -> None:
    (found,) = parse([("or", "(t.gt.2026-01-02T03:04:05.678+00:00,id.gt.a)")]).conditions
    assert isinstance(found, Logic)
    assert found.parts[0] == QueryFilter("t", "gt", "2026-01-02T03:04:05.678+00:00")


def test_not_negates_a_tree_and_its_parts() -> None:
    (found,) = parse([("not.or", "(not.and(a.eq.1,b.eq.2),c.not.eq.3)")]).conditions
    assert found == Logic(
        "or",
        (
            Logic("and", (QueryFilter("a", "eq", "1"), QueryFilter("b", "eq", "2")), negated=True),
            QueryFilter("c", "eq", "3", negated=True),
        ),
        negated=True,
    )


def test_order_has_directions_and_null_positions() -> None:
    assert parse([("order", "a.asc,b.desc,c.desc.nullslast,d.nullsfirst")]).order == (
        Order("a"),
        Order("b", descending=True),
        Order("c", descending=True, nulls_first=False),
        Order("d", nulls_first=True),
    )


def test_limit_and_offset_are_numbers() -> None:
    query = parse([("limit", "10"), ("offset", "20")])
    assert (query.limit, query.offset) == (10, 20)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("price", "5"),
        ("price", "xx.5"),
        ("price", "eq"),
        ("price", ""),
        ("city", "in.Austin"),
        ("city", "in.(Austin"),
        ("city", "in.(Austin)x"),
        ("city", "is.maybe"),
        ("select", ""),
        ("select", "id,"),
        ("select", "id,,name"),
        ("select", "id;name"),
        ("select", "id::text"),
        ("select", "a:id"),
        ("select", "owner(*)"),
        ("select", "amenities->pool"),
        ("order", ""),
        ("order", "id.up"),
        ("order", "id.asc.asc"),
        ("order", "id.asc;"),
        ("limit", "ten"),
        ("limit", "9" * 40),
        ("offset", "1e3"),
        ("or", "a.eq.1"),
        ("or", "()"),
        ("or", "(a.eq.1"),
        ("or", "(a.eq.1))"),
        ("or", "(a)"),
        ("or", "(xor(a.eq.1))"),
        ("a;b", "eq.1"),
        ("(select 1)", "eq.1"),
    ],
)
def test_invalid_parameter_raises_pgrst100(key: str, value: str) -> None:
    refusal = refused((key, value))
    assert (refusal.status, refusal.code) == (400, "PGRST100")
    assert refusal.details


def test_filter_on_an_embedded_table_raises_pgrst108() -> None:
    assert refused(("owner.name", "eq.x")).code == "PGRST108"


def test_negative_limit_raises_pgrst103() -> None:
    refusal = refused(("limit", "-1"))
    assert (refusal.status, refusal.code) == (416, "PGRST103")


def test_zero_byte_raises_22021() -> None:
    assert refused(("name", "eq.a\0b")).code == "22021"


def test_deeply_nested_tree_is_rejected_without_recursion_error() -> None:
    depth = MAX_DEPTH * 500
    assert refused(("or", "(and" * depth + "(a.eq.1)" + ")" * depth)).code == "PGRST100"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_value_stays_a_parameter(hostile: str) -> None:
    statement = composed(("name", f"eq.{hostile}"))
    assert statement.values == (hostile,)
    assert statement.text.as_string(None) == sql(("name", "eq.harmless"))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_value_in_a_list_or_a_tree_stays_a_parameter(hostile: str) -> None:
    quoted = '"' + hostile.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for parameter in (("name", f"in.({quoted})"), ("or", f"(name.eq.{quoted})")):
        assert composed(parameter).values == (hostile,)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("place", ["select", "order", "filter", "tree"])
def test_hostile_column_stays_one_quoted_identifier(hostile: str, place: str) -> None:
    quoted = '"' + hostile.replace("\\", "\\\\").replace('"', '\\"') + '"'
    parameter = {
        "select": ("select", quoted),
        "order": ("order", f"{quoted}.desc"),
        "filter": (quoted, "eq.1"),
        "tree": ("or", f"({quoted}.eq.1)"),
    }[place]
    harmless = (parameter[0].replace(quoted, "id"), parameter[1].replace(quoted, "id"))
    identifier = '"' + hostile.replace('"', '""') + '"'
    assert sql(parameter) == sql(harmless).replace(
        '"properties"."id"', f'"properties".{identifier}'
    )


TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
GRAMMAR = st.lists(
    st.sampled_from(
        ["(", ")", ",", ".", '"', "\\", "and", "or", "not.", "eq.", "in.", "is.", "a", "null", " "]
    ),
    max_size=25,
).map("".join)


@given(
    key=st.sampled_from(["select", "order", "limit", "offset", "or", "not.and", "price"]) | TEXT,
    value=TEXT | GRAMMAR,
)
def test_any_query_string_is_parsed_or_rejected(key: str, value: str) -> None:
    try:
        statement = composed((key, value))
    except PostgrestError:
        return
    assert statement.text.as_string(None)


@given(TEXT.filter(lambda text: "\0" not in text))
def test_filter_value_never_changes_the_statement(value: str) -> None:
    statement = composed(("name", f"eq.{value}"))
    assert statement.values == (value,)
    assert statement.text.as_string(None) == sql(("name", "eq.x"))
