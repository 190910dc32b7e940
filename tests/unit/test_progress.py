"""How far a long command is: passes over a log add up, and without a terminal a line comes now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.cli.progress import Passes, progress_bar

if TYPE_CHECKING:
    import pytest


def test_without_a_terminal_a_line_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(200, line_every_s=0) as seen:
        seen(50, "50 rows")
        seen(200, "200 rows")
    assert capsys.readouterr() == ("", "50 rows, 25 %\n200 rows, 100 %\n")


def test_without_a_total_there_is_no_part_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(None, line_every_s=0) as seen:
        seen(50, "50 rows")
    assert capsys.readouterr().err == "50 rows\n"


def test_what_is_soon_done_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2) as seen:
        seen(1, "one")
        seen(2, "two")
    assert capsys.readouterr() == ("", "")


def test_a_log_that_is_gone_through_twice_is_done_after_both() -> None:
    told: list[tuple[int, str]] = []
    count = Passes(7_000, ("checked", "replayed"), lambda done, words: told.append((done, words)))
    for position in (5_000, 7_000, 5_000, 7_000, 7_010):
        count.reached(position)
    assert told == [
        (5_000, "checked 5,000 of 7,000 events"),
        (7_000, "checked 7,000 of 7,000 events"),
        (12_000, "replayed 5,000 of 7,000 events"),
        (14_000, "replayed 7,000 of 7,000 events"),
        (14_010, "replayed 7,010 of 7,010 events"),
    ]


def test_a_log_of_one_step_is_gone_through_twice_too() -> None:
    told: list[int] = []
    count = Passes(3, ("checked", "replayed"), lambda done, _: told.append(done))
    count.reached(3)
    count.reached(3)
    assert told == [3, 6]
