"""The way of one question on the screen: may it leave, the answer while it comes, what is told at its end."""

from __future__ import annotations

from shammah.engines import Engines
from shammah.errors import EngineError
from shammah.message import Finish
from shammah.screen import reports
from shammah.screen.answer import cut_short, receipt_line, sent_and_cost, show_answer
from shammah.screen.chosen import Chosen
from shammah.screen.output import Output
from shammah.screen.person import Listener
from shammah.screen.states import device
from shammah.session import Outgoing, Question, Receipt, Session

SEND_IT = "Send it? y sends, n has it answered here, v shows all of it"


class Asking:
    """Asks the session one question after another."""

    def __init__(self, chosen: Chosen, session: Session, engines: Engines, out: Output, keyboard: Listener) -> None:
        self._chosen = chosen
        self._session = session
        self._engines = engines
        self._out = out
        self._keyboard = keyboard

    def ask(self, question: Question) -> None:
        """Ask a question and show the answer."""
        self._chosen.take_up()
        self._engines.models.start()
        self._engines.cloud.want(self._chosen.config.cloud, self._chosen.mode)
        try:
            finish = self._answer(question)
        except EngineError as error:
            self._out.error(error)
            self._tell_sent()
            self.tell_news("")
            return
        self._tell_end(finish)
        self._engines.warm(self._chosen.facts(), self._session.messages())

    def _answer(self, question: Question) -> Finish | None:
        """Show the answer while it comes; returns its end, None where the person stopped it."""
        config = self._chosen.config
        events = self._session.ask(question, self._chosen.facts, reports.options(config), self._permit)
        answer = self._out.answer(config.chat.markdown)
        with self._keyboard.listening():
            return show_answer(
                events,
                write=answer.write,
                end=answer.end,
                note=self._out.note,
                waiting=self._out.waiting(),
                stop_pressed=self._keyboard.stop_pressed,
            )

    def _permit(self, outgoing: Outgoing) -> bool:
        """Show what would leave this machine, and let the person decide; called while an answer is waited for.

        Raises:
            KeyboardInterrupt: they stop the question.
        """
        self._out.note(reports.outgoing_line(outgoing))
        while True:
            match self._keyboard.choice("ynv", lambda: self._out.note(SEND_IT)):
                case "y":
                    return True
                case "v":
                    self._out.say(reports.outgoing_text(outgoing))
                case _:
                    return False

    # What is told at the end

    def _tell_end(self, finish: Finish | None) -> None:
        receipt = self._session.receipt
        if finish is None:
            kept = "What was said is kept; " if self._session.exchanges[-1].answer else ""
            self._out.note(f"… stopped. {kept}/retry asks again.")
            self._tell_sent()
        elif finish.reason == "failed":
            starter = receipt is not None and receipt.route.engine == "starter"
            again = "/retry asks again" if starter else "/continue goes on from there"
            self._out.error(EngineError(finish.error, hint=f"{finish.hint}. What was said is kept; {again}"))
            self._tell_sent()
        elif receipt is not None:
            self._tell_receipt(receipt, finish)
        self.tell_news(receipt.route.engine if receipt else "")

    def _tell_receipt(self, receipt: Receipt, finish: Finish) -> None:
        """Tell who answered, and what of it is not as the person may expect."""
        route = receipt.route
        if finish.reason == "length":
            self._out.note(cut_short(route.engine))
        if self._chosen.mode == "cloud" and route.engine != "claude":
            self._out.note(f"{route.why}.")  # Not who was asked for: that needs no /why.
        self._out.note(receipt_line(route.engine, receipt.model, device(self._engines[route.engine]), finish))

    def _tell_sent(self) -> None:
        """Tell what has left this machine for an answer that did not come to its end."""
        receipt = self._session.receipt
        if receipt and receipt.finish.spent.sent_bytes:
            self._out.note(" · ".join([receipt.model, *sent_and_cost(receipt.finish.spent)]))

    def tell_news(self, answers: str) -> None:
        """Tell what there is to know of the key, and of Claude where it `answers`, once."""
        for fresh in self._engines.news(reports.options(self._chosen.config), answers):
            self._out.note(fresh.told)
