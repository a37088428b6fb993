"""`python -m shammah.worker`: requests on standard input, replies on standard output, one JSON line each."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

# Before any runtime is imported: they report home otherwise, and disabling it later is too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from shammah.local.protocol import Reply, Request, Stop, decode, encode
from shammah.pipes import private_stdin, private_stdout


def main() -> int:
    """Serve until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The chat process decides what Ctrl-C means.
    replies = private_stdout()
    inbox = Inbox()
    threading.Thread(target=_listen, args=(private_stdin(), inbox), daemon=True).start()

    def send(reply: Reply) -> None:
        try:
            replies.write(encode(reply))
            replies.flush()
        except BrokenPipeError:
            os._exit(0)  # The parent is gone.

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


def _listen(requests: BinaryIO, inbox: Inbox) -> None:
    with contextlib.suppress(ValueError):  # A torn line: the parent died while it wrote.
        for line in requests:
            inbox.put(decode(line))
    os._exit(0)  # The parent is gone; the main thread may be deep in a model run.


if __name__ == "__main__":
    sys.exit(main())
