"""Fixtures shared by several kinds of tests, and the profile of the property tests.

One event loop serves the whole session, tests and fixtures alike (`asyncio_default_*_loop_scope` in
pyproject.toml), so that a server started by a module's fixture can answer that module's tests. A
test that needs an event loop of its own is marked `@pytest.mark.asyncio(loop_scope="function")`.

Property tests draw new examples in every run. `BRIDGE_TEST_EXAMPLES=20` multiplies their number;
the summary of a run prints its seed; `BRIDGE_TEST_SEED=...` or `--hypothesis-seed=...` repeats it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from tests.support import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox
    from bridge.sandbox.redis import RedisServer

examples.load_profile()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed before hypothesis reads the option; test processes get the same one."""
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = examples.seed()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the web server first: as the last file, their long ones would run alone."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/web/"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    seed = config.getoption("hypothesis_seed")
    terminalreporter.write_line(f"property tests: --hypothesis-seed={seed}")


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """Open a sandbox with the seed rows and shortened delays of Realtime, one per module.

    It starts in half a second. A test that changes rows read by other tests, or that leaves a fault
    active, cleans up afterwards; `supabase` ends REST faults.
    """
    from bridge.sandbox import Sandbox

    async with Sandbox.open(pace=0.05) as running:
        yield running


@pytest.fixture(scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    """Start a Redis server that stores nothing; each test uses names of its own."""
    from bridge.sandbox.redis import RedisServer

    async with RedisServer() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


@pytest.fixture
async def supabase(sandbox: Sandbox, http: httpx.AsyncClient) -> AsyncIterator[AsyncClient]:
    """Return the official client with the service key and no retries; end REST faults after."""
    yield await acreate_client(sandbox.supabase_url, sandbox.supabase_key, options(http))
    sandbox.rest_faults.heal()


def options(http: httpx.AsyncClient) -> AsyncClientOptions:
    """Return client options for a server: no session, no retries, the HTTP client `http`."""
    return AsyncClientOptions(
        auto_refresh_token=False,
        persist_session=False,
        postgrest_client_retry=False,
        httpx_client=http,
    )
