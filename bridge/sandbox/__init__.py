"""A miniature Supabase for development and tests; needs neither Docker nor an account.

A real PostgreSQL with the project's migrations and seed rows, PostgREST's reads and Realtime's
websocket on one loopback port, with fault injection. Not for production. Needs the `sandbox` extra.
"""

from bridge.sandbox.realtime.faults import Faults
from bridge.sandbox.sandbox import Sandbox

__all__ = ["Faults", "Sandbox"]
