"""Everything that can be set."""

from bridge.settings.settings import Settings, explain, load

__all__ = ["Settings", "explain", "load"]
