"""The engine that asks Claude: conversation -> request -> tries -> pieces, with what was sent and spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from shammah.cloud import retry
from shammah.cloud.account import Account, estimated_tokens
from shammah.cloud.compose import compose, ignored
from shammah.cloud.exchange import Broke, Counted, Fault, Over, Patience, Request, Sent, Text, Thought
from shammah.cloud.link import Link
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.engine import TICK, Tally
from shammah.errors import CloudError, CloudTrouble
from shammah.message import Event, Finish, Message, Options, Piece, Reason, Spent, Waiting

TELL_EVERY = 16
"""Tokens of the answer after which its cost is told again."""
LASTING: tuple[CloudTrouble, ...] = ("key", "credit")
"""What the next question meets too; any other answer that breaks off may be asked again at once."""


class ClaudeEngine:
    """Obeys the Engine contract with Claude; `noted` hears of the errors that may count for the next question."""

    name = "claude"

    def __init__(
        self,
        link: Link,
        settings: Settings,
        spending: Spending,
        patience: Patience,
        noted: Callable[[CloudError], None],
    ) -> None:
        self._link = link
        self._settings = settings
        self._spending = spending
        self._patience = patience
        self._noted = noted

    @property
    def model(self) -> str:
        """The model's name."""
        return self._settings.model

    def ignores(self, options: Options) -> list[str]:
        """The options that are set and have no effect on Claude."""
        return ignored(options)

    def reply(self, messages: Sequence[Message], options: Options) -> Generator[Event]:
        """Answer, as the Engine contract says.

        Raises:
            CloudError: before the first piece.
        """
        request = compose(messages, options, self.model, self._settings.max_tokens)
        try:
            account = Account(self._spending, request, self._settings.daily_budget_usd)
            with closing(account):
                yield from _Answer(self._link, request, account, self._patience, self._noted).events()
        except CloudError as error:
            self._noted(error)
            raise error from None


class _Answer:
    """One answer in the making, over as many tries as it takes."""

    def __init__(
        self,
        link: Link,
        request: Request,
        account: Account,
        patience: Patience,
        noted: Callable[[CloudError], None],
    ) -> None:
        self._link = link
        self._request = request
        self._account = account
        self._patience = patience
        self._noted = noted
        self._tally = Tally()
        self._shown = 0
        """Tokens of the pieces, as estimated."""
        self._thinks = False

    def events(self) -> Iterator[Event]:
        for event in self._tries():
            self._tally.see(event)
            yield event

    def _tries(self) -> Iterator[Event]:
        began = time.monotonic()
        tries = 0
        while True:
            fault = yield from self._try()
            if fault is None:
                return
            tries += 1
            if self._tally.begun:
                if fault.error.trouble in LASTING:
                    self._noted(fault.error)
                yield self._finish("failed", fault.error)
                return
            seconds = retry.pause(fault, tries, time.monotonic() - began, self._patience)
            if seconds is None:
                raise fault.error
            yield from _count_down(seconds, str(fault.error))

    def _try(self) -> Generator[Event, None, Fault | None]:
        """One request; returns what went wrong."""
        yield self._still_waiting()
        call = self._link.ask(self._request)
        try:
            while True:
                told = call.next()
                if told is None:
                    yield self._still_waiting()
                    continue
                self._account.take(told)
                if isinstance(told, Over):
                    return (yield from self._over(told.stop_reason))
                if isinstance(told, Broke):
                    return (yield from self._broke(told.fault))
                yield from self._events_of(told)
        finally:
            for told in call.close():
                self._account.take(told)

    def _events_of(self, told: Sent | Counted | Text | Thought) -> Iterator[Event]:
        match told:
            case Sent() | Counted():
                yield self._account.spent()
            case Text(text):
                yield from self._piece(text)
            case Thought():
                self._thinks = True
                yield self._still_waiting()

    def _piece(self, text: str) -> Iterator[Event]:
        tokens = estimated_tokens(text)
        before, self._shown = self._shown, self._shown + tokens
        yield Piece(text, tokens)
        if before // TELL_EVERY != self._shown // TELL_EVERY:
            yield self._account.spent()

    def _over(self, stop_reason: str) -> Generator[Event, None, Fault | None]:
        """The end by the other side's own words; what it refuses to say is a fault."""
        match stop_reason:
            case "refusal":
                hint = "Ask in other words, or type /retry local"
                return Fault(CloudError("Claude declines to answer this", hint=hint, trouble="refused"))
            case "model_context_window_exceeded":
                message = f"The conversation has come to the end of what {self._request.model} can read"
                return Fault(CloudError(message, hint="Begin a new conversation with /new", trouble="too long"))
            case "max_tokens" if not self._tally.begun:
                message = f"Claude thought for {self._request.max_tokens} tokens and had none left to answer"
                hint = "Raise cloud.max_tokens, and generation.max_tokens where it is set; or ask a smaller question"
                return Fault(CloudError(message, hint=hint))
        yield self._finish("length" if stop_reason == "max_tokens" else "stop")
        return None

    def _broke(self, fault: Fault) -> Generator[Event, None, Fault]:
        if self._tally.begun:
            return fault
        self._account.broke(fault)
        if self._account.spent() != Spent():
            yield self._account.spent()
        return fault

    def _finish(self, reason: Reason, error: CloudError | None = None) -> Finish:
        self._tally.see(self._account.spent())
        told = (str(error), error.hint) if error else ("", "")
        finish = self._tally.finish(reason, *told)
        if self._shown < 2 or self._thinks:
            return finish
        # The speed was counted in estimated tokens; now they are known, unless some of them were thoughts.
        scale = max(finish.usage.completion_tokens - 1, 0) / (self._shown - 1)
        timing = replace(finish.timing, tokens_per_s=finish.timing.tokens_per_s * scale)
        return replace(finish, timing=timing)

    def _still_waiting(self) -> Waiting:
        return Waiting("" if self._tally.begun else "asking")


def _count_down(seconds: float, cause: str) -> Iterator[Waiting]:
    """Wait, and tell how much of it has passed."""
    began = time.monotonic()
    total = max(1, math.ceil(seconds))
    while (passed := time.monotonic() - began) < seconds:
        yield Waiting("retrying", min(int(passed), total), total, cause)
        time.sleep(min(TICK, max(seconds - passed, 0)))
