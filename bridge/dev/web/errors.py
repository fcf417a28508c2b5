"""Errors of the web app."""

from __future__ import annotations

from bridge.errors import BridgeError


class WebAppError(BridgeError):
    """Node.js or the web app is missing, the build failed, or the server exited. The message names
    the remedy.
    """
