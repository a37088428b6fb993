"""What every server here does: it serves on loopback, with TLS or without, in threads of its own, until it is left."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


class Server(ThreadingHTTPServer):
    """Listens at a port of its own; handlers find what they serve for in `owner`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what many tests are about."""


class Loopback:
    """Serves from `with` on; `over` is set when it is left, so that no handler waits any longer."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], certificate: Path | None) -> None:
        self.over = threading.Event()
        self._server = Server(self, handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
