"""Missing programs skip the browser tests, and fail them with `CI` set."""

from __future__ import annotations

import pytest

from tests.browser.conftest import skip_without


@pytest.mark.parametrize("ci", ["", "0", "false"])
def test_missing_program_skips_the_test(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        skip_without("browser tests need Chromium: apt-get install chromium")


@pytest.mark.parametrize("ci", ["true", "1"])
def test_missing_program_fails_the_test_with_ci_set(
    ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.fail.Exception, match=r"apt-get install chromium\. With CI set"):
        skip_without("browser tests need Chromium: apt-get install chromium")
