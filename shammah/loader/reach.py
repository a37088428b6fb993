"""`python -m shammah.loader.reach`: whether the hub answers, asked with the certificates and proxies of a download.

Task     one JSON object on standard input: `endpoint`
Reply    a line on standard output, the mark of a trial and a JSON object: `hub`, a sentence
"""

from __future__ import annotations

import json
import sys

import httpx2

from shammah.loader.faults import from_network
from shammah.local.trial import MARK
from shammah.network import host_of


def main() -> int:
    """Carry out the one task on standard input."""
    endpoint = str(json.loads(sys.stdin.buffer.readline())["endpoint"])
    sys.stdout.buffer.write(MARK + json.dumps({"hub": reach(endpoint)}).encode("ascii") + b"\n")
    return 0


def reach(endpoint: str) -> str:
    """Whether a hub answers, with any status, and else what to do."""
    try:
        httpx2.head(endpoint, timeout=5.0, follow_redirects=True)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as cause:
        trouble = from_network(cause, host_of(endpoint))
        return f"{trouble}. {trouble.hint}"
    return f"{endpoint} answers"


if __name__ == "__main__":
    sys.exit(main())
