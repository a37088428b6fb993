"""`python -m shammah.worker`: requests on standard input, replies on standard output, one JSON line each."""

from __future__ import annotations

import os
import signal
import sys

# Before any runtime is imported: they report home otherwise, and disabling it later is too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from shammah.local.protocol import decode, encode
from shammah.pipes import listen, sender
from shammah.worker.inbox import Inbox


def main() -> int:
    """Serve until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The chat process decides what Ctrl-C means.
    send = sender(encode)
    inbox = Inbox()
    listen(decode, inbox.put)

    from shammah.worker.service import Service  # Late: the listener should hear the parent's end while runtimes load.

    Service(send, inbox).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
