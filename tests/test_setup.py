"""The set-up: what is offered on which machine, how answers are understood, what they change, and what stays."""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from shammah.cloud.key import Key, find
from shammah.config import Config, load, set_values
from shammah.environment import Environment
from shammah.errors import ConfigError
from shammah.models import catalog
from shammah.models.machine import Machine
from shammah.paths import Home
from shammah.setup import questions
from shammah.setup.claude import Consent
from shammah.setup.interview import Answers, Interview
from shammah.setup.offer import Offers, offers
from shammah.setup.person import StoppedError
from shammah.setup.questions import Choice, NotUnderstoodError
from shammah.setup.write import changes, save
from tests.servers.claude import KEY, Claude

T = TypeVar("T")

LAPTOP = Machine(16 * 10**9, 12 * 10**9, 8, frozenset({"avx2"}), 100 * 10**9, 40e9)
"""Has room for 7B, and is fast enough for 3B."""
TYPED_KEY = "sk-ant-canary-of-the-set-up"


@dataclass
class Scripted:
    """A person who gives these answers, one after another, and then stops."""

    answers: deque[str]
    said: list[str] = field(default_factory=list)
    shown: list[Offers] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, offers: Offers, default: Choice) -> None:  # noqa: ARG002
        self.shown.append(offers)

    def ask(self, prompt: str) -> str:
        self.said.append(prompt)
        if not self.answers:
            raise StoppedError
        return self.answers.popleft()

    def ask_hidden(self, prompt: str) -> str:
        return self.ask(prompt)

    def wait(self, words: str, work: Callable[[], T]) -> T:
        self.said.append(words)
        return work()

    @property
    def text(self) -> str:
        return "\n".join(self.said)


def interview(home: Home, *answers: str, machine: Machine = LAPTOP, **environment: str) -> tuple[Answers, Scripted]:
    """Ask a person with these answers; `environment` as fields of `Environment`."""
    person, now = Scripted(deque(answers)), load(home.config)
    given = replace(Environment(home.folder), **environment)  # type: ignore[arg-type]  # texts for texts
    asked = Interview(person, home, given, now, not home.config.exists(), lambda _folder: machine)
    return asked.ask(), person


def kept(home: Home, answers: Answers) -> str:
    """The text of config.toml after the answers were saved."""
    save(answers, load(home.config), home.folder, lambda changed: set_values(home.config, changed))
    return home.config.read_text()


# What is offered


def test_every_size_is_offered_with_its_needs_and_a_verdict() -> None:
    found = offers(LAPTOP, 4096, 1.0).of_variant("instruct")
    rows = {offer.model.size: offer.row for offer in found}
    assert tuple(rows) == catalog.SIZES
    assert rows["0.5b"][1] == "483 MB"
    assert rows["0.5b"][-1] == "fits"
    assert rows["3b"][-1].endswith("research only")
    assert rows["14b"][-1] == "lacks memory"
    assert all(row[4].endswith(" s") for row in rows.values())


def test_what_auto_takes_is_the_default_and_the_starter_where_nothing_fits() -> None:
    assert offers(LAPTOP, 4096, 1.0).automatic["instruct"] == "1.5b"
    assert offers(replace(LAPTOP, memory_available=10**9), 4096, 1.0).automatic["instruct"] == "starter"


def test_a_model_on_this_disk_is_told_as_here() -> None:
    small = catalog.find("0.5b")
    offer = offers(LAPTOP, 4096, 1.0, {small.repo}).find("0.5b", "instruct")
    assert offer is not None
    assert offer.row[1] == "is here"


