"""Says in one sentence that a Python is too old. Parses on any Python, as old ones must be able to read it."""

import sys


def demand():
    # type: () -> None
    """Leave with an error unless this is Python 3.11 or newer."""
    if sys.version_info < (3, 11):  # noqa: UP036
        version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
        sys.exit(
            "error: shammah needs Python 3.11 or newer, and this is Python " + version + "\n"
            "hint: Start it with a newer one, as in: python3.12 " + sys.argv[0]
        )
