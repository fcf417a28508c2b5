"""The sandbox's REST endpoint, read by the official `supabase` client and over plain HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from postgrest import APIError, CountMethod
from supabase import acreate_client

from bridge.sandbox.auth import keys
from bridge.sandbox.postgrest import faults
from tests.conftest import options
from tests.integration.gated_sleep import GatedSleep
from tests.integration.raw_realtime import PATIENCE

if TYPE_CHECKING:
    import httpx
    from supabase import AsyncClient

    from bridge.sandbox import Sandbox

OAK_VIEW = "123e4567-e89b-12d3-a456-426614174005"
SEEDED = 253


@pytest.fixture(scope="module", autouse=True)
async def odd(sandbox: Sandbox) -> None:
    """A table with values that need care in JSON and quoting, and one without grants."""
    await sandbox.execute(
        """
        create table public.odd (
          id bigint primary key, "Col ""x"", %s" text, amount numeric, raw bytea,
          at timestamptz, tags text[], extra jsonb, flag boolean
        );
        grant select on public.odd to anon, authenticated, service_role;
        insert into public.odd values
          (9007199254740993, 'plain', 0.10, '\\x00ff', '2026-01-02T03:04:05.678901Z',
            '{a,"b,c"}', '{"deep": [1, null]}', true),
          (2, 'a,b (c) "d" \\e', 12345678901234567890.5, null, null, null, null, false),
          (3, null, 'NaN', null, 'infinity', '{}', 'null', null);
        create table public.closed (id int primary key);
        """
    )


async def read(query: Any) -> list[Any]:
    data: list[Any] = (await query.execute()).data
    return data


async def refusal(query: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        await query.execute()
    return caught.value


def headers(key: str, token: str | None = None) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {token or key}"}


@pytest.fixture
def url(sandbox: Sandbox) -> str:
    return f"{sandbox.supabase_url}/rest/v1/properties"


async def client_of(sandbox: Sandbox, http: httpx.AsyncClient, key: str) -> AsyncClient:
    return await acreate_client(sandbox.supabase_url, key, options(http))


@pytest.fixture
async def anonymous(sandbox: Sandbox, http: httpx.AsyncClient) -> AsyncClient:
    return await client_of(sandbox, http, sandbox.anon_key)


# Reads


async def test_select_star_returns_all_rows_with_all_columns(supabase: AsyncClient) -> None:
    rows = await read(supabase.table("properties").select("*"))
    assert len(rows) == SEEDED
    assert {"id", "owner_contact", "amenities", "tags", "updated_at"} <= rows[0].keys()


async def test_select_returns_only_its_columns_in_order(supabase: AsyncClient) -> None:
    (row,) = await read(supabase.table("properties").select("price, id").eq("id", OAK_VIEW))
    assert list(row.items()) == [("price", 12_500_000), ("id", OAK_VIEW)]


async def test_unknown_row_is_an_empty_list(supabase: AsyncClient) -> None:
    query = supabase.table("properties").select("*")
    assert await read(query.eq("id", "00000000-0000-4000-8000-000000000000")) == []


async def test_keyset_pages_over_the_key_return_every_row_once(supabase: AsyncClient) -> None:
    seen: list[str] = []
    while True:
        query = supabase.table("properties").select("id").order("id").limit(100)
        page = await read(query.gt("id", seen[-1]) if seen else query)
        if not page:
            break
        seen += [row["id"] for row in page]
    assert len(seen) == len(set(seen)) == SEEDED
    assert seen == sorted(seen)


async def test_keyset_over_two_columns_continues_after_a_row(supabase: AsyncClient) -> None:
    ordered = await read(
        supabase.table("properties").select("id,updated_at").order("updated_at").order("id")
    )
    mark = ordered[99]
    rest = await read(
        supabase.table("properties")
        .select("id,updated_at")
        .or_(
            f'updated_at.gt."{mark["updated_at"]}",'
            f'and(updated_at.eq."{mark["updated_at"]}",id.gt.{mark["id"]})'
        )
        .order("updated_at")
        .order("id")
    )
    assert rest == ordered[100:]


async def test_comparisons_use_the_columns_type(supabase: AsyncClient) -> None:
    rows = await read(
        supabase.table("properties").select("units").gte("units", 100).lt("units", 145)
    )
    assert {row["units"] for row in rows} <= {108, 120, 144}
    assert rows


async def test_neq_excludes_equal_values(supabase: AsyncClient) -> None:
    rows = await read(supabase.table("properties").select("status").neq("status", "sold"))
    assert {row["status"] for row in rows} == {"available", "pending"}


async def test_in_finds_each_listed_value(supabase: AsyncClient) -> None:
    rows = await read(
        supabase.table("properties").select("city").in_("city", ["San Diego", "Tampa", "Nowhere"])
    )
    assert {row["city"] for row in rows} == {"San Diego", "Tampa"}


async def test_in_with_no_values_finds_nothing(supabase: AsyncClient) -> None:
    assert await read(supabase.table("properties").select("id").in_("id", [])) == []


async def test_is_null_finds_nulls_and_not_is_null_the_others(supabase: AsyncClient) -> None:
    table = supabase.table("properties")
    nulls = await read(table.select("id").is_("internal_notes", "null"))
    others = await read(supabase.table("properties").select("id").not_.is_("internal_notes", None))
    assert nulls
    assert others
    assert len(nulls) + len(others) == SEEDED


async def test_ilike_takes_stars_and_ignores_case(supabase: AsyncClient) -> None:
    rows = await read(supabase.table("properties").select("name").ilike("name", "oak view*"))
    assert "Oak View Apartments" in {row["name"] for row in rows}


async def test_order_desc_is_descending(supabase: AsyncClient) -> None:
    rows = await read(supabase.table("properties").select("price").order("price", desc=True))
    prices = [row["price"] for row in rows]
    assert prices == sorted(prices, reverse=True)


@pytest.mark.parametrize("first", [True, False])
async def test_nulls_are_ordered_first_or_last(supabase: AsyncClient, first: bool) -> None:
    rows = await read(supabase.table("odd").select("id,at").order("at", nullsfirst=first))
    assert [row["at"] is None for row in rows].index(True) == (0 if first else 2)


async def test_range_is_inclusive(supabase: AsyncClient) -> None:
    every = await read(supabase.table("properties").select("id").order("id"))
    part = await read(supabase.table("properties").select("id").order("id").range(10, 19))
    assert part == every[10:20]


async def test_limit_zero_returns_no_rows(supabase: AsyncClient) -> None:
    assert await read(supabase.table("properties").select("id").limit(0)) == []


async def test_max_rows_truncates_silently(sandbox: Sandbox, supabase: AsyncClient) -> None:
    sandbox.rest.max_rows = 50
    try:
        for limit in (None, 10_000):
            query = supabase.table("properties").select("id")
            assert len(await read(query if limit is None else query.limit(limit))) == 50
    finally:
        sandbox.rest.max_rows = 1000


async def test_count_includes_matches_outside_the_page(supabase: AsyncClient) -> None:
    answer = (
        await supabase.table("properties")
        .select("id", count=CountMethod.exact)
        .eq("state", "TX")
        .limit(7)
        .execute()
    )
    assert (len(answer.data), answer.count) == (7, 55)


async def test_head_counts_without_rows(supabase: AsyncClient) -> None:
    answer = (
        await supabase.table("properties").select("*", count=CountMethod.exact, head=True).execute()
    )
    assert (answer.data, answer.count) == ([], SEEDED)


async def test_page_has_a_content_range(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    answer = await http.get(
        url, params={"offset": "5", "limit": "10"}, headers=headers(sandbox.supabase_key)
    )
    assert (answer.status_code, answer.headers["Content-Range"]) == (200, "5-14/*")


async def test_counted_page_is_partial_content(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    answer = await http.get(
        url,
        params={"limit": "10"},
        headers=headers(sandbox.supabase_key) | {"Prefer": "count=exact"},
    )
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, f"0-9/{SEEDED}")


async def test_single_returns_the_object_itself(supabase: AsyncClient) -> None:
    answer = await supabase.table("properties").select("name").eq("id", OAK_VIEW).single().execute()
    assert answer.data == {"name": "Oak View Apartments"}


async def test_values_have_the_json_format_of_postgres(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    answer = await http.get(
        f"{sandbox.supabase_url}/rest/v1/odd",
        params={"order": "id.desc", "limit": "1"},
        headers=headers(sandbox.supabase_key),
    )
    # Digits are compared as text: they must not have gone through a float.
    assert '"id":9007199254740993' in answer.text
    assert '"amount":0.10' in answer.text
    (row,) = answer.json()
    assert row["raw"] == "\\x00ff"
    assert row["at"] == "2026-01-02T03:04:05.678901+00:00"
    assert row["tags"] == ["a", "b,c"]
    assert row["extra"] == {"deep": [1, None]}


async def test_column_with_quotes_and_percent_signs_can_be_selected_and_filtered(
    supabase: AsyncClient,
) -> None:
    rows = await read(
        supabase.table("odd").select('"Col \\"x\\", %s"').eq('Col "x", %s', 'a,b (c) "d" \\e')
    )
    assert rows == [{'Col "x", %s': 'a,b (c) "d" \\e'}]


async def test_value_with_commas_and_quotes_can_be_listed(supabase: AsyncClient) -> None:
    rows = await read(supabase.table("odd").select("id").in_('Col "x", %s', ['a,b (c) "d" \\e']))
    assert rows == [{"id": 2}]


async def test_new_table_is_readable_immediately(sandbox: Sandbox, supabase: AsyncClient) -> None:
    await sandbox.execute("create table public.fresh as select 1 as id")
    await sandbox.execute("grant select on public.fresh to service_role")
    assert await read(supabase.table("fresh").select("*")) == [{"id": 1}]


async def test_concurrent_reads_return_their_own_rows(supabase: AsyncClient) -> None:
    states = ["TX", "CA", "FL", "GA", "AZ", "CO", "NC", "TN"] * 5
    answers = await asyncio.gather(
        *(read(supabase.table("properties").select("state").eq("state", s)) for s in states)
    )
    assert [{row["state"] for row in rows} for rows in answers] == [{s} for s in states]


# Roles


async def test_anon_reads_the_published_columns(anonymous: AsyncClient) -> None:
    assert len(await read(anonymous.table("properties").select("id,name,price"))) == SEEDED


@pytest.mark.parametrize("columns", ["*", "id,owner_contact"])
async def test_anon_may_not_read_internal_columns(anonymous: AsyncClient, columns: str) -> None:
    assert (await refusal(anonymous.table("properties").select(columns))).code == "42501"


async def test_read_denied_to_anon_is_unauthorized(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    assert (await http.get(url, headers=headers(sandbox.anon_key))).status_code == 401


async def test_read_denied_to_a_user_is_forbidden(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    token = keys.user_token("6f0a4c2e-0000-4000-8000-000000000001")
    answer = await http.get(url, headers=headers(sandbox.anon_key, token))
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")


async def test_row_level_security_reads_the_tokens_claims(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    me = "6f0a4c2e-0000-4000-8000-000000000001"
    await sandbox.execute(
        """
        create table public.saved (owner uuid default gen_random_uuid(), note text);
        alter table public.saved enable row level security;
        create policy own on public.saved for select using (owner = auth.uid());
        grant select on public.saved to authenticated;
        """
    )
    await sandbox.execute("insert into saved values (%s, 'mine'), (default, 'theirs')", [me])
    answer = await http.get(
        f"{sandbox.supabase_url}/rest/v1/saved",
        headers=headers(sandbox.anon_key, keys.user_token(me)),
    )
    assert [row["note"] for row in answer.json()] == ["mine"]


async def test_table_without_a_grant_is_forbidden(supabase: AsyncClient) -> None:
    error = await refusal(supabase.table("closed").select("*"))
    assert (error.code, error.message) == ("42501", "permission denied for table closed")


# Errors


async def test_unknown_table_is_not_found_and_a_similar_one_is_named(
    supabase: AsyncClient,
) -> None:
    error = await refusal(supabase.table("propertys").select("*"))
    assert error.code == "PGRST205"
    assert error.hint == "Perhaps you meant the table 'public.properties'"


async def test_tables_outside_public_do_not_exist(supabase: AsyncClient) -> None:
    assert (await refusal(supabase.table("schema_migrations").select("*"))).code == "PGRST205"


async def test_unknown_schema_is_not_acceptable(supabase: AsyncClient) -> None:
    assert (await refusal(supabase.schema("auth").table("users").select("*"))).code == "PGRST106"


async def test_unknown_column_is_a_bad_request(supabase: AsyncClient) -> None:
    error = await refusal(supabase.table("properties").select("id").eq("nope", 1))
    assert (error.code, error.message) == ("42703", "column properties.nope does not exist")


async def test_value_of_the_wrong_type_is_a_bad_request(supabase: AsyncClient) -> None:
    assert (await refusal(supabase.table("properties").select("id").eq("id", "x"))).code == "22P02"


async def test_unknown_operator_is_a_bad_request(supabase: AsyncClient) -> None:
    error = await refusal(supabase.table("properties").select("id").filter("id", "near", "1"))
    assert error.code == "PGRST100"


async def test_single_rejects_several_rows(supabase: AsyncClient) -> None:
    error = await refusal(supabase.table("properties").select("id").single())
    assert (error.code, error.details) == ("PGRST116", f"The result contains {SEEDED} rows")


async def test_counted_offset_past_the_end_cannot_be_satisfied(supabase: AsyncClient) -> None:
    error = await refusal(
        supabase.table("properties").select("id", count=CountMethod.exact).range(5000, 5010)
    )
    assert error.code == "PGRST103"


@pytest.mark.parametrize("write", ["insert", "update", "delete"])
async def test_writes_are_rejected(supabase: AsyncClient, write: str) -> None:
    table = supabase.table("properties")
    queries: dict[str, Any] = {
        "insert": table.insert({"name": "x"}),
        "update": supabase.table("properties").update({"name": "x"}).eq("id", OAK_VIEW),
        "delete": supabase.table("properties").delete().eq("id", OAK_VIEW),
    }
    assert (await refusal(queries[write])).code == "PGRST117"


# Functions


@pytest.fixture(scope="module")
async def functions(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with functions of each kind."""
    await sandbox.execute(
        """
        create table public.notes (note text);
        create function public.added(a int, b int default 10) returns int
          language sql stable as 'select a + b';
        create function public.caller() returns setof text
          language sql stable as 'select current_user::text';
        create function public.noted(note text) returns void
          language sql as 'insert into public.notes values (note)';
        create function public.kept() returns int language sql stable as 'select 1';
        revoke execute on function public.kept() from public;
        grant insert on public.notes to service_role;
        """
    )
    return sandbox


