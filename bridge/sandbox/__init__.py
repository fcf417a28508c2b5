"""A miniature Supabase for development and tests, without Docker and without an account.

A real PostgreSQL, the project's own migrations and seed rows, PostgREST's reads and Realtime's
websocket, on one loopback port. It can be told to misbehave. It is never a production server.
Needs the `sandbox` extra.
"""

from bridge.sandbox.realtime.faults import Faults
from bridge.sandbox.sandbox import Sandbox

__all__ = ["Faults", "Sandbox"]
