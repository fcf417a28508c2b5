"""Everything that can be set."""

from bridge.settings.whole import Settings, explain, load

__all__ = ["Settings", "explain", "load"]
