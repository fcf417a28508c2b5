"""Runs npm in the web app's directory: `python -m bridge.dev.web run test`.

Installs the app's dependencies first if they are missing or outdated. Exits with npm's exit code.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from bridge.dev.web import WebAppError, find_app, find_node


def main(arguments: list[str]) -> int:
    """Run npm with `arguments`. Return its exit code, 1 if app or Node.js are missing."""
    try:
        app, node = find_app(), find_node()
        asyncio.run(app.install(node, print))
    except WebAppError as failed:
        print(failed, file=sys.stderr)  # noqa: T201 - the command's output
        return 1
    return subprocess.run(  # noqa: S603 - the caller's own arguments
        [*node.npm, *arguments], cwd=app.folder, env=node.environment(), check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