@pytest.mark.parametrize("get", [True, False], ids=["GET", "POST"])
async def test_function_is_called_with_its_arguments_by_name(
    functions: Sandbox, supabase: AsyncClient, get: bool
) -> None:
    assert (await supabase.rpc("added", {"a": 1, "b": 2}, get=get).execute()).data == 3
    assert (await supabase.rpc("added", {"a": 1}, get=get).execute()).data == 11


async def test_function_runs_as_the_role_of_the_request(
    functions: Sandbox, supabase: AsyncClient, anonymous: AsyncClient
) -> None:
    assert await read(supabase.rpc("caller", {})) == ["service_role"]
    assert await read(anonymous.rpc("caller", {})) == ["anon"]


@pytest.mark.parametrize("arguments", [{}, {"b": 1}, {"a": 1, "c": 2}])
async def test_function_with_other_arguments_is_not_found(
    functions: Sandbox, supabase: AsyncClient, arguments: dict[str, int]
) -> None:
    assert (await refusal(supabase.rpc("added", arguments))).code == "PGRST202"


async def test_function_without_a_grant_is_denied(
    functions: Sandbox, supabase: AsyncClient
) -> None:
    error = await refusal(supabase.rpc("kept", {}))
    assert (error.code, error.message) == ("42501", "permission denied for function kept")


