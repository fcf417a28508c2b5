"""`bridge check`: checks the settings against the project, one finding per check, without a write.

A check whose premise has failed is left out: each fault is reported once.
"""

from bridge.cli.check.runner import check

__all__ = ["check"]
