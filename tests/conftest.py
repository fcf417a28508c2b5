"""Fixtures that more than one kind of test uses.

One event loop serves the whole session, tests and fixtures alike (`asyncio_default_*_loop_scope` in
pyproject.toml), so that a server started by a module's fixture can answer that module's tests. A
test that needs a loop of its own says `@pytest.mark.asyncio(loop_scope="function")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from supabase import AsyncClient, AsyncClientOptions, acreate_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with the seed rows and a hurried Realtime, new for each module (half a second) and
    shared by its tests.

    Tests that change rows that others read, or that leave faults behind, clean up after themselves;
    REST faults are healed by `supabase`.
    """
    from bridge.sandbox import Sandbox

    async with Sandbox.open(pace=0.05) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


@pytest.fixture
async def supabase(sandbox: Sandbox, http: httpx.AsyncClient) -> AsyncIterator[AsyncClient]:
    """The official client with the service key, without its retries; heals REST faults after."""
    yield await acreate_client(sandbox.supabase_url, sandbox.supabase_key, options(http))
    sandbox.rest_faults.heal()


def options(http: httpx.AsyncClient) -> AsyncClientOptions:
    """Client options for a server side: no session, no retries, the caller's own HTTP client."""
    return AsyncClientOptions(
        auto_refresh_token=False,
        persist_session=False,
        postgrest_client_retry=False,
        httpx_client=http,
    )
