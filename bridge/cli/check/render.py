"""Findings as text and as JSON. No I/O."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cli.check.finding import Finding


def text(finding: Finding) -> str:
    """Return one line, and a second one with the fix if there is one."""
    line = f"{finding.level:<4}  {finding.subject}: {finding.text}"
    return f"{line}\n      fix: {finding.fix}" if finding.fix else line


def document(findings: Sequence[Finding], exit_code: int) -> str:
    """Return the findings as one line of JSON."""
    return json.dumps(
        {"exit_code": exit_code, "findings": [asdict(finding) for finding in findings]},
        ensure_ascii=False,
    )
