"""The ports of processes that a test starts: those of the sandbox's servers."""

from __future__ import annotations

from bridge.sandbox.ports import BELOW_THE_EPHEMERAL, free_port

__all__ = ["BELOW_THE_EPHEMERAL", "free_port"]
