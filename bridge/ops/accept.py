"""`Accept` headers: which media types a client takes, and how gladly. No I/O."""

from __future__ import annotations


def weights(accept: str) -> dict[str, float]:
    """Return the weight of each media type that the header names, in lower case; the highest if it
    names one several times. One with a malformed weight is left out.
    """
    found: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            found[media] = max(found.get(media, 0.0), float(text))
        except ValueError:
            continue
    return found
