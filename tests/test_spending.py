"""What Claude has cost: counted over all chats, and never past the budget by more than one request."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shammah.cloud.spending import Day, Spending
from shammah.errors import CloudError

ROOT = Path(__file__).parent.parent
TODAY = date.today().isoformat()
posix = pytest.mark.skipif(os.name == "nt", reason="file modes mean little on Windows")
not_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")


@pytest.fixture
def spending(tmp_path: Path) -> Spending:
    return Spending(tmp_path / "home" / "spending.db")


def run(spending: Spending, program: str) -> subprocess.Popen[str]:
    """Another process that has `spending` of the same file."""
    head = "import os, sys\nfrom pathlib import Path\nfrom shammah.cloud.spending import Spending\n"
    opened = f"spending = Spending(Path({str(spending.path)!r}))\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{head}{opened}{program}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


# The sum


def test_a_day_without_a_request_costs_nothing_and_leaves_nothing(spending: Spending) -> None:
    assert spending.today() == Day(date=TODAY)
    assert spending.days(7) == []
    assert not spending.path.parent.exists()


def test_a_request_is_counted_at_its_most_and_then_at_its_cost(spending: Spending) -> None:
    ticket = spending.reserve("claude-haiku-4-5", 0.25, 5.0)
    assert spending.today() == Day(0.0, 1, 1, TODAY, counted_usd=0.25)
    spending.settle(ticket, 0.0625, False)
    assert spending.today() == Day(0.0625, 0, 1, TODAY, counted_usd=0.0625)


def test_a_request_of_which_nothing_left_was_none(spending: Spending) -> None:
    spending.withdraw(spending.reserve("m", 5.0, 5.0))
    assert spending.today() == Day(0.0, 0, 0, TODAY)
    ticket = spending.reserve("m", 5.0, 5.0)
    spending.settle(ticket, 0.5, False)
    spending.withdraw(ticket)
    assert spending.today() == Day(0.5, 0, 1, TODAY, counted_usd=0.5)


def test_a_cost_that_is_not_known_counts_at_its_most_and_is_told_as_unknown(spending: Spending) -> None:
    spending.settle(spending.reserve("claude-opus-5-5", 0.25, 5.0), None, False)
    spending.settle(spending.reserve("claude-haiku-4-5", 0.25, 5.0), 0.125, True)
    assert spending.today() == Day(0.125, 1, 2, TODAY, estimated=1, counted_usd=0.375)


def test_a_request_that_cost_nothing_gives_its_reservation_back(spending: Spending) -> None:
    spending.settle(spending.reserve("m", 5.0, 5.0), 0.0, False)
    assert spending.today() == Day(0.0, 0, 1, TODAY)
    spending.reserve("m", 5.0, 5.0)


def test_only_the_first_settlement_of_a_ticket_counts(spending: Spending) -> None:
    first, second = spending.reserve("m", 1.0, 5.0), spending.reserve("m", 1.0, 5.0)
    for cost in (None, 0.5):
        spending.settle(first, cost, False)
    for cost in (0.25, 0.5, None):
        spending.settle(second, cost, False)
    assert spending.today() == Day(0.25, 1, 2, TODAY, counted_usd=1.25)


@pytest.mark.parametrize(("told", "counted"), [(-5.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_a_cost_that_is_no_amount_never_lowers_the_sum(spending: Spending, told: float, counted: float) -> None:
    spending.settle(spending.reserve("m", 1.0, 5.0), told, False)
    spending.reserve("m", -3.0, 5.0)
    assert spending.today().counted_usd == counted


def test_days_are_listed_the_newest_first(spending: Spending) -> None:
    spending.settle(spending.reserve("m", 1.0, 0), 0.5, False)
    spending.reserve("m", 1.0, 0)
    _alter(spending, "UPDATE requests SET day = '2026-01-05' WHERE ticket = 1")
    _alter(spending, "UPDATE requests SET day = '2026-01-07' WHERE ticket = 2")
    spending.settle(spending.reserve("m", 1.0, 0), 0.25, False)
    assert [(day.date, day.cost_usd, day.unknown) for day in spending.days(7)] == [
        (TODAY, 0.25, 0), ("2026-01-07", 0.0, 1), ("2026-01-05", 0.5, 0),
    ]  # fmt: skip
    assert [day.date for day in spending.days(1)] == [TODAY]
    assert spending.today().requests == 1


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(costs=st.lists(st.floats(0, 10), max_size=6))
def test_the_sum_is_right_to_a_billionth(tmp_path_factory: pytest.TempPathFactory, costs: list[float]) -> None:
    spending = Spending(tmp_path_factory.mktemp("sum") / "spending.db")
    for cost in costs:
        spending.settle(spending.reserve("m", 10.0, 0), cost, False)
    assert spending.today().cost_usd == pytest.approx(sum(costs), abs=1e-9)


# The budget


def test_a_budget_of_less_than_a_cent_is_told_as_it_is(spending: Spending) -> None:
    spending.settle(spending.reserve("m", 0.0002, 0.0001), 0.0002, False)
    with pytest.raises(CloudError, match=r"\$0\.0002 of \$0\.0001"):
        spending.reserve("m", 1.0, 0.0001)


def test_a_budget_that_is_reached_stops_the_next_request_and_says_what_to_do(spending: Spending) -> None:
    spending.settle(spending.reserve("m", 3.0, 5.0), 2.0, False)
    spending.reserve("m", 3.0, 5.0)
    with pytest.raises(CloudError, match=r"\$5\.00 of \$5\.00, \$3\.00 of it the most") as told:
        spending.reserve("m", 0.01, 5.0)
    assert told.value.trouble == "budget"
    assert "cloud.daily_budget_usd" in told.value.hint
    assert spending.today().requests == 2


def test_a_budget_is_passed_by_one_request_at_most(spending: Spending) -> None:
    spending.settle(spending.reserve("m", 1.0, 1.0), 0.99, False)
    spending.settle(spending.reserve("m", 1.0, 1.0), 0.9, False)
    with pytest.raises(CloudError):
        spending.reserve("m", 0.0, 1.0)


def test_a_budget_of_nothing_is_none(spending: Spending) -> None:
    for _ in range(3):
        spending.reserve("m", 1000.0, 0.0)


def test_a_raised_budget_counts_from_the_next_request(spending: Spending) -> None:
    spending.reserve("m", 1.0, 1.0)
    with pytest.raises(CloudError):
        spending.reserve("m", 1.0, 1.0)
    assert spending.reserve("m", 1.0, 1.5)


def test_yesterdays_spending_leaves_todays_budget_whole(spending: Spending) -> None:
    spending.reserve("m", 5.0, 5.0)
    _alter(spending, "UPDATE requests SET day = '2026-01-05'")
    assert spending.reserve("m", 5.0, 5.0)


# Several programs


def test_a_program_that_was_killed_leaves_its_reservation_counted(spending: Spending) -> None:
    with run(spending, "spending.reserve('m', 4.0, 5.0)\nos.kill(os.getpid(), 9)") as killed:
        killed.wait()
    assert spending.today() == Day(0.0, 1, 1, TODAY, counted_usd=4.0)


def test_many_programs_at_once_never_pass_the_budget_by_more_than_one_request(spending: Spending) -> None:
    program = """
