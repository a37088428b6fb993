"""What Tab offers: commands, settings, conversations and paths, from the command table and the declarations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from shammah.config import settings
from shammah.models.names import SETTINGS
from shammah.screen.commands import COMMANDS, Completes

Words = Callable[[], Iterable[str]]
_AT_PATH = re.compile(r'(?<!\S)@(?:"([^"\n]*)|([^"\s]\S*)?)$')


class ChatCompleter(Completer):
    """Completes the line before the cursor; `conversations` gives the ids of past ones."""

    def __init__(self, conversations: Words) -> None:
        self._words: Mapping[Completes, Words] = {
            "setting": lambda: [setting.key for setting in settings()],
            "conversation": conversations,
            "model": lambda: SETTINGS,
            "command": lambda: [name for command in COMMANDS for name in command.names],
            "engine": lambda: ["local", "cloud"],
            "form": lambda: ["md", "json"],
        }
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Candidates for what stands before the cursor."""
        text = document.text_before_cursor
        if named := _AT_PATH.search(text):
            return self._complete_named(named, complete_event)
        if text.startswith("!"):
            last = text.rsplit(maxsplit=1)[-1] if not text[-1].isspace() else ""
            return self._complete_path(last, complete_event)
        if not text.startswith("/"):
            return []
        name, space, argument = text.partition(" ")
        if not space:
            return _starting(name, (known for command in COMMANDS for known in command.names if known[0] == "/"))
        return self._complete_argument(name, argument, complete_event)

    def _complete_argument(self, name: str, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        kind: Completes = next((command.completes for command in COMMANDS if name in command.names), "")
        if kind == "path":
            return self._complete_path(argument, event)
        if kind == "form":
            return [*_starting(argument, self._words[kind]()), *self._complete_path(argument, event)]
        if kind == "setting" and " " in argument:
            key, _, value = argument.partition(" ")
            return _starting(value, _values(key))
        if kind in self._words:
            return _starting(argument, self._words[kind]())
        return []

    def _complete_named(self, named: re.Match[str], event: CompleteEvent) -> Iterator[Completion]:
        """Paths behind an @, in quotes where a blank would end them."""
        start = named[1] or named[2] or ""
        for found in self._complete_path(start, event):
            path = start[: len(start) + found.start_position] + found.text
            if " " in path:
                closed = "" if Path(path).expanduser().is_dir() else '"'
                yield Completion(f'@"{path}{closed}', -len(named[0]), found.display)
            else:
                yield found

    def _complete_path(self, start: str, event: CompleteEvent) -> Iterable[Completion]:
        return self._paths.get_completions(Document(start), event)


def _values(key: str) -> Iterable[str]:
    """What a setting can be set to, where that is a few words."""
    found = next((setting for setting in settings() if setting.key == key), None)
    if found is None:
        return ()
    return ("true", "false") if found.kind is bool else found.choices


def _starting(start: str, words: Iterable[str]) -> Iterable[Completion]:
    return [Completion(word, start_position=-len(start)) for word in words if word.startswith(start)]
