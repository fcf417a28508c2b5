"""The sandbox's Realtime sends the frames of the real server, key for key.

The literals are frames of the real server; only ids of bindings, keys of rows and times differ.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.sandbox import Sandbox
from bridge.sandbox.auth import keys
from bridge.sandbox.realtime import channel, socket
from bridge.sandbox.realtime import server as realtime_server
from tests.integration.gated_sleep import GatedSleep
from tests.integration.raw_realtime import PATIENCE, RawClient, binding, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PACE = 0.05
NUMBERS = itertools.count()
SUBSCRIBED = {
    "channel": "props",
    "extension": "postgres_changes",
    "message": "Subscribed to PostgreSQL",
    "status": "ok",
}
OK = {
    "event": "system",
    "payload": SUBSCRIBED,
    "ref": None,
    "topic": "realtime:props",
}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox.open(seed=False) as running:
        running.realtime.pace = PACE
        yield running


@pytest.fixture
async def table(server: Sandbox) -> str:
    """A published table, one per test."""
    return await make(server, "id int primary key, name text, price bigint, state text")


async def make(server: Sandbox, columns: str, *, grant: bool = True) -> str:
    name = f"t{next(NUMBERS)}"
    await server.execute(f"create table public.{name} ({columns})")
    if grant:
        await server.execute(f"grant all on public.{name} to anon, authenticated, service_role")
    await server.execute(f"alter publication supabase_realtime add table public.{name}")
    return name


async def before(server: Sandbox, statement: str) -> None:
    """Write without a message: a poll also sends earlier changes to the subscriptions it finds."""
    await server.execute(statement)
    await server.faults.lose_pending()


@pytest.fixture
async def client(server: Sandbox) -> AsyncIterator[RawClient]:
    async with RawClient.open(server) as client:
        yield client


# Joining.


async def test_join_reply_has_the_binding_and_its_id(client: RawClient, table: str) -> None:
    reply = await client.join(binding(table, filter="state=eq.TX"))
    [echo] = reply["payload"]["response"]["postgres_changes"]
    assert list(echo) == ["id", "event", "filter", "schema", "table"]
    assert reply == {
        "event": "phx_reply",
        "payload": {"response": {"postgres_changes": [echo]}, "status": "ok"},
        "ref": "1",
        "topic": "realtime:props",
    }


async def test_system_ok_follows_the_reply(client: RawClient, table: str) -> None:
    await client.join(binding(table))
    text = await client.text()
    assert text == json.dumps(OK, separators=(",", ":"))


async def test_subscription_on_a_warm_server_needs_no_cold_start(
    client: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.subscribe(binding(table))
    monkeypatch.setattr(realtime_server, "COLD_START", (1e6, 1e6))
    await client.subscribe(binding(table), topic="realtime:again", ref="2")


async def test_ids_depend_on_the_bindings_content_only(server: Sandbox, table: str) -> None:
    ids = []
    for topic in ("realtime:a", "realtime:b"):
        async with RawClient.open(server) as client:
            ids.append(
                await client.subscribe(binding(table), binding(table, "INSERT"), topic=topic)
            )
    assert ids[0] == ids[1]
    assert ids[0][0] != ids[0][1]


async def test_channel_without_bindings_receives_no_system(client: RawClient) -> None:
    reply = await client.join()
    assert reply["payload"] == {"response": {"postgres_changes": []}, "status": "ok"}
    assert (await client.heartbeat())["topic"] == "phoenix"


async def test_vsn_2_uses_arrays(server: Sandbox, table: str) -> None:
    async with connect(url(server, vsn="2.0.0")) as connection:
        config = {"config": {"postgres_changes": [binding(table)]}}
        await connection.send(json.dumps(["1", "1", "realtime:props", "phx_join", config]))
        await connection.send(json.dumps([None, "2", "phoenix", "heartbeat", {}]))
        frames = [json.loads(await connection.recv()) for _ in range(3)]
        await server.execute(f"insert into {table}(id) values (1)")
        change = json.loads(await connection.recv())
    assert frames[0][:4] == ["1", "1", "realtime:props", "phx_reply"]
    ok = ["1", None, "realtime:props", "system", SUBSCRIBED]
    assert [None, "2", "phoenix", "phx_reply", {"response": {}, "status": "ok"}] in frames
    assert ok in frames
    assert change[:4] == [None, None, "realtime:props", "postgres_changes"]


@pytest.mark.parametrize("ref", ["2", None])
async def test_heartbeat_may_have_no_ref(client: RawClient, ref: str | None) -> None:
    await client.send("phoenix", "heartbeat", {}, ref=ref)
    assert await client.text() == (
        '{"event":"phx_reply","payload":{"response":{},"status":"ok"},'
        f'"ref":{json.dumps(ref)},"topic":"phoenix"}}'
    )


async def test_unknown_topic_is_unmatched(client: RawClient) -> None:
    await client.send("nosuch:topic", "phx_join", {}, ref="2")
    assert (await client.frame())["payload"] == {
        "response": {"reason": "unmatched topic"},
        "status": "error",
    }


async def test_topic_needs_a_name(client: RawClient) -> None:
    await client.send("realtime:", "phx_join", {}, ref="3")
    assert (await client.frame())["payload"]["response"] == {
        "reason": "TopicNameRequired: You must provide a topic name"
    }


async def test_join_without_config_binds_the_topic(client: RawClient) -> None:
    await client.send("realtime:zz", "phx_join", {}, ref="4")
    [echo] = (await client.frame())["payload"]["response"]["postgres_changes"]
    assert {key: echo[key] for key in echo if key != "id"} == {"schema": "zz"}


BAD = "Unable to subscribe to changes with given parameters. "
CHECK = BAD + "Please check Realtime is enabled for the given connect parameters: "
RAISED = BAD + "An exception happened so please check your connect parameters: "


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"table": "nosuch"},
            CHECK + "[event: *, schema: public, table: nosuch, filters: [], select: nil]",
        ),
        (
            {"schema": "nosuch"},
            CHECK + "[event: *, schema: nosuch, table: {table}, filters: [], select: nil]",
        ),
        (
            {"filter": "nocol=eq.1"},
            RAISED + '[event: *, schema: public, table: {table}, filters: [{{"nocol", "eq", "1", '
            "false}}], select: nil]. Exception: ERROR P0001 (raise_exception) invalid column for "
            "filter nocol",
        ),
        (
            {"filter": "price=eq.abc"},
            RAISED + '[event: *, schema: public, table: {table}, filters: [{{"price", "eq", "abc", '
            "false}}], select: nil]. Exception: ERROR 22P02 (invalid_text_representation) invalid "
            'input syntax for type bigint: "abc"',
        ),
        (
            {"filter": f"state=in.({','.join(f'S{n}' for n in range(101))})"},
            RAISED
            + '[event: *, schema: public, table: {table}, filters: [\n  {{"state", "in",\n   '
            f'"{{{{{",".join(f"S{n}" for n in range(101))}}}}}",\n   '
            "false}}\n], select: nil]. Exception: ERROR P0001 (raise_exception) too many values "
            "for `in` filter. Maximum 100",
        ),
        ({"filter": "state=zz.TX"}, 'Error parsing `filter` params: ["zz", "TX"]'),
        ({"filter": "garbage"}, 'Error parsing `filter` params: ["garbage"]'),
        (
            {"select": "id,price"},
            (
                "Error parsing `select` params: expected a list of column name strings, e.g. "
                'select: ["col1", "col2"]'
            ),
        ),
    ],
    ids=["table", "schema", "column", "type", "in 101", "operator", "syntax", "select"],
)
async def test_bad_binding_is_accepted_and_then_rejected_by_system(
    client: RawClient, table: str, wrong: dict[str, Any], message: str
) -> None:
    reply = await client.join(binding(table) | wrong)
    system = await client.frame()
    assert reply["payload"]["status"] == "ok"
    assert system == {
        "event": "system",
        "payload": SUBSCRIBED | {"message": message.format(table=table), "status": "error"},
        "ref": None,
        "topic": "realtime:props",
    }


async def test_bad_binding_rejects_all_bindings_of_its_channel(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.join(binding(table), binding("nosuch"))
    await client.frame()
    await client.subscribe(binding(table), topic="realtime:good", ref="2")
    await server.execute(f"insert into {table}(id) values (1)")
    assert (await client.frame())["topic"] == "realtime:good"


async def test_channel_above_the_limit_is_rejected(
    server: Sandbox, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.realtime, "max_channels", 1)
    await client.join(topic="realtime:one")
    reply = await client.join(topic="realtime:two", ref="2")
    assert reply["payload"] == {
        "response": {"reason": "ChannelRateLimitReached: Too many channels"},
        "status": "error",
    }


# Tokens.


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("garbage", "The token provided is not a valid JWT"),
        (
            keys.api_key("anon").rpartition(".")[0] + ".AAAA",
            "Failed to validate JWT signature",
        ),
        (keys.user_token("u", lifetime=-5), "Token has expired"),
        (keys.sign({"exp": keys.EXPIRES_AT}), "Fields `role` and `exp` are required in JWT"),
        (keys.sign({"role": "anon"}), "Fields `role` and `exp` are required in JWT"),
    ],
    ids=["garbage", "signature", "expired", "no role", "no exp"],
)
async def test_bad_key_is_rejected_at_the_handshake(server: Sandbox, key: str, error: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url(server, key))
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body) == {"error": error}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("garbage", "MalformedJWT: The token provided is not a valid JWT"),
        (keys.user_token("u", lifetime=-21), "InvalidJWTToken: Token has expired "),
        (
            keys.sign({"role": "anon"}),
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT",
        ),
    ],
    ids=["garbage", "expired", "no exp"],
)
async def test_bad_token_is_rejected_at_the_join(
    client: RawClient, table: str, token: str, reason: str
) -> None:
    reply = await client.join(binding(table), token=token)
    assert reply["payload"]["status"] == "error"
    assert reply["payload"]["response"]["reason"].startswith(reason)


async def test_rejected_join_is_answered_after_its_delay(
    server: Sandbox, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay = GatedSleep(monkeypatch, socket, socket.JOIN_ERROR_DELAY * PACE)
    joining = asyncio.create_task(client.join(token="garbage"))
    await asyncio.wait_for(delay.started.wait(), PATIENCE)
    async with RawClient.open(server) as other:
        await other.heartbeat()
    assert not joining.done()
    delay.release()
    assert (await joining)["payload"]["status"] == "error"


async def test_publishable_key_in_a_join_uses_the_connections_token(
    client: RawClient, table: str
) -> None:
    assert await client.subscribe(binding(table), token="sb_publishable_abc")


async def test_unknown_role_is_rejected_by_system(server: Sandbox, table: str) -> None:
    async with RawClient.open(server, keys.api_key("nosuchrole")) as client:
        assert (await client.join(binding(table)))["payload"]["status"] == "ok"
        message = (await client.frame())["payload"]["message"]
    assert message.endswith('ERROR 42704 (undefined_object) role "nosuchrole" does not exist')


async def test_expiring_token_closes_the_channel_and_not_the_socket(
    client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table), token=keys.user_token("u", lifetime=2))
    assert await client.frame() == {
        "event": "system",
        "payload": {
            "channel": "props",
            "extension": "system",
            "message": "Token has expired 0 seconds ago",
            "status": "error",
        },
        "ref": None,
        "topic": "realtime:props",
    }
    assert await client.text() == (
        '{"event":"phx_close","payload":{},"ref":"1","topic":"realtime:props"}'
    )
    assert (await client.heartbeat())["payload"]["status"] == "ok"


async def test_new_token_causes_another_system_ok(client: RawClient, table: str) -> None:
    await client.subscribe(binding(table))
    await client.send(
        "realtime:props", "access_token", {"access_token": keys.user_token("u")}, ref="2"
    )
    assert await client.frame() == OK


async def test_token_sent_again_causes_no_resubscription(
    client: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With equal delays, resubscriptions send `system` in the order of their tokens.
    monkeypatch.setattr(channel, "RESUBSCRIBE_DELAY", (1.0, 1.0))
    token, other = keys.user_token("u"), keys.user_token("v")
    await client.subscribe(binding(table), token=token)
    await client.subscribe(binding(table), topic="realtime:later", ref="2")
    await client.send("realtime:props", "access_token", {"access_token": token}, ref="3")
    await client.send("realtime:later", "access_token", {"access_token": other}, ref="4")
    system = await client.frame()
    assert (system["event"], system["topic"]) == ("system", "realtime:later")
    assert (await client.heartbeat())["topic"] == "phoenix"


async def test_expired_new_token_closes_the_channel(client: RawClient, table: str) -> None:
    await client.subscribe(binding(table))
    expired = {"access_token": keys.user_token("u", lifetime=-5)}
    await client.send("realtime:props", "access_token", expired, ref="2")
    system = await client.frame()
    assert system["payload"]["extension"] == "system"
    assert system["payload"]["message"].startswith("Token has expired ")
    assert (await client.frame())["event"] == "phx_close"


# Leaving and joining again.


async def test_leave_is_answered_and_closed(client: RawClient, table: str) -> None:
    await client.subscribe(binding(table))
    await client.send("realtime:props", "phx_leave", {}, ref="2", join_ref="1")
    assert await client.text() == (
        '{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"2",'
        '"topic":"realtime:props"}'
    )
    assert await client.text() == (
        '{"event":"phx_close","payload":{},"ref":"1","topic":"realtime:props"}'
    )


async def test_leave_without_join_ref_is_ignored(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    await client.send("realtime:props", "phx_leave", {}, ref="2")
    await client.heartbeat()
    await server.execute(f"insert into {table}(id) values (1)")
    assert (await client.data())["type"] == "INSERT"


async def test_leave_of_an_unjoined_topic_is_answered_ok(client: RawClient) -> None:
    await client.send("realtime:x", "phx_leave", {}, ref="1")
    assert (await client.frame())["payload"] == {"response": {}, "status": "ok"}


async def test_second_join_closes_the_old_channel_after_its_own_reply(
    client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    reply = await client.join(binding(table), ref="2")
    close = await client.frame()
    assert reply["ref"] == "2"
    assert close == {"event": "phx_close", "payload": {}, "ref": "1", "topic": "realtime:props"}
    assert await client.frame() == OK


async def test_silent_socket_is_closed_with_1000(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.realtime, "idle_timeout", 0.1)
    async with connect(url(server), ping_interval=None) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


# What a change contains.


async def test_insert_frame_equals_the_real_one_byte_for_byte(
    server: Sandbox, client: RawClient, table: str
) -> None:
    [number] = await client.subscribe(binding(table))
    await server.execute(f"insert into {table} values (7, 'São \"x\"', 9007199254740993, null)")
    text = await client.text()
    moment = json.loads(text)["payload"]["data"]["commit_timestamp"]
    assert text == (
        '{"event":"postgres_changes","payload":{"data":{"columns":[{"name": "id", "type": "int4"}'
        ', {"name": "name", "type": "text"}, {"name": "price", "type": "int8"}, {"name": "state", '
        f'"type": "text"}}],"commit_timestamp":"{moment}","errors":null,"record":{{"id": 7, "name":'
        ' "São \\"x\\"", "price": 9007199254740993, "state": null},"schema":"public","table":'
        f'"{table}","type":"INSERT"}},"ids":[{number}]}},"ref":null,"topic":"realtime:props"}}'
    )


async def test_default_identity_has_the_key_in_old_record(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    await server.execute(f"insert into {table} values (1, 'a', 100, 'TX')")
    await server.execute(f"update {table} set price = 200")
    await server.execute(f"delete from {table}")
    insert, update, delete = [await client.data() for _ in range(3)]
    record = {"id": 1, "name": "a", "price": 100, "state": "TX"}
    assert ("old_record" in insert, insert["record"]) == (False, record)
    assert (update["old_record"], update["record"]) == ({"id": 1}, record | {"price": 200})
    assert (delete["old_record"], "record" in delete) == ({"id": 1}, False)


async def test_full_identity_has_the_whole_old_record(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await server.execute(f"alter table {table} replica identity full")
    await client.subscribe(binding(table))
    await server.execute(f"insert into {table} values (1, 'a', 100, 'TX')")
    await server.execute(f"update {table} set price = 200")
    await server.execute(f"delete from {table}")
    _, update, delete = [await client.data() for _ in range(3)]
    record = {"id": 1, "name": "a", "price": 100, "state": "TX"}
    assert update["old_record"] == record
    assert delete["old_record"] == record | {"price": 200}


async def test_changed_key_is_one_update_with_the_old_key(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await before(server, f"insert into {table}(id) values (1)")
    await client.subscribe(binding(table))
    await server.execute(f"update {table} set id = 2")
    update = await client.data()
    assert (update["type"], update["old_record"], update["record"]["id"]) == (
        "UPDATE",
        {"id": 1},
        2,
    )


async def test_update_that_changes_nothing_is_sent(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await before(server, f"insert into {table}(id) values (1)")
    await client.subscribe(binding(table))
    await server.execute(f"update {table} set name = name")
    assert (await client.data())["type"] == "UPDATE"


async def test_truncate_sends_no_message(server: Sandbox, client: RawClient, table: str) -> None:
    await before(server, f"insert into {table}(id) values (1)")
    await client.subscribe(binding(table))
    await server.execute(f"truncate {table}")
    await server.execute(f"insert into {table}(id) values (2)")
    assert (await client.data())["record"]["id"] == 2


async def test_unchanged_large_value_is_absent_under_default_identity(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await server.execute(f"alter table {table} alter column name set storage external")
    await before(server, f"insert into {table}(id, name) values (1, repeat('y', 20000))")
    await client.subscribe(binding(table))
    await server.execute(f"update {table} set price = 1")
    update = await client.data()
    assert update["record"] == {"id": 1, "price": 1, "state": None}
    assert [column["name"] for column in update["columns"]] == ["id", "name", "price", "state"]
    assert update["errors"] is None


async def test_unchanged_large_value_is_filled_in_under_full_identity(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await server.execute(f"alter table {table} alter column name set storage external")
    await server.execute(f"alter table {table} replica identity full")
    await before(server, f"insert into {table}(id, name) values (1, repeat('y', 20000))")
    await client.subscribe(binding(table))
    await server.execute(f"update {table} set price = 1")
    assert (await client.data())["record"]["name"] == "y" * 20_000


async def test_row_over_a_megabyte_has_short_values_only(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    await server.execute(
        f"insert into {table}(id, name, state) values (1, repeat('x', 1200000), 'TX')"
    )
    insert = await client.data()
    assert insert["errors"] == ["Error 413: Payload Too Large"]
    assert insert["record"] == {"id": 1, "state": "TX"}  # null is absent too
    assert len(insert["columns"]) == 4


async def test_full_identity_counts_the_old_row_as_well(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await server.execute(f"alter table {table} replica identity full")
    await before(server, f"insert into {table}(id, name) values (1, repeat('x', 1200000))")
    await client.subscribe(binding(table))
    await server.execute(f"update {table} set price = 1")
    update = await client.data()
    assert update["errors"] == ["Error 413: Payload Too Large"]
    assert (update["old_record"], update["record"]) == ({"id": 1}, {"id": 1, "price": 1})


async def test_values_have_the_real_servers_format(server: Sandbox, client: RawClient) -> None:
    name = await make(
        server,
        "id bigint primary key, num numeric, num64 numeric(6,4), f8 float8, ch char(5), b boolean,"
        " by bytea, ts timestamp, tstz timestamptz, iv interval, j json, jb jsonb, ia int[],"
        " na numeric[], mny money, ip inet, rng int4range, bitc bit(3),"
        " gen int generated always as (7) stored",
    )
    await client.subscribe(binding(name))
    await server.execute(
        f"insert into {name} values (9007199254740993, 12345678901234567890.123456789012345678,"
        "0.05, 0.1, 'ab', true, '\\xdeadbeef', '2026-01-02 03:04:05.678901',"
        "'2026-01-02 03:04:05.678901+02', '1 day 02:03:04', '{\"a\":  1}', '{\"n\":null}',"
        "'{1,NULL,3}', '{1.50,2}', 12.5, '10.0.0.1/8', '[1,5)', '101')"
    )
    text = await client.text()
    assert (
        '"record":{"b": true, "j": {"a": 1}, "by": "deadbeef", "ch": "a", "f8": 0.1, '
        '"ia": [1, null, 3], "id": 9007199254740993, "ip": "10.0.0.1/8", "iv": "1 day 02:03:04", '
        '"jb": {"n": null}, "na": [1.50, 2], "ts": "2026-01-02T03:04:05.678901", "gen": 7, '
        '"mny": "$12.50", "num": 12345678901234567890.123456789012345678, "rng": "[1,5)", '
        '"bitc": "1", "tstz": "2026-01-02T01:04:05.678901+00:00", "num64": 0.0500}'
    ) in text
    assert '{"name": "ia", "type": "_int4"}' in text
    assert '{"name": "ch", "type": "bpchar"}' in text


async def test_non_finite_numbers_are_null_and_infinite_times_strings(
    server: Sandbox, client: RawClient
) -> None:
    name = await make(
        server, "id int primary key, n numeric, f float8, t timestamptz, d date, s timestamp"
    )
    await client.subscribe(binding(name))
    await server.execute(
        f"insert into {name} values (1, 'NaN', 'Infinity', 'infinity', '0044-03-15 BC','-infinity')"
    )
    assert (await client.data())["record"] == {
        "id": 1,
        "n": None,
        "f": None,
        "t": "infinity",
        "d": "0044-03-15 BC",
        "s": "-infinity",
    }


async def test_added_column_appears_and_dropped_one_disappears(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    await server.execute(f"alter table {table} add column zoning text default 'R1'")
    await server.execute(f"insert into {table}(id) values (1)")
    assert (await client.data())["record"]["zoning"] == "R1"
    await server.execute(f"alter table {table} drop column zoning")
    await server.execute(f"insert into {table}(id) values (2)")
    assert "zoning" not in (await client.data())["record"]


async def test_transaction_is_complete_in_order_with_one_timestamp(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    await server.execute(f"insert into {table}(id) select generate_series(1, 500)")
    changes = [await client.data() for _ in range(500)]
    assert [change["record"]["id"] for change in changes] == list(range(1, 501))
    assert len({change["commit_timestamp"] for change in changes}) == 1


async def test_order_over_two_tables_is_the_order_of_statements(
    server: Sandbox, client: RawClient, table: str
) -> None:
    other = await make(server, "id int primary key, v text")
    await client.subscribe(binding(table), binding(other))
    await server.execute(
        f"do $$ begin insert into {other} values (1); insert into {table}(id) values (1);"
        f" update {other} set v = 'b'; delete from {other}; end $$"
    )
    changes = [await client.data() for _ in range(4)]
    assert [(change["table"], change["type"]) for change in changes] == [
        (other, "INSERT"),
        (table, "INSERT"),
        (other, "UPDATE"),
        (other, "DELETE"),
    ]


async def test_table_without_primary_key_is_error_400(server: Sandbox, client: RawClient) -> None:
    name = await make(server, "v text")
    await client.subscribe(binding(name))
    await server.execute(f"insert into {name} values ('x')")
    assert await client.data() == {
        "columns": [],
        "commit_timestamp": None,
        "errors": ["Error 400: Bad Request, no primary key"],
        "record": {},
        "schema": "public",
        "table": name,
        "type": "INSERT",
    }


async def test_key_without_select_privilege_is_error_401(server: Sandbox) -> None:
    name = await make(server, "id int primary key", grant=False)
    async with RawClient.open(server, server.anon_key) as client:
        await client.subscribe(binding(name))
        await server.execute(f"insert into {name} values (1)")
        text = await client.text()
    assert (
        '{"data":{"columns":[],"commit_timestamp":null,"errors":["Error 401: Unauthorized"],'
        f'"record":{{}},"schema":"public","table":"{name}","type":"INSERT"}}'
    ) in text


async def test_key_without_select_privilege_is_error_401_under_rls(server: Sandbox) -> None:
    name = await make(server, "id int primary key", grant=False)
    await server.execute(f"alter table {name} enable row level security")
    lost = server.realtime.poller.slots_lost
    async with RawClient.open(server) as client:
        await client.subscribe(binding(name))
        await server.execute(f"revoke all on {name} from service_role")
        await server.execute(f"insert into {name} values (1)")
        assert '"errors":["Error 401: Unauthorized"]' in await client.text()
    assert server.realtime.poller.slots_lost == lost


async def test_columns_without_select_privilege_are_omitted(server: Sandbox) -> None:
    name = await make(server, "id int primary key, open text, secret text", grant=False)
    await server.execute(f"grant select (id, open) on {name} to anon")
    async with RawClient.open(server, server.anon_key) as client:
        await client.subscribe(binding(name))
        await server.execute(f"insert into {name} values (1, 'o', 's')")
        change = await client.data()
    assert change["record"] == {"id": 1, "open": "o"}
    assert [column["name"] for column in change["columns"]] == ["id", "open"]


# Row level security.


@pytest.fixture
async def secured(server: Sandbox, table: str) -> str:
    await server.execute(f"alter table {table} enable row level security")
    await server.execute(f"alter table {table} replica identity full")
    await server.execute(f"create policy tx on {table} for select to anon using (state = 'TX')")
    return table


async def test_rows_outside_the_policy_are_not_sent(server: Sandbox, secured: str) -> None:
    async with RawClient.open(server, server.anon_key) as anon:
        await anon.subscribe(binding(secured))
        await server.execute(f"insert into {secured} values (1, 'a', 1, 'CA'), (2, 'b', 1, 'TX')")
        assert (await anon.data())["record"]["id"] == 2


async def test_service_role_receives_every_row(
    server: Sandbox, client: RawClient, secured: str
) -> None:
    await client.subscribe(binding(secured))
    await server.execute(f"insert into {secured} values (1, 'a', 1, 'CA')")
    assert (await client.data())["record"]["id"] == 1


async def test_delete_under_rls_is_sent_to_all_with_the_key_only(
    server: Sandbox, client: RawClient, secured: str
) -> None:
    await before(server, f"insert into {secured} values (1, 'a', 1, 'CA')")
    async with RawClient.open(server, server.anon_key) as anon:
        await anon.subscribe(binding(secured))
        await client.subscribe(binding(secured))
        await server.execute(f"delete from {secured}")
        seen = [await anon.data(), await client.data()]
    assert [change["old_record"] for change in seen] == [{"id": 1}, {"id": 1}]


async def test_update_under_rls_has_the_whole_old_record(
    server: Sandbox, client: RawClient, secured: str
) -> None:
    await before(server, f"insert into {secured} values (1, 'a', 1, 'CA')")
    await client.subscribe(binding(secured))
    await server.execute(f"update {secured} set price = 2")
    assert (await client.data())["old_record"]["price"] == 1


async def test_row_that_leaves_the_policy_is_not_sent(server: Sandbox, secured: str) -> None:
    await before(server, f"insert into {secured} values (1, 'a', 1, 'TX')")
    async with RawClient.open(server, server.anon_key) as anon:
        await anon.subscribe(binding(secured))
        await server.execute(f"update {secured} set state = 'CA'")
        await server.execute(f"delete from {secured}")
        assert (await anon.data())["type"] == "DELETE"


async def test_row_gone_before_the_poll_is_only_deleted(
    server: Sandbox, client: RawClient, secured: str
) -> None:
    await client.subscribe(binding(secured))
    await server.faults.stall()
    await server.execute(f"insert into {secured} values (1, 'a', 1, 'TX')")
    await server.execute(f"delete from {secured}")
    server.faults.resume()
    assert (await client.data())["type"] == "DELETE"


async def test_policies_read_the_claims_of_the_token(server: Sandbox, table: str) -> None:
    await server.execute(f"alter table {table} enable row level security")
    await server.execute(
        f"create policy own on {table} for select to authenticated"
        " using (name = auth.jwt() ->> 'sub')"
    )
    async with RawClient.open(server, server.anon_key) as client:
        await client.subscribe(binding(table), token=keys.user_token("mia"))
        await server.execute(f"insert into {table}(id, name) values (1, 'leo'), (2, 'mia')")
        assert (await client.data())["record"]["id"] == 2


# Filters and several bindings.


@pytest.mark.parametrize(
    ("test", "ids"),
    [
        ("state=eq.TX", [1]),
        ("state=neq.TX", [2, 3]),
        ("state=in.(TX,CA)", [1, 2]),
        ('state=in.("TX","CA")', [1, 2]),
        ("price=gt.10", [3]),
        ("price=gte.10", [2, 3]),
        ("price=lt.10", [1]),
        ("price=lte.10", [1, 2]),
        ("state=eq.TX,price=gt.5", []),
        ("name=like.n%", [1, 2, 3]),
        ("state=not.eq.TX", [2, 3]),
        ("state=is.null", [4]),
    ],
)
async def test_filter_is_evaluated_on_the_new_row(
    server: Sandbox, client: RawClient, table: str, test: str, ids: list[int]
) -> None:
    await client.subscribe(binding(table, filter=test), binding(table, filter="id=eq.99"))
    await server.execute(
        f"insert into {table} values (1, 'n1', 5, 'TX'), (2, 'n2', 10, 'CA'), (3, 'n3', 20, 'NY'),"
        " (4, null, null, null), (99, null, null, 'end')"
    )
    seen = []
    while (change := await client.data())["record"]["id"] != 99:
        seen.append(change["record"]["id"])
    assert [number for number in seen if number in ids] == ids
    assert seen == ids


async def test_row_entering_a_filter_is_an_update_and_leaving_it_is_not_sent(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await before(server, f"insert into {table}(id, state) values (1, 'TX')")
    await client.subscribe(binding(table, filter="state=eq.TX"))
    await server.execute(f"update {table} set state = 'CA'")
    await server.execute(f"update {table} set state = 'TX', price = 3")
    change = await client.data()
    assert (change["type"], change["record"]["price"]) == ("UPDATE", 3)


@pytest.mark.parametrize(("identity", "sent"), [("default", False), ("full", True)])
async def test_filtered_delete_needs_full_identity(
    server: Sandbox, client: RawClient, table: str, identity: str, *, sent: bool
) -> None:
    await server.execute(f"alter table {table} replica identity {identity}")
    await before(server, f"insert into {table}(id, state) values (1, 'TX')")
    await client.subscribe(binding(table, filter="state=eq.TX"))
    await server.execute(f"delete from {table}")
    await server.execute(f"insert into {table}(id, state) values (2, 'TX')")
    assert (await client.data())["type"] == ("DELETE" if sent else "INSERT")


async def test_frame_has_the_ids_of_all_matching_bindings_of_its_channel(
    server: Sandbox, client: RawClient, table: str
) -> None:
    insert, update, _, every = await client.subscribe(
        binding(table, "INSERT"),
        binding(table, "UPDATE", filter="state=eq.TX"),
        binding(table, "DELETE"),
        binding(table),
    )
    await server.execute(f"insert into {table}(id, state) values (1, 'TX')")
    await server.execute(f"update {table} set price = 1")
    frames = [await client.frame() for _ in range(2)]
    assert [frame["payload"]["ids"] for frame in frames] == [[every, insert], [every, update]]


@pytest.mark.parametrize("event", ["FOO", "insert"])
async def test_unknown_event_means_every_event(
    server: Sandbox, client: RawClient, table: str, event: str
) -> None:
    await client.subscribe(binding(table, event))
    await server.execute(f"insert into {table}(id) values (1)")
    assert (await client.data())["type"] == "INSERT"


@pytest.mark.parametrize(
    "wide",
    [{"schema": "*", "table": "*"}, {"schema": "public"}, {"schema": "public", "table": "*"}],
    ids=["schema star", "schema only", "table star"],
)
async def test_wildcards_cover_the_publication(
    server: Sandbox, client: RawClient, table: str, wide: dict[str, str]
) -> None:
    await client.subscribe({"event": "*", **wide})
    await server.execute(f"insert into {table}(id) values (1)")
    assert (await client.data())["table"] == table


async def test_selected_columns_come_with_the_key(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table, select=["price"]))
    await server.execute(f"insert into {table} values (1, 'a', 100, 'TX')")
    change = await client.data()
    assert change["record"] == {"id": 1, "price": 100}
    assert [column["name"] for column in change["columns"]] == ["id", "price"]


# Limits and loss.


async def test_rate_limit_drops_changes_without_a_message(
    server: Sandbox, client: RawClient, table: str
) -> None:
    await client.subscribe(binding(table))
    dropped = server.realtime.poller.rate_limited
    server.faults.rate_limit(1 / 60)
    await server.execute(f"insert into {table}(id) values (1)")
    await client.data()
    await server.execute(f"insert into {table}(id) values (2)")
    async with asyncio.timeout(20):
        while server.realtime.poller.rate_limited == dropped:
            await client.heartbeat()
    server.faults.rate_limit(None)
    await server.execute(f"insert into {table}(id) values (3)")
    assert (await client.data())["record"]["id"] == 3


async def test_changed_publication_causes_another_system_ok(
    server: Sandbox, client: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.realtime, "publication_check_seconds", 0.05)
    await client.subscribe(binding(table))
    frames = asyncio.ensure_future(client.frame())
    while not frames.done():
        # The time of the server's first check is unknown: change the publication until the server
        # has seen two states.
        await make(server, "id int primary key")
        await asyncio.wait([frames], timeout=0.1)
    assert frames.result() == OK
