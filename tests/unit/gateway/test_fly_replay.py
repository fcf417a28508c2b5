"""Requests that another machine has to serve, behind Fly's proxy."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.gateway.fly_replay import FlyReplay, replay

MACHINES = {"aa": "machine-1", "bb": "machine-2"}


def scope(query: str, *, kind: str = "http", replayed: bool = False) -> dict[str, Any]:
    headers = [(b"fly-replay-src", b"instance=machine-2")] if replayed else []
    return {"type": kind, "query_string": query.encode(), "headers": headers}


def here() -> FlyReplay:
    return FlyReplay("aa", "machine-1", MACHINES.get)


def test_poll_of_another_machines_session_is_replayed_to_it() -> None:
    query = "EIO=4&transport=polling&sid=bb.R4nd0m"
    assert here().target(scope(query)) == "instance=machine-2"
    assert here().target(scope(query, kind="websocket")) == "instance=machine-2"


@pytest.mark.parametrize(
    "query",
    [
        "EIO=4&transport=polling",
        "EIO=4&transport=polling&sid=aa.R4nd0m",
        "EIO=4&transport=polling&sid=R4nd0m",
        "EIO=4&transport=polling&sid=",
        "EIO=4&transport=polling&sid=%ff.x",
    ],
)
def test_request_of_no_other_machine_is_served_here(query: str) -> None:
    assert here().target(scope(query)) is None


def test_request_is_not_pinned_to_a_machine_that_is_gone() -> None:
    assert here().target(scope("EIO=4&transport=polling&sid=cc.R4nd0m")) is None


def test_request_is_replayed_once() -> None:
    assert here().target(scope("transport=polling&sid=bb.R4nd0m", replayed=True)) is None
    assert here().elsewhere(scope("transport=polling", replayed=True)) is None


def test_new_client_of_a_stopping_machine_is_sent_elsewhere() -> None:
    assert here().elsewhere(scope("transport=polling")) == "elsewhere=true"


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_answer_has_the_header_of_the_proxy(kind: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    request = {**scope("sid=bb.x", kind=kind), "extensions": {"websocket.http.response": {}}}
    await replay(request, receive, send, "instance=machine-2")
    assert (b"fly-replay", b"instance=machine-2") in sent[0]["headers"]
    assert sent[-1]["type"].endswith("http.response.body")
