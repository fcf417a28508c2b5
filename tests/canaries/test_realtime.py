"""Private names of `realtime` that bridge/source/realtime uses.

A failure names the part that changed; bridge/README.md, "Private names", lists its uses.
"""

from __future__ import annotations

import inspect

import pytest
from realtime import AsyncRealtimeClient
from realtime._async import client as module
from realtime._async.channel import AsyncRealtimeChannel
from websockets.asyncio.connection import Connection

from bridge.source.realtime.rejected_frames import LIBRARY_LOGGER, MESSAGE_PREFIX

CHANGED = '`realtime` changed a name listed in bridge/README.md, "Private names": '


def client() -> AsyncRealtimeClient:
    return AsyncRealtimeClient("ws://127.0.0.1:9/realtime/v1", "key", auto_reconnect=False)


@pytest.mark.parametrize("name", ["_ws_connection", "_listen_task", "_heartbeat_task"])
def test_client_has_its_connection_and_tasks_as_attributes(name: str) -> None:
    assert getattr(client(), name, "missing") is None, CHANGED + f"client.{name}"


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("connect", "self._ws_connection = ws"),
        ("_on_connect", "self._listen_task = asyncio.create_task(self._listen())"),
        ("_on_connect", "self._heartbeat_task = asyncio.create_task(self._heartbeat())"),
    ],
)
def test_client_sets_its_connection_and_tasks_on_connect(method: str, part: str) -> None:
    source = inspect.getsource(getattr(AsyncRealtimeClient, method))
    assert part in source, CHANGED + f"client.{method}(): {part}"


def test_connection_is_a_websockets_connection_with_its_transport() -> None:
    assert "self.transport = transport" in inspect.getsource(Connection.connection_made), (
        CHANGED + "client._ws_connection.transport"
    )


def test_rejected_frames_are_logged_by_the_clients_logger() -> None:
    assert module.__name__ == LIBRARY_LOGGER, CHANGED + "the logger's name"
    assert module.logger.name == LIBRARY_LOGGER, CHANGED + "the logger's name"


def test_rejected_frame_is_logged_with_the_known_message() -> None:
    source = inspect.getsource(AsyncRealtimeClient._listen)
    assert f'logger.error(f"{MESSAGE_PREFIX} {{msg!r}}' in source, (
        CHANGED + "the message of a rejected frame"
    )


@pytest.mark.parametrize("method", ["on_postgres_changes", "on_system", "subscribe"])
def test_channel_has_the_documented_methods(method: str) -> None:
    assert hasattr(AsyncRealtimeChannel, method), CHANGED + f"channel.{method}"
