"""Who is asked: what the questions need of a screen, and asking one until it is understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from shammah.setup.offer import Offers
from shammah.setup.questions import Choice, NotUnderstoodError, Question

T = TypeVar("T")


class StoppedError(Exception):
    """The person ended the questions, by Ctrl-C or Ctrl-D; nothing counts."""


class Person(Protocol):
    """A person at a screen; every method raises `StoppedError` where they end the questions."""

    def say(self, text: str) -> None:
        """Tell something."""
        ...

    def show(self, offers: Offers, default: Choice) -> None:
        """Show what there is to choose from."""
        ...

    def ask(self, prompt: str) -> str:
        """What is typed after these words."""
        ...

    def ask_hidden(self, prompt: str) -> str:
        """The same without an echo, and kept nowhere."""
        ...

    def wait(self, words: str, work: Callable[[], T]) -> T:
        """The result of something that takes a while; its errors are raised here."""
        ...


def asked(person: Person, question: Question[T]) -> T:
    """The answer to a question, asked again until it is understood."""
    person.say(question.about)
    while text := person.ask(f"{question.prompt} [{question.shown}]: ").strip():
        try:
            return question.understand(text)
        except NotUnderstoodError as error:
            person.say(str(error))
    return question.default
