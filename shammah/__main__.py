"""`shammah` and `python -m shammah`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the program; returns its exit status."""
    from shammah.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
