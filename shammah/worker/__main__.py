"""`python -m shammah.worker`: requests on standard input, replies on standard output, one JSON line each."""

from __future__ import annotations

import os
import queue
import signal
import sys

# Before any runtime is imported: they report home otherwise, and disabling it later is too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from shammah.local.protocol import Request, Stop, decode, encode
from shammah.pipes import listen, sender


def main() -> int:
    """Serve until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The chat process decides what Ctrl-C means.
    send = sender(encode)
    inbox = Inbox()
    listen(decode, inbox.put)

    from shammah.worker.service import Service  # Late: the listener should hear the parent's end while runtimes load.

    Service(send, inbox).serve()
    return 0


class Inbox:
    """Requests in their order, and which of them were stopped."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Request] = queue.Queue()
        self._stopped = -1

    def put(self, request: Request) -> None:
        """Take a request in; a Stop acts at once."""
        if isinstance(request, Stop):
            self._stopped = request.request
        else:
            self._waiting.put(request)

    def get(self) -> Request:
        """The next request; waits for it."""
        return self._waiting.get()

    def stopped(self, number: int) -> bool:
        """Whether the request with this number, or a later one, was stopped."""
        return number <= self._stopped

    def idle(self) -> bool:
        """Whether no request is waiting."""
        return self._waiting.empty()


if __name__ == "__main__":
    sys.exit(main())
