"""The opening of the chat: who reads what is typed, the set-up questions, and what the command line brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shammah.errors import ShammahError
from shammah.history.store import Conversation
from shammah.screen.chosen import UNASKED, Chosen
from shammah.session import WHOLLY

if TYPE_CHECKING:
    from shammah.screen.repl import Chat

NOTHING_CHANGED = "Nothing was changed."
STAYS = "what you type stays on this machine"
STARTER_ONLY = (
    " The starter answers, and nothing is fetched in this run; /setup asks again, and so does the next start."
)


def welcome(
    chat: Chat,
    files: Sequence[str],
    earlier: Conversation | None,
    *,
    quiet: bool,
    private: bool = False,
    may_ask: bool = False,
) -> None:
    """A word of welcome, the set-up where it was not answered yet, and what the command line brought.

    `may_ask` tells whether the set-up may ask its questions now.
    """
    if not quiet:
        kept = private or (earlier is not None and earlier.private)
        reads = STAYS if kept else _who_reads(chat.chosen)
        chat.out.note(f"shammah · {reads} · /help shows what there is")
    models = chat.engines.models
    if may_ask and not chat.chosen.settings.path.exists():
        set_up(chat, first=True)
    else:
        chat.chosen.take_up()
        if may_ask and models.hub and chat.chosen.no_fetching == UNASKED and models.absent:
            set_up(chat, first=True)
    if not quiet and models.hub and not chat.chosen.no_fetching and models.absent:
        model = models.state.model if models.state and models.state.model else "A larger model that fits"
        chat.out.note(f"{model} is fetched from {models.hub} in the background; /local prevents it.")
    for name in files:
        chat.attach(name)
    if earlier is not None:
        chat.resume(earlier)
    if private:
        chat.keep_private(WHOLLY)


def set_up(chat: Chat, *, first: bool = False) -> None:
    """Ask the set-up questions, and take the answers up at once; at the `first` run none means no fetching."""
    chosen, models = chat.chosen, chat.engines.models
    try:
        saved = chat.ask_setup(chosen.settings.change)
    except ShammahError as error:
        saved = False
        chat.out.error(error)
    if not saved:
        chat.out.note(NOTHING_CHANGED + (STARTER_ONLY if first else ""))
    if first and not saved:
        chosen.settings.override("local.fetch", False)
    chosen.take_up()
    chat.engines.cloud.want(chosen.config.cloud, chosen.mode)
    if saved:
        reads = STAYS if chat.session.private else _who_reads(chosen)
        chat.out.note(f"{reads[:1].upper()}{reads[1:]}.")
    if not first:
        models.retry()
        models.start()


def _who_reads(chosen: Chosen) -> str:
    """Where what is typed goes, in a few words."""
    if chosen.mode == "cloud":
        return "what you type goes to Claude"
    if chosen.may_leave:
        asked = " if you say yes" if chosen.mode == "ask" else ""
        return f"Claude is asked where the model here cannot answer{asked}"
    return STAYS
