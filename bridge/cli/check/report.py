"""Collects findings, with secrets redacted, and passes each on as soon as it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.cli.check.finding import Finding, Level
from bridge.ops.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Report:
    """The findings of one run."""

    def __init__(self, secrets: Iterable[str], show: Callable[[Finding], None]) -> None:
        self._redact = Redactor(secrets).text
        self._show = show
        self.findings: list[Finding] = []

    def add(self, *findings: Finding) -> bool:
        """Return whether none of `findings` is a failure. Equal warnings and failures, of two
        tables, are shown once.
        """
        for finding in findings:
            shown = replace(finding, text=self._redact(finding.text), fix=self._redact(finding.fix))
            if finding.level is Level.OK or shown not in self.findings:
                self.findings.append(shown)
                self._show(shown)
        return all(finding.level is not Level.FAIL for finding in findings)
