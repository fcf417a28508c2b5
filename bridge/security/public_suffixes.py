"""Public suffixes: domains below which anyone can register a name, such as `co.uk` and
`github.io`. The list is Mozilla's, in the release of `publicsuffixlist` that is installed; nothing
is fetched.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from publicsuffixlist import PublicSuffixList


def public_suffix(host: str) -> tuple[int, bool]:
    """Return the number of labels of a host's public suffix, and whether a company offers it
    (`vercel.app`) and not a registry.
    """
    everything, registries = _lists()
    suffix, registry = everything.publicsuffix(host), registries.publicsuffix(host)
    return len(suffix.split(".")), suffix != registry


@cache
def _lists() -> tuple[Any, Any]:
    # On first use: they take 0.1 s each, and only patterns need them.
    return PublicSuffixList(), PublicSuffixList(only_icann=True)
