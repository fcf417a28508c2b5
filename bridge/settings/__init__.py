"""Settings of one bridge, read from the environment."""

from bridge.settings.settings import Settings, explain, load

__all__ = ["Settings", "explain", "load"]
