"""What these tests need may be missing on somebody's machine, and never where all is checked."""

from __future__ import annotations

import pytest

from tests.browser.conftest import lacking


@pytest.mark.parametrize("ci", ["", "0", "false"])
def test_what_is_missing_is_a_reason_to_skip(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        lacking("browser tests need Chromium: apt-get install chromium")


@pytest.mark.parametrize("ci", ["true", "1"])
def test_with_ci_set_it_is_a_failure(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.fail.Exception, match=r"apt-get install chromium\. With CI set"):
        lacking("browser tests need Chromium: apt-get install chromium")
