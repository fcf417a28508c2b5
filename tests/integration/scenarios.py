"""All scenarios, in the order in which they run."""

from __future__ import annotations

from tests.integration.platform_faults import PLATFORM
from tests.integration.stream_faults import STREAM

SCENARIOS = (*STREAM, *PLATFORM)
