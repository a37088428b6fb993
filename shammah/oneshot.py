"""One question from the command line: the answer on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from types import FrameType

from shammah.config import Config
from shammah.errors import EngineError
from shammah.exit_status import DONE, INTERRUPTED
from shammah.message import Event, Message, Notice, Options, Piece, Trimmed
from shammah.router import Facts
from shammah.screen.answer import cut_short, left_out, sent_and_cost
from shammah.screen.lines import drop_typed
from shammah.screen.printer import (
    Printer,
    markdown_printer,
    never_failing,
    notice,
    output_told,
    plain_printer,
    screen_width,
)
from shammah.screen.reports import outgoing_line
from shammah.screen.terminal import ENDING
from shammah.session import Outgoing, Question, Receipt, Session

_TYPED_IN_THE_CHAT = {
    "with /new": "without -c",
    "/retry local": "--local",
    "/local": "--local",
    "/cloud": "--cloud",
    "/model": "-m",
    "/setup": "shammah setup",
    "/set": "shammah config set",
}
"""What a hint names for the chat, and what does the same here."""


class OneShot:
    """How one answer is shown: as it comes, or as one JSON object at its end."""

    def __init__(self, config: Config, *, as_json: bool, quiet: bool, verbose: bool, color: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._verbose = verbose
        self._wants_claude = config.routing.mode == "cloud"
        self._said: list[str] = []
        terminal = sys.stdout.isatty() and not as_json
        markdown = terminal and config.chat.markdown
        self._printer: Printer = markdown_printer(sys.stdout, color) if markdown else plain_printer(sys.stdout)

    def run(
        self,
        session: Session,
        question: Question,
        facts: Callable[[Sequence[Message]], Facts],
        options: Options,
        news: Callable[[Options, str], list[Notice]],
    ) -> int:
        """Ask, show, and return the exit status; `news` is asked last, as `Engines.news`.

        Raises:
            EngineError: there is no answer, or only a part of one.
        """
        try:
            self._ask(session, question, facts, options)
            receipt = session.receipt
            if receipt is None:  # Interrupted before the question was taken.
                return INTERRUPTED
            self._end(receipt, session.conversation.id)
            if receipt.finish.reason == "failed":
                raise EngineError(receipt.finish.error, hint=receipt.finish.hint)
        except EngineError as error:
            raise EngineError(str(error), hint=in_a_shell(error.hint)) from error
        finally:
            self._tell_sent(session.receipt)
            for fresh in news(options, session.receipt.route.engine if session.receipt else ""):
                self._show(fresh)
        return INTERRUPTED if receipt.finish.reason == "interrupted" else DONE

    def _ask(
        self, session: Session, question: Question, facts: Callable[[Sequence[Message]], Facts], options: Options
    ) -> None:
        events = session.ask(question, facts, options, self._permit)
        # Closed at every end, also of a broken pipe, so that what was said is in the history before that is closed.
        with suppress(KeyboardInterrupt), closing(events), _interruptible():
            for event in events:
                self._show(event)

    def _show(self, event: Event | Notice) -> None:
        match event:
            case Piece() if self._as_json:
                self._said.append(event.text)
            case Piece():
                with output_told():
                    self._printer.write(event.text)
            case Trimmed():
                self._remark(f"{left_out(event).text}.")
            case Notice():
                self._remark(in_a_shell(event.told))

    def _permit(self, outgoing: Outgoing) -> bool:
        """Ask the person, where there is one at the terminal; nobody there means no."""
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
            self._remark("Mode ask sends nothing without your yes, and no terminal is here to ask on.")
            return False
        drop_typed()
        print(notice(_wrapped(outgoing_line(outgoing)), False), file=never_failing(sys.stderr))
        print("Send it? [y/N] ", end="", file=never_failing(sys.stderr), flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _end(self, receipt: Receipt, conversation: str) -> None:
        if self._as_json:  # The object holds what is told below, too.
            with output_told():
                print(json.dumps(as_object("".join(self._said), receipt, conversation), ensure_ascii=True))
            return
        with output_told():
            self._printer.end()
        if receipt.finish.reason == "length":
            self._remark(cut_short(receipt.route.engine))
        if self._verbose or (self._wants_claude and receipt.route.engine != "claude"):
            self._remark(receipt.route.why)

    def _tell_sent(self, receipt: Receipt | None) -> None:
        """Tell what was sent and what it costs, however the answer ended; with --verbose also that nothing was."""
        if receipt is None or self._as_json:
            return
        spent = receipt.finish.spent
        refused = receipt.finish.reason == "failed" and not spent.cost_usd  # The error tells enough.
        if self._verbose or (spent.sent_bytes and not refused):
            who = "Claude" if spent.sent_bytes and receipt.route.engine != "claude" else receipt.model
            self._remark(" · ".join([who, *sent_and_cost(spent)]))

    def _remark(self, text: str) -> None:
        if not self._quiet and sys.stderr is not None:  # Closed: print would take standard output in its place.
            print(notice(_wrapped(text), False), file=never_failing(sys.stderr))


def _wrapped(text: str) -> str:
    """A remark broken between words on a terminal; one line for everything else that reads it."""
    if not sys.stderr.isatty():
        return text
    return textwrap.fill(text, max(screen_width(sys.stderr), 20), break_long_words=False, break_on_hyphens=False)


def in_a_shell(hint: str) -> str:
    """A hint with what is typed in the chat in the words of the command line.

    >>> in_a_shell("Raise it with /set cloud.max_tokens 9; /local answers here")
    'Raise it with shammah config set cloud.max_tokens 9; --local answers here'
    """
    for typed, here in _TYPED_IN_THE_CHAT.items():
        hint = re.sub(rf"(?<!\S){typed}(?![\w/.-])", here, hint)
    return hint


def as_object(answer: str, receipt: Receipt, conversation: str) -> dict[str, object]:
    """What `--json` prints."""
    finish = receipt.finish
    usage, timing = finish.usage, finish.timing
    return {
        "answer": answer,
        "finish": finish.reason,
        "route": {
            "engine": receipt.route.engine,
            "model": receipt.model,
            "why": receipt.route.why,
            "before": list(receipt.before),
        },
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "timing": {
            "first_token_s": round(timing.first_token_s, 4),
            "total_s": round(timing.total_s, 4),
            "tokens_per_s": round(timing.tokens_per_s, 1),
        },
        "sent_bytes": finish.spent.sent_bytes,
        "cost_usd": finish.spent.cost_usd,
        "estimated": finish.spent.estimated,
        "conversation": conversation,
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a request to end stop the answer as Ctrl-C does, so that what was said is kept."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    found = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    # What is ignored stays so: nohup does that.
    before = {number: signal.signal(number, stop) for number in found if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