async def test_function_that_writes_is_called_by_post_only(
    functions: Sandbox, http: httpx.AsyncClient
) -> None:
    url = f"{functions.supabase_url}/rest/v1/rpc/noted"
    allowed = headers(functions.supabase_key)
    answer = await http.get(url, params={"note": "x"}, headers=allowed)
    assert (answer.status_code, answer.json()["code"]) == (405, "25006")
    assert (await http.post(url, json={"note": "x"}, headers=allowed)).status_code == 204
    assert await functions.execute("select note from notes") == [{"note": "x"}]


async def test_request_without_a_key_is_rejected_by_the_gateway(
    http: httpx.AsyncClient, url: str
) -> None:
    answer = await http.get(url)
    assert answer.status_code == 401
    assert answer.json()["message"] == "No API key found in request"


async def test_key_of_another_project_is_rejected_by_the_gateway(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    other = jwt.encode({"role": "service_role", "exp": 2**31}, "x" * 32, algorithm="HS256")
    client = await client_of(sandbox, http, other)
    error = await refusal(client.table("properties").select("id"))
    assert error.message == "Invalid API key"


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        ("garbage", "PGRST301", "Expected 3 parts in JWT; got 1"),
        ("a.b.c", "PGRST301", "No suitable key or wrong key type"),
        (
            jwt.encode({"role": "service_role"}, "y" * 32, algorithm="HS256"),
            "PGRST301",
            "No suitable key or wrong key type",
        ),
        (keys.user_token("x", lifetime=-60), "PGRST303", "JWT expired"),
    ],
    ids=["not-a-jwt", "nonsense", "another-secret", "expired"],
)
async def test_bad_token_is_unauthorized(  # noqa: PLR0917
    sandbox: Sandbox, http: httpx.AsyncClient, url: str, token: str, code: str, message: str
) -> None:
    answer = await http.get(url, headers=headers(sandbox.anon_key, token))
    assert answer.status_code == 401
    assert (answer.json()["code"], answer.json()["message"]) == (code, message)
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


