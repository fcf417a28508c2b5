"""Every change of a Supabase table, live over Socket.IO, per region."""

from __future__ import annotations

__version__ = "0.1.0"