# How an answer is understood


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("0.5b", Choice("0.5b")),
        ("1.5B", Choice("1.5b")),
        ("1.5b coder", Choice("1.5b", "coder")),
        ("3b c", Choice("3b", "coder")),
        ("Coder 7b", Choice("7b", "coder")),
        ("coder", Choice("1.5b", "coder")),
        ("starter", Choice("starter")),
        ("none", Choice("starter")),
        ("auto", Choice("auto")),
        ("auto coder", Choice("auto", "coder")),
        ("owner/name", Choice(repo="owner/name")),
    ],
)
def test_a_model_is_understood_as_people_type_it(typed: str, meant: Choice) -> None:
    assert questions.model(typed, Choice("1.5b")) == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("7", "did you mean 7b?"),
        ("1,5", "did you mean 1.5b?"),
        ("14 b", "did you mean 14b?"),
        ("big", "type one of 0.5b, 1.5b"),
        ("yes please", "type one of 0.5b, 1.5b"),
        ("x" * 500, "type one of 0.5b, 1.5b"),
        ("~nobody/else/", "type a size"),
    ],
)
def test_a_model_that_is_none_gets_one_sentence(typed: str, said: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        questions.model(typed, Choice("1.5b"))
    assert said.lower() in str(caught.value).lower()
    assert len(str(caught.value)) < 300


def test_a_folder_with_a_model_can_be_named(tmp_path: Path, starter: Path) -> None:
    assert questions.model(str(starter), Choice()) == Choice(repo=str(starter))
    with pytest.raises(NotUnderstoodError, match="There is no model in"):
        questions.model(str(tmp_path), Choice())


@pytest.mark.parametrize(("typed", "meant"), [("y", True), ("YES", True), ("n", False), ("No", False)])
def test_yes_and_no_are_understood(typed: str, meant: bool) -> None:
    assert questions.yes(typed) is meant


@pytest.mark.parametrize("typed", ["yes please", "7", "maybe", "1,5"])
def test_what_is_neither_yes_nor_no_gets_one_sentence(typed: str) -> None:
    with pytest.raises(NotUnderstoodError, match="type yes or no"):
        questions.yes(typed)


def test_n_is_neither_now_nor_later() -> None:
    with pytest.raises(NotUnderstoodError, match="type now or later"):
        questions.when("n")


# The questions


def test_enter_alone_takes_what_auto_would_and_leaves_claude_off(home: Home) -> None:
    answers, person = interview(home, "", "", "", "")
    assert kept(home, answers) == '[local]\nsize = "1.5b"\nfetch = true\n\n[cloud]\nallowed = false\n'
    assert "1.2 GB come from huggingface.co" in person.text


def test_there_are_at_most_four_questions_and_a_check(home: Home) -> None:
    _, person = interview(home, "7b", "later", "yes", TYPED_KEY, "no")
    assert [text for text in person.said if text.endswith(": ")] == [
        "Model [1.5b]: ",
        "Now or later [later]: ",
        "Yes or no [no]: ",
        "Key: ",
        "Yes or no [yes]: ",
    ]


def test_an_answer_that_is_not_understood_is_asked_again(home: Home) -> None:
    answers, person = interview(home, "big", "7", "0.5b", "soon", "later", "yes please", "no", "")
    assert (answers.choice, answers.fetch, answers.consent.allowed) == (Choice("0.5b"), False, False)
    assert person.text.count("There is no size") == 2


@pytest.mark.parametrize("after", range(5))
def test_who_stops_has_changed_nothing(home: Home, after: int) -> None:
    with pytest.raises(StoppedError):
        interview(home, *["0.5b", "now", "yes", TYPED_KEY][:after])
    assert not home.config.exists()
    assert not (home.folder / "credentials.toml").exists()


def test_a_model_that_does_not_fit_is_told_of_and_not_fetched_by_default(home: Home) -> None:
    answers, person = interview(home, "14b", "", "", "")
    assert "Qwen2.5-14B-Instruct needs about" in person.text
    assert answers.fetch is False


def test_a_licence_that_is_not_free_is_told_before_the_download(home: Home) -> None:
    _, person = interview(home, "3b", "later", "no", "")
    assert person.text.index("is for research only") < person.text.index("Now or later")


def test_the_starter_and_a_model_that_is_here_need_no_download(home: Home, starter: Path) -> None:
    assert interview(home, "starter", "", "")[0].fetch is None
    assert interview(home, str(starter), "", "")[0].fetch is None


def test_offline_nothing_is_offered_to_be_fetched(home: Home) -> None:
    answers, person = interview(home, "0.5b", "", "", hf_offline=True)  # type: ignore[arg-type]  # the one that is no text
    assert answers.fetch is None
    assert "HF_HUB_OFFLINE is set" in person.text


def test_a_consent_without_a_key_is_none(home: Home) -> None:
    answers, person = interview(home, "starter", "yes", "")
    assert "allowed = false" in kept(home, answers)
    assert "Without a key Claude stays off." in person.text


def test_who_keeps_everything_here_can_give_a_key_for_what_they_send_themselves(home: Home) -> None:
    answers, person = interview(home, "7b", "later", "no", TYPED_KEY, "no")
    assert "allowed = false" in kept(home, answers)
    found = find("", home.folder)
    assert found is not None
    assert found.key == Key(TYPED_KEY)
    assert "if you want to ask it with /cloud" in person.text
    assert sum(text.endswith("]: ") or text == "Key: " for text in person.said) == 5  # With that of the check.


def test_a_no_keeps_the_key_that_is_there_and_asks_for_no_check(home: Home) -> None:
    kept(home, interview(home, "starter", "yes", TYPED_KEY, "no")[0])
    answers, person = interview(home, "", "no", "")
    assert "allowed = false" in kept(home, answers)
    assert find("", home.folder) is not None
    assert "keeps the one in credentials.toml" in person.text
    assert not interview(home, "", "no", anthropic_key=TYPED_KEY)[0].consent.allowed


def test_a_key_goes_to_its_own_file_for_its_owner_only(home: Home) -> None:
    answers, _ = interview(home, "starter", "yes", f'  "{TYPED_KEY}"  ', "no")
    assert TYPED_KEY not in kept(home, answers)
    assert load(home.config).cloud.allowed
    found = find("", home.folder)
    assert found is not None
    assert found.key == Key(TYPED_KEY)
    if os.name != "nt":
        assert stat.S_IMODE((home.folder / "credentials.toml").stat().st_mode) == 0o600


def test_a_key_that_cannot_be_one_is_asked_again(home: Home) -> None:
    answers, person = interview(home, "starter", "yes", "my key is secret", TYPED_KEY, "no")
    assert answers.consent.key == Key(TYPED_KEY)
    assert "holds a blank" in person.text
    assert "my key is secret" not in person.text


def test_a_key_in_the_environment_is_named_and_not_asked(home: Home) -> None:
    answers, person = interview(home, "starter", "yes", "", anthropic_key=TYPED_KEY)
    assert answers.consent.allowed
    assert answers.consent.key is None
    assert "ANTHROPIC_API_KEY is used" in person.text
    assert "Key: " not in person.said


def test_enter_keeps_the_key_that_is_there(home: Home) -> None:
    kept(home, interview(home, "starter", "yes", TYPED_KEY, "no")[0])
    answers, person = interview(home, "", "", "", "")
    assert answers.consent.allowed
    assert answers.consent.key is None
    assert "keeps the one in credentials.toml" in person.text


def test_a_wrong_key_can_be_typed_again_and_a_right_one_is_said_to_work(home: Home) -> None:
    with Claude() as claude:
        answers, person = interview(home, "starter", "yes", TYPED_KEY, "yes", KEY, anthropic_base_url=claude.url)
        assert answers.consent.key == Key(KEY)
        assert person.said[-1] == "The key works."
        assert "Type it again" in person.text
        assert not claude.questions


def test_a_wrong_key_can_be_passed_over(home: Home) -> None:
    with Claude() as claude:
        answers, _ = interview(home, "starter", "yes", TYPED_KEY, "yes", "", anthropic_base_url=claude.url)
    assert not answers.consent.allowed
    assert answers.consent.key is None


def test_a_wrong_key_in_the_environment_is_told_with_what_to_do(home: Home) -> None:
    with Claude() as claude:
        where = {"anthropic_key": TYPED_KEY, "anthropic_base_url": claude.url}
        answers, person = interview(home, "starter", "yes", "yes", **where)
    assert person.said[-1].endswith("Put another key into ANTHROPIC_API_KEY or unset it, and start again.")
    assert answers.consent.key is None


def test_a_key_that_cannot_be_checked_is_kept(home: Home) -> None:
    with Claude() as claude:
        nobody = claude.url
    answers, person = interview(home, "starter", "yes", TYPED_KEY, "yes", anthropic_base_url=nobody)
    assert answers.consent.key == Key(TYPED_KEY)
    assert "The key is kept, unchecked." in person.text


def test_without_a_yes_the_key_is_sent_nowhere(home: Home) -> None:
    with Claude() as claude:
        interview(home, "starter", "yes", TYPED_KEY, "no", anthropic_base_url=claude.url)
        assert not claude.connections


# What is kept

OWN = """# My settings
[local]
size = "3b"   # a good one
threads = 2

[chat]
system = "Be brief."  # please
"""


def test_a_second_set_up_offers_what_is_set_and_keeps_the_rest(home: Home) -> None:
    home.folder.mkdir()
    home.config.write_text(OWN)
    answers, person = interview(home, "", "later", "", "")
    assert "Model [3b]: " in person.said
    assert answers.choice is None
    assert kept(home, answers) == OWN.replace("threads = 2\n", "threads = 2\nfetch = false\n") + (
        "\n[cloud]\nallowed = false\n"
    )


def test_another_size_takes_the_place_of_a_repository(home: Home) -> None:
    home.folder.mkdir()
    home.config.write_text('[local]\nrepo = "owner/name"  # mine\n')
    assert load(home.config).local.repo == "owner/name"
    answers, person = interview(home, "1.5b coder", "later", "", "")
    assert "Model [owner/name]: " in person.said
    assert "Later means when you run: shammah models pull 1.5b coder" in person.text
    local = (kept(home, answers), load(home.config).local)[1]
    assert (local.repo, local.size, local.variant) == ("", "1.5b", "coder")
    assert "# mine" in home.config.read_text()


def test_auto_is_offered_with_what_it_takes_now(home: Home) -> None:
    home.folder.mkdir()
    home.config.write_text('[local]\nsize = "auto"\n')
    answers, person = interview(home, "", "", "", "")
    assert "Model [auto, 1.5b now]: " in person.said
    assert answers.choice is None


def test_only_what_was_answered_is_changed() -> None:
    answers = Answers(Choice("0.5b"), None, Consent(False))
    assert changes(answers, Config()) == {"local.size": "0.5b", "cloud.allowed": False}


def test_settings_that_cannot_be_saved_leave_everything_as_it_was(home: Home) -> None:
    home.folder.mkdir()
    home.config.write_text(OWN)
    answers, _ = interview(home, "0.5b", "now", "", "")
    home.config.write_text("[local\n")
    with pytest.raises(ConfigError):
        save(answers, Config(), home.folder, lambda changed: set_values(home.config, changed))
    assert home.config.read_text() == "[local\n"


def test_the_machine_is_measured_once_and_remembered(home: Home) -> None:
    home.models.mkdir(parents=True)
    (home.models / "machine.json").write_text(json.dumps({"bytes_per_s": 123e9}))
    person = Scripted(deque(["starter", "", ""]))
    Interview(person, home, Environment(home.folder), Config(), first=True).ask()
    assert person.shown[0].machine.bandwidth == 123e9
