"""What the chat asks of the worker, until the worker gets to it."""

from __future__ import annotations

import queue

from shammah.local.protocol import Request, Stop


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
