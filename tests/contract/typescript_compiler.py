"""`tsc` as the checked-in types are compiled with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.acceptance import node

JS = Path(__file__).parent / "js"


def complaints(source: Path, project: Path) -> str:
    """What the compiler says of a file, strictly; nothing if it is fine. `project` is an empty
    directory, for the compiler's settings.
    """
    js = node.installed(JS)
    settings = project / "tsconfig.json"
    settings.write_text(
        json.dumps({"extends": str(js / "tsconfig.json"), "files": [str(source)]}),
        encoding="utf-8",
    )
    ran = subprocess.run(
        [node.BINARY, js / "node_modules" / "typescript" / "bin" / "tsc", "--project", settings],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr
