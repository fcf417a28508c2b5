"""An in-memory transport and an owner for `RawWebSocket`."""

from __future__ import annotations

from typing import Any

from bridge.gateway.engineio.raw_websocket import RawWebSocket


class FakeTransport:
    """Records what is written and the names of the methods called."""

    unsent = 7
    """What `get_write_buffer_size` returns."""

    def __init__(self) -> None:
        self.written = b""
        self.calls: list[str] = []
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else None

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")


class RecordingOwner:
    """Records messages and, by their names, the other events of its websocket."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None:
        self.events.append(message)

    def on_pause(self, websocket: RawWebSocket) -> None:
        self.events.append("pause")

    def on_resume(self, websocket: RawWebSocket) -> None:
        self.events.append("resume")

    def on_close(self, websocket: RawWebSocket) -> None:
        assert websocket.unsent == 0
        websocket.write(b"never")
        self.events.append("close")