from shammah.errors import CloudError
taken = 0
try:
    while True:
        ticket = spending.reserve("m", 0.25, 5.0)
        taken += 1
        if taken % 2:
            spending.settle(ticket, 0.25, False)
except CloudError as error:
    print(taken, error.trouble)
"""
    chats = [run(spending, program) for _ in range(6)]
    told = [chat.communicate()[0].split() for chat in chats]
    assert {trouble for _, trouble in told} == {"budget"}
    assert sum(int(taken) for taken, _ in told) == 20
    assert spending.today().counted_usd == 5.0


def test_tickets_of_many_threads_and_programs_are_their_own(spending: Spending) -> None:
    program = "print(*[spending.reserve('m', 0.01, 0) for _ in range(15)])"
    chats = [run(spending, program) for _ in range(4)]
    tickets = [int(ticket) for chat in chats for ticket in chat.communicate()[0].split()]
    assert len(set(tickets)) == 60


# The file


@posix
def test_the_file_is_its_owners_alone(spending: Spending) -> None:
    before = os.umask(0)
    try:
        spending.reserve("m", 1.0, 0)
    finally:
        os.umask(before)
    assert spending.path.stat().st_mode & 0o777 == 0o600
    assert spending.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_is_told_and_stops_what_cannot_be_counted(spending: Spending) -> None:
    spending.path.parent.mkdir()
    spending.path.write_bytes(b"not a database\n" * 1000)
    for attempt in (lambda: spending.reserve("m", 1.0, 5.0), spending.today, lambda: spending.days(7)):
        with pytest.raises(CloudError, match=r"spending\.db") as told:
            attempt()
        assert "ove it away" in told.value.hint
    spending.settle(1, 0.5, False)
    assert spending.path.read_bytes() == b"not a database\n" * 1000


@pytest.mark.parametrize(
    ("statement", "what"),
    [("CREATE TABLE other (a)", "another program"), ("PRAGMA user_version = 9", "a newer shammah")],
)
def test_a_foreign_or_newer_file_is_left_as_it_is(spending: Spending, statement: str, what: str) -> None:
    if "newer" in what:
        spending.reserve("m", 1.0, 0)
    spending.path.parent.mkdir(exist_ok=True)
    _alter(spending, statement)
    before = spending.path.read_bytes()
    for attempt in (lambda: spending.reserve("m", 1.0, 0), spending.today):
        with pytest.raises(CloudError, match=what) as told:
            attempt()
        assert told.value.hint
    assert spending.path.read_bytes() == before


def test_a_folder_in_its_place_is_told(spending: Spending) -> None:
    spending.path.mkdir(parents=True)
    with pytest.raises(CloudError, match="cannot be recorded"):
        spending.reserve("m", 1.0, 0)


@not_root
def test_a_folder_that_may_not_be_written_is_told(spending: Spending) -> None:
    spending.path.parent.mkdir(mode=0o500)
    with pytest.raises(CloudError, match="Permission denied"):
        spending.reserve("m", 1.0, 0)


def test_a_file_that_a_killed_program_left_empty_is_gone_on_with(spending: Spending) -> None:
    spending.path.parent.mkdir()
    spending.path.touch()
    assert spending.today() == Day(date=TODAY)
    assert spending.reserve("m", 1.0, 5.0)


# The trial, in its short form


def test_the_trial_keeps_its_promise() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "trial_budget.py"), "--rounds", "2", "--programs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def _alter(spending: Spending, statement: str) -> None:
    database = sqlite3.connect(spending.path, isolation_level=None)
    database.execute(statement)
    database.close()
