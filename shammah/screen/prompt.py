"""The input line: editing, completion, history, the bottom line, and what was typed ahead."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.cursor_shapes import CursorShape
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input import Input
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from shammah.errors import UsageError
from shammah.screen.editor import USUAL, edited
from shammah.screen.input_history import InputHistory
from shammah.screen.keys import key_bindings
from shammah.screen.safe_text import safe_text

SIGN = "› "
HINT_FOR = 2.0
"""Seconds that a hint stays in the bottom line."""
LONG = 400
"""Characters from which a text is worth reading before it is sent."""
_REDRAW_EVERY = 0.5
"""Seconds between two looks at the state while nobody types."""


class Prompt:
    """Reads what a person types. The first look at the screen is cheap: nothing here waits for a model."""

    def __init__(
        self,
        *,
        keyboard: Input,
        completer: Completer,
        history: Path | None,
        bottom_line: Callable[[int], str],
        next_mode: Callable[[], str],
        color: bool,
        editor: str,
        after_first_paint: Callable[[], None],
        while_resting: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`while_resting` is called once with a long text that lies in the line unchanged, not sent yet."""
        self._bottom_line = bottom_line
        self._hint = ("", 0.0)
        self.history = InputHistory(history)
        self._after_first_paint: Callable[[], None] | None = after_first_paint
        self._while_resting = while_resting
        self._lying = ("", False)
        self._session: PromptSession[str] = PromptSession(
            input=keyboard,
            message=SIGN if color else "> ",
            multiline=True,
            prompt_continuation="  ",
            history=self.history,
            enable_history_search=False,
            completer=completer,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_in_thread=True,
            bottom_toolbar=self._toolbar,
            refresh_interval=_REDRAW_EVERY,
            key_bindings=key_bindings(next_mode, self.hint),
            enable_suspend=True,
            enable_open_in_editor=True,
            style=Style([("bottom-toolbar", "noreverse dim"), ("bottom-toolbar.text", "noreverse dim")]),
            color_depth=None if color else ColorDepth.DEPTH_1_BIT,
            cursor=CursorShape._NEVER_CHANGE,
            reserve_space_for_menu=0,
        )
        self._session.app.after_render += self._painted
        # Its own knows no editor of Windows, and says nothing where it can run none.
        self._session.default_buffer.open_in_editor = self._open_in_editor  # type: ignore[method-assign]
        self._editors = [editor] if editor else USUAL
        # A terminal far away answers late where its cursor is; there is nothing to warn of, and it is taken then too.
        self._session.app.renderer.cpr_not_supported_callback = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def read(self, default: str = "", *, vi: bool = False, in_editor: bool = False) -> str:
        """The next input, possibly of several lines; with `in_editor`, $EDITOR opens on it first.

        Raises:
            EOFError: the person leaves.
        """
        self._session.editing_mode = EditingMode.VI if vi else EditingMode.EMACS
        while True:
            try:
                return self._session.prompt(default=default, pre_run=partial(self._begin, in_editor))
            except KeyboardInterrupt:
                # asyncio gives its signal handler back in two steps; a Ctrl-C between them comes here, with a line that
                # was just sent. It is offered again: neither the line nor the chat is lost.
                default, in_editor = self._session.default_buffer.text, False

    def _begin(self, in_editor: bool) -> None:
        self._loop = asyncio.get_running_loop()
        if in_editor:
            self._open_in_editor()

    def _open_in_editor(self, validate_and_handle: bool = False) -> asyncio.Task[None]:
        """Let the person's editor open on the line; `validate_and_handle`, in the words of the library, to send it."""
        return self._session.app.create_background_task(self._edit(send=validate_and_handle))

    async def _edit(self, *, send: bool) -> None:
        buffer = self._session.default_buffer
        try:
            text = await run_in_terminal(partial(edited, buffer.text, self._editors), in_executor=True)
        except UsageError as error:
            self.hint(f"{error}. {error.hint}")
            return
        if text is not None:
            buffer.document = Document(text)
            if send:
                buffer.validate_and_handle()

    def hint(self, text: str) -> None:
        """Show a word in the bottom line for a moment."""
        self._hint = (text, time.monotonic() + HINT_FOR)
        self.redraw()

    def redraw(self) -> None:
        """Paint again soon; may be called from any thread, and at any time."""
        # Not `invalidate` itself from there: it fails, or has no effect from then on, where the prompt ends meanwhile.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the line was sent.
                self._loop.call_soon_threadsafe(self._session.app.invalidate)

    def repaint(self) -> None:
        """Paint everything anew, after the process was stopped and goes on."""
        self._session.app.renderer.reset()
        self._session.app.invalidate()

    def _toolbar(self) -> str:
        text, until = self._hint
        if text and time.monotonic() < until:
            return f" {text}"
        # Models are named by folders and the hub: text from outside.
        return safe_text(self._bottom_line(self._session.app.output.get_size().columns))

    def _painted(self, _app: object) -> None:
        if self._after_first_paint is not None:
            action, self._after_first_paint = self._after_first_paint, None
            action()
        self._look_at_rest(self._session.default_buffer.text)

    def _look_at_rest(self, text: str) -> None:
        """Painted at least every half second: a text seen twice rests."""
        before, told = self._lying
        if text != before:
            self._lying = (text, False)
        elif len(text) >= LONG and not told:
            self._lying = (text, True)
            self._while_resting(text)
