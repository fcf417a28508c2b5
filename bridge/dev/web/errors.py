"""What goes wrong with the web app."""

from __future__ import annotations

from bridge.errors import BridgeError


class WebAppError(BridgeError):
    """The web app can't be had: Node.js or the app is missing, it can't be built, or it ended. The
    message says what to do.
    """
