# ruff: noqa: INP001 - a script of the image
"""Health check of the image: exit code 0 if the bridge answers on the port that it was given."""

from __future__ import annotations

import os
import sys
import urllib.request

ANY_ADDRESS = ("", "::", "0.0.0.0")  # noqa: S104 - compared


def main() -> int:
    host = os.environ.get("BRIDGE_HOST", "")
    host = "127.0.0.1" if host in ANY_ADDRESS else host
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{os.environ.get('BRIDGE_PORT', '8000')}/livez"
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).close()
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)  # noqa: T201 - shown by `docker inspect`
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