async def test_unsigned_token_is_unauthorized(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    token = jwt.encode({"role": "service_role"}, "", algorithm="none")
    assert (await http.get(url, headers=headers(sandbox.anon_key, token))).status_code == 401


async def test_token_for_the_superuser_role_is_rejected(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    token = keys.sign({"role": "supabase_admin", "exp": 2**31})
    answer = await http.get(url, headers=headers(sandbox.anon_key, token))
    assert answer.status_code in (401, 403)


async def test_head_has_its_error_in_a_header(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    answer = await http.head(
        f"{sandbox.supabase_url}/rest/v1/nosuch", headers=headers(sandbox.supabase_key)
    )
    assert answer.status_code == 404
    assert answer.headers["Proxy-Status"] == "PostgREST; error=PGRST205"


@pytest.mark.parametrize(
    "parameters",
    [
        {"name": "eq.x'; drop table properties; --"},
        {'"; drop table properties; --"': "eq.1"},
        {"select": '"id") from properties; drop table properties; --"'},
        {"order": '"id; drop table properties; --".asc'},
        {"or": '("x\\" = 1); drop table properties; --".eq.1)'},
    ],
)
async def test_injection_attempt_changes_nothing(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str, parameters: dict[str, str]
) -> None:
    answer = await http.get(url, params=parameters, headers=headers(sandbox.supabase_key))
    assert answer.status_code in (200, 400)
    assert await sandbox.execute("select count(*) as n from properties") == [{"n": SEEDED}]


async def test_cors_allows_reads_of_any_origin(
    sandbox: Sandbox, http: httpx.AsyncClient, url: str
) -> None:
    preflight = await http.options(url, headers={"Access-Control-Request-Headers": "apikey"})
    answer = await http.get(
        url, params={"select": "id"}, headers=headers(sandbox.anon_key) | {"Origin": "http://x"}
    )
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Headers"] == "apikey"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


# Faults


async def test_down_responds_as_postgrest_without_its_database(
    sandbox: Sandbox, supabase: AsyncClient
) -> None:
    sandbox.rest_faults.down = True
    assert (await refusal(supabase.table("properties").select("id"))).code == "PGRST002"
    sandbox.rest_faults.down = False
    assert await read(supabase.table("properties").select("id").limit(1))


async def test_fail_next_affects_the_next_reads_only(
    sandbox: Sandbox, supabase: AsyncClient
) -> None:
    sandbox.rest_faults.fail_next(2, 500)
    for _ in range(2):
        assert (await refusal(supabase.table("properties").select("id"))).code == "XX000"
    assert await read(supabase.table("properties").select("id").limit(1))


async def test_delay_delays_responses(
    sandbox: Sandbox, supabase: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay = GatedSleep(monkeypatch, faults, 7.0)
    sandbox.rest_faults.delay = 7.0
    reading = asyncio.create_task(read(supabase.table("properties").select("id").limit(1)))
    await asyncio.wait_for(delay.started.wait(), PATIENCE)
    sandbox.rest_faults.delay = 0.0
    assert await read(supabase.table("properties").select("id").limit(1))
    assert not reading.done()
    delay.release()
    assert len(await reading) == 1


async def test_hang_blocks_responses_until_it_ends(sandbox: Sandbox, supabase: AsyncClient) -> None:
    sandbox.rest_faults.hang = True
    reading = asyncio.create_task(read(supabase.table("properties").select("id").limit(1)))
    done, _ = await asyncio.wait([reading], timeout=0.2)
    assert not done
    sandbox.rest_faults.hang = False
    assert len(await reading) == 1


async def test_faults_can_be_injected_over_http(
    sandbox: Sandbox, http: httpx.AsyncClient, supabase: AsyncClient
) -> None:
    answer = await http.post(f"{sandbox.supabase_url}/_sandbox/faults", json={"name": "rest-down"})
    assert answer.json() == {"ok": True}
    assert sandbox.rest_faults.down


async def test_read_counters_are_served_over_http(
    sandbox: Sandbox, http: httpx.AsyncClient, supabase: AsyncClient
) -> None:
    before = (await http.get(f"{sandbox.supabase_url}/_sandbox/faults")).json()
    assert len(await read(supabase.table("properties").select("id").limit(7))) == 7
    after = (await http.get(f"{sandbox.supabase_url}/_sandbox/faults")).json()
    assert after["reads"] - before["reads"] == 1
    assert after["rows_given"] - before["rows_given"] == 7


@pytest.mark.parametrize(
    "asked",
    [{"name": "rest-nonsense"}, {"name": "nonsense"}, {"name": "rest-delay", "hours": 1}, {}, []],
)
async def test_unknown_fault_is_rejected(
    sandbox: Sandbox, http: httpx.AsyncClient, asked: Any
) -> None:
    answer = await http.post(f"{sandbox.supabase_url}/_sandbox/faults", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_form_of_a_foreign_page_cannot_inject_faults(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    answer = await http.post(
        f"{sandbox.supabase_url}/_sandbox/faults",
        content='{"name": "rest-down"}',
        headers={"Content-Type": "text/plain"},
    )
    assert answer.status_code == 400
    assert not sandbox.rest_faults.down
