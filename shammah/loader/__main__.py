"""`python -m shammah.loader`: one Fetch on standard input, replies on standard output, one JSON line each."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Before any library is imported: they report home otherwise, and disabling it later is too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "0"  # The request tells whether the network may be used.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from shammah import environment
from shammah.errors import HubError, ShammahError
from shammah.models.protocol import Failed, Fetch, Reply, decode, encode
from shammah.pipes import listen, sender


def main() -> int:
    """Carry out one request. The process may be killed at any time; the next one goes on where it was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The chat process decides what Ctrl-C means.
    send = sender(encode)
    requests: queue.SimpleQueue[Fetch] = queue.SimpleQueue()
    listen(decode, requests.put)
    send(_carried_out(requests.get(), send))
    # Threads may still wait for an answer from the network, which nobody wants any more.
    os._exit(0)


def _carried_out(request: Fetch, send: Callable[[Reply], None]) -> Reply:
    from shammah.loader.faults import from_disk  # Late: the listener should hear the parent's end meanwhile.
    from shammah.loader.fetch import bring

    try:
        return bring(request, _token(request), send)
    except HubError as error:
        return Failed(str(error), error.hint, error.retryable)
    except ShammahError as error:
        return Failed(str(error), error.hint)
    except MemoryError:
        return Failed("The memory of this machine was not enough to prepare the model", "Choose a smaller model")
    except OSError as cause:
        told = from_disk(cause, Path(request.models))
        return Failed(str(told), told.hint)
    except Exception as cause:  # The edge of the process: a library's error becomes a reply with its cause.
        return Failed(
            f"The loader failed: {type(cause).__name__}: {cause}", "Try again; shammah doctor shows what works"
        )


def _token(request: Fetch) -> str:
    """The hub's token, only for the hub that the same environment names: the standard one, or HF_ENDPOINT."""
    here = environment.read()
    return here.hf_token if request.endpoint.rstrip("/") == here.hf_endpoint else ""


if __name__ == "__main__":
    sys.exit(main())
