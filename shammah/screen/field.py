"""One line to answer in, with the keys of prompt_toolkit; what is typed in it is remembered nowhere."""

from __future__ import annotations

from prompt_toolkit import PromptSession
from prompt_toolkit.cursor_shapes import CursorShape
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.input import Input
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import ColorDepth

from shammah.setup.person import StoppedError


class PromptField:
    """Reads lines from this keyboard; Ctrl-C and Ctrl-D stop."""

    def __init__(self, keyboard: Input) -> None:
        self._keyboard = keyboard
        self._session: PromptSession[str] | None = None

    def read(self, prompt: str, *, hidden: bool = False) -> str:
        """What is typed after the prompt; with `hidden` neither the text nor its length is shown."""
        # A session for each line, so that neither Up nor Ctrl-Y brings a key back in the next one.
        session: PromptSession[str] = PromptSession(
            input=self._keyboard,
            history=DummyHistory(),
            input_processors=[_Unseen()] if hidden else [],
            enable_suspend=True,
            color_depth=ColorDepth.DEPTH_1_BIT,
            cursor=CursorShape._NEVER_CHANGE,
            reserve_space_for_menu=0,
        )
        session.app.renderer.cpr_not_supported_callback = None
        self._session = session
        try:
            return session.prompt(prompt)
        except (KeyboardInterrupt, EOFError):
            raise StoppedError from None
        finally:
            self._session = None

    def repaint(self) -> None:
        """Paint the line anew, after the process was stopped and goes on."""
        if self._session is not None:
            self._session.app.renderer.reset()
            self._session.app.invalidate()


class _Unseen(Processor):
    """Shows nothing, with the cursor where it was."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:  # noqa: ARG002
        return Transformation([], source_to_display=lambda _place: 0, display_to_source=lambda _place: 0)
