"""`shammah` and `python -m shammah`."""

from __future__ import annotations

import sys

from shammah.exit_status import INTERRUPTED


def main() -> int:
    """Run the program; returns its exit status."""
    try:
        from shammah.cli import run  # Here, since Ctrl-C may come during the imports too.

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
