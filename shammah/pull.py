"""`shammah models pull`: fetch and prepare a model in the foreground, and tell how far it is."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import TextIO

from shammah.config import Local
from shammah.environment import Environment, loader_environment
from shammah.errors import HubError, UsageError
from shammah.models import automatic
from shammah.models.process import LoaderProcess
from shammah.models.protocol import Downloading, Failed, Fetch, Listed, Prepared, Preparing, Reply
from shammah.models.wanted import Automatic, Folder, Source, licence_remark, named
from shammah.paths import Home
from shammah.screen.safe_text import safe_text
from shammah.screen.states import duration
from shammah.screen.terminal import knows_lines_only


def pull(name: str, local: Local, reserve_gb: float, environment: Environment) -> None:
    """Fetch and prepare the model that the name stands for.

    Raises:
        ModelError, UsageError: the name stands for nothing that can be fetched, or for what cannot run here.
        HubError: it cannot be had; what was fetched is kept.
    """
    source = _source(name, local, reserve_gb, Home(environment.home))
    automatic.check_before_fetch(source, local.context, reserve_gb)
    show = Progress(source.name, sys.stderr or io.StringIO(), environment.term)  # None where it is closed.
    if remark := licence_remark(name):
        show.line(remark)
    _follow(_request(source, local, environment), Home(environment.home), show)


def _source(name: str, local: Local, reserve_gb: float, home: Home) -> Source:
    match named(name, local.file if name == local.repo else ""):
        case Source() as source:
            return source
        case Automatic() as target:
            return automatic.take(target, home.models, local.context, reserve_gb, may_fetch=True)
        case Folder():
            raise UsageError(f"{name} is a folder that can be loaded as it is", hint=f"shammah models use {name}")
        case None:
            raise UsageError("The starter is inside the package", hint="shammah models use starter answers with it")


def _request(source: Source, local: Local, environment: Environment) -> Fetch:
    return Fetch(
        source.repo, str(Home(environment.home).models), source.file, endpoint=environment.hf_endpoint,
        offline=environment.hf_offline, keep_download=local.keep_download, threads=local.threads,
    )  # fmt: skip


def _follow(request: Fetch, home: Home, show: Progress) -> None:
    """Have it carried out, and show what the loader tells."""
    loader = LoaderProcess(request, loader_environment(), home.logs / "loader.log")
    try:
        for reply in loader.replies():
            show(reply)
    except KeyboardInterrupt:
        show.line("Stopped. What was fetched is kept; the same command goes on from there.")
        raise
    finally:
        loader.kill()


class Progress:
    """Tells how far a loader is: on a terminal in one line that changes, else a line now and then."""

    def __init__(self, name: str, out: TextIO, term: str) -> None:
        self._name = name
        self._out = out
        self._changing = out.isatty() and not knows_lines_only(term, out)
        self._told = 0.0
        self._open = False

    def __call__(self, reply: Reply) -> None:
        """Tell it; raises HubError where it says that the model cannot be had."""
        match reply:
            case Listed():
                self._list(reply)
            case Downloading():
                self._change(_transfer(reply))
            case Preparing(step=step, share=share):
                self._change(f"{step} {share:.0%}")
            case Prepared(notes=notes):
                self.line(f"{self._name} is ready to use: shammah models use NAME, or /model NAME in the chat.")
                for note in notes:
                    self.line(note)
            case Failed():
                self.line("")
                raise HubError(reply.message, hint=reply.hint, retryable=reply.retryable)

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._open:
            self._write("\n")
            self._open = False
        if text:
            self._write(safe_text(text) + "\n")

    def _list(self, reply: Listed) -> None:
        total = sum(file.size for file in reply.files)
        self.line(f"{reply.repo} at {reply.commit[:12]}, {len(reply.files)} files, {total / 1e6:,.1f} MB:")
        for file in reply.files:
            self.line(f"  {file.size:>14,}  {file.digest[:16]}  {file.path}")

    def _change(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told < (0.1 if self._changing else 10.0):
            return
        self._told = now
        self._write(f"\r\x1b[2K{safe_text(text)}" if self._changing else f"{safe_text(text)}\n")
        self._open = self._changing

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # Nobody looks any more; the model is fetched all the same.
            self._out.write(text)
            self._out.flush()


def _transfer(reply: Downloading) -> str:
    text = f"{reply.done / 1e6:,.1f} of {reply.total / 1e6:,.1f} MB"
    if reply.watching:
        return f"{text}, fetched by another chat"
    if reply.rate <= 0:
        return text
    return f"{text}, {reply.rate / 1e6:.1f} MB/s, {duration((reply.total - reply.done) / reply.rate)} left"
