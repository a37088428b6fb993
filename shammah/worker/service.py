"""Carries out requests one after the other with the model that is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from shammah.errors import ModelError, ShammahError
from shammah.local.protocol import (
    Count,
    Counted,
    Cut,
    Delta,
    Done,
    Failed,
    Generate,
    Load,
    Progress,
    Ready,
    Reply,
    Request,
    Warm,
)
from shammah.machine import usable_processors
from shammah.message import Message, room
from shammah.worker.contest import choose, lost_later
from shammah.worker.conversation import fit
from shammah.worker.generation import Decoder
from shammah.worker.inbox import Inbox
from shammah.worker.providers import CPU
from shammah.worker.sampling import Sampler, Sampling, chosen, model_defaults
from shammah.worker.template import ChatTemplate
from shammah.worker.text import Text


class LoadedModel:
    """Everything that answers: decoder, tokenizer, template and the model's own settings."""

    def __init__(self, request: Load) -> None:
        """Load the folder.

        Raises:
            ModelError: a file is missing or cannot be used.
        """
        folder = Path(request.folder)
        if not folder.is_dir():
            raise ModelError(f"There is no model folder {folder}", hint="Choose another model with /model")
        self.defaults, self.stops = model_defaults(folder)
        self.text = Text(folder)
        self.template = ChatTemplate(folder, self.text)
        threads = request.threads or usable_processors()
        choice = choose(folder, request.backend, threads, request.context)
        self.decoder = Decoder(folder, request.context, threads, choice.winner)
        self.why = self.decoder.note or choice.why
        self.request = request


class Service:
    """Serves one chat process."""

    def __init__(self, send: Callable[[Reply], None], inbox: Inbox) -> None:
        self._send = send
        self._inbox = inbox
        self._model: LoadedModel | None = None
        self._lost = False

    def serve(self) -> None:
        """Carry out requests until one leaves no model for the next; the chat starts a new worker then."""
        while not self._lost:
            self.carry_out(self._inbox.get())

    def carry_out(self, request: Request) -> None:
        """Carry one request out; whatever goes wrong becomes a Failed reply."""
        try:
            match request:
                case Load():
                    self._load(request)
                case Generate():
                    self._generate(request)
                case Warm():
                    self._warm(request)
                case Count():
                    self._count(request)
        except ShammahError as error:
            self._send(Failed(request.request, str(error), error.hint))
        except Exception as cause:  # The edge of the process: a library's error becomes a state with its cause.
            self._send(self._failed(request, cause))
            self._lost = self._model is None

    def _load(self, request: Load) -> None:
        started = time.monotonic()
        self._model = None
        self._model = model = LoadedModel(request)
        seconds = time.monotonic() - started
        self._send(Ready(request.request, model.decoder.context, model.decoder.device, seconds, model.why))

    def _failed(self, request: Request, cause: Exception) -> Failed:
        if _short_of_memory(cause) or self._model is None or self._model.decoder.provider == CPU:
            if self._model is not None:
                self._model.decoder.forget()
            return _fatal(request, cause)
        try:
            return Failed(request.request, self._back_to_cpu(cause), "Ask again")
        except Exception as second:  # The CPU may fail as well.
            return _fatal(request, second)

    def _back_to_cpu(self, cause: Exception) -> str:
        """A provider failed in an answer: the CPU takes its place for this model, now and at later starts."""
        assert self._model is not None
        load, provider = self._model.request, self._model.decoder.provider
        threads = load.threads or usable_processors()
        why = lost_later(Path(load.folder), provider, load.backend, threads, cause)
        self._model = None  # First, since two may not fit.
        self._model = LoadedModel(replace(load, backend="cpu"))
        return why

    def _generate(self, request: Generate) -> None:
        model = self._loaded()
        prompt = self._fit(model, request)
        cached = self._read(model, prompt, request.request, lambda: not self._inbox.stopped(request.request))
        if self._inbox.stopped(request.request):
            self._send(Done(request.request, "interrupted", len(prompt), cached))
            return
        sampling = chosen(model.defaults, request.options)
        self._answer(model, request, prompt, cached, sampling)

    def _fit(self, model: LoadedModel, request: Generate) -> list[int]:
        context = model.decoder.context
        kept = room(context, request.options.limit)
        fitted = fit(request.messages, model.template.encode, context, kept)
        if fitted.turns_left_out:
            self._send(Cut(request.request, fitted.turns_left_out, context))
        return fitted.ids

    def _read(self, model: LoadedModel, prompt: Sequence[int], number: int, go_on: Callable[[], bool]) -> int:
        def progress(done: int) -> bool:
            self._send(Progress(number, done, len(prompt)))
            return go_on()

        return model.decoder.read(prompt, progress)

    def _answer(
        self, model: LoadedModel, request: Generate, prompt: list[int], cached: int, sampling: Sampling
    ) -> None:
        number, limit = request.request, request.options.limit
        stream = model.text.stream()
        sampler = Sampler(sampling, request.options.seed, prompt)
        reason, count, told = "stop", 0, 0
        tokens = model.decoder.generate(sampler, model.stops, draft=True, repeatable=_repeatable(sampling, request))
        for token in tokens:
            count += 1
            if piece := stream.add(token):
                self._send(Delta(number, piece, count - told))
                told = count
            if self._inbox.stopped(number) or count >= limit:
                reason = "interrupted" if self._inbox.stopped(number) else "length"
                break
        else:
            reason = "length" if len(prompt) + count > model.decoder.context else "stop"
        tokens.close()
        if rest := stream.rest():
            self._send(Delta(number, rest, count - told))
        self._send(Done(number, reason, len(prompt), cached, count))  # type: ignore[arg-type]

    def _warm(self, request: Warm) -> None:
        """Read what the next prompt will begin with; gives way to any other request."""
        model = self._loaded()
        prompt = warm_prefix(model.template, request.messages)
        if len(prompt) >= model.decoder.context:
            self._send(Done(request.request, "length", len(prompt)))
            return
        cached = self._read(model, prompt, request.request, self._inbox.idle)
        self._send(Done(request.request, "stop", len(prompt), cached))

    def _count(self, request: Count) -> None:
        model = self._loaded()
        prompt = model.template.encode(request.messages)
        self._send(Counted(request.request, len(prompt), model.decoder.held(prompt)))

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ModelError("No model is loaded", hint="Choose one with /model")
        return self._model


def _short_of_memory(cause: Exception) -> bool:
    return isinstance(cause, MemoryError) or "alloc" in str(cause).lower()


def _fatal(request: Request, cause: Exception) -> Failed:
    """The reply to what leaves no model that could answer the next request."""
    if isinstance(cause, ShammahError):
        message, hint = str(cause), cause.hint
    elif _short_of_memory(cause):
        message = "The memory of this machine was not enough for the model"
        hint = "Choose a smaller model with /model, lower local.context, or close other programs"
    else:
        message = f"The model failed: {type(cause).__name__}: {cause}"
        hint = "Ask again; shammah doctor shows what works"
    return Failed(request.request, message, hint, fatal=True)


def _repeatable(sampling: Sampling, request: Generate) -> bool:
    """Whether the same request must give the same answer again."""
    return sampling.temperature == 0 or sampling.top_k == 1 or request.options.seed is not None


def warm_prefix(template: ChatTemplate, messages: Sequence[Message]) -> list[int]:
    """The ids that every continuation of the conversation begins with."""
    return template.encode(messages, answer=False)
