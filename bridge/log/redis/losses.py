"""How a stored history can be lost, as the scripts name it."""

from __future__ import annotations

from typing import Final

LOSSES: Final = {
    "gone": "its keys are gone: Redis restarted without persistence, was flushed, or evicted them",
    "stream": "its stream was evicted, deleted or trimmed by another program",
    "rows": "its rows were evicted or changed by another program",
    "back": "it went back to an earlier state: Redis restarted, or a replica took over",
    "unverified": "Redis restarted or a replica took over, and may lack what a bridge that is gone "
    "had read",
    "other": "another history has begun",
}
"""Why a history is lost, for messages."""
