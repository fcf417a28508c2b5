"""Ports for servers that are started: nothing else takes them before the process listens."""

from __future__ import annotations

import random
import socket

import pytest

from bridge.sandbox import ports
from bridge.sandbox.ports import BELOW_THE_EPHEMERAL, free_port


def test_free_port_is_not_one_of_outgoing_connections() -> None:
    assert 1024 < free_port() < 32_768  # where the range of Linux begins; others begin above it


def test_free_ports_do_not_follow_the_seed_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for _ in range(2):
        monkeypatch.setattr(ports, "_given", set[int]())
        random.seed(0)
        drawn.append([free_port() for _ in range(5)])
    assert drawn[0] != drawn[1]


def test_free_port_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    monkeypatch.setattr(ports, "_given", {*BELOW_THE_EPHEMERAL} - {first})
    monkeypatch.setattr(ports._random, "sample", lambda *_: [*BELOW_THE_EPHEMERAL])
    assert free_port() == first
    with pytest.raises(RuntimeError, match="expected a free port"):
        free_port()


def test_free_port_is_not_one_that_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_port(), free_port()
    monkeypatch.setattr(ports, "_given", set[int]())
    monkeypatch.setattr(ports._random, "sample", lambda *_: [taken, free])
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() == free
