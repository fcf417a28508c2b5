"""Finds, builds and serves the web app of `deploy/web`.

For `bridge dev --web` and the browser tests. Needs Node.js, and uses only three commands of the
app: `npm ci`, `npm run build` and `npm start`.
"""

from bridge.dev.web.build import WebApp, find_app
from bridge.dev.web.errors import WebAppError
from bridge.dev.web.node import NodeInstallation, find_node
from bridge.dev.web.server import WebServer

__all__ = ["NodeInstallation", "WebApp", "WebAppError", "WebServer", "find_app", "find_node"]
