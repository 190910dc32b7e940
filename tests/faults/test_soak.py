"""The soak: each exercise has its share of the time and its row, whatever the others come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests import soak
from tests.faults.outcome import Exercise, Outcome, more
from tests.service import BOUND_S, ROOT

if TYPE_CHECKING:
    from pathlib import Path


def clean(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    done = Outcome()
    while more(done.rounds, rounds, until):
        done.rounds += 1
        done.acknowledged += 1_000
    return done


def losing(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    return Outcome(rounds=1, acknowledged=10, lost=2, other=("r7 is lost", "r8 is lost"))


def idle(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    return Outcome()


def failing(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    raise RuntimeError("the server did not start")


def test_an_exercise_that_fails_is_a_row_and_stops_no_other() -> None:
    outcomes = soak.soak({"failing": failing, "clean": clean}, minutes=0, rounds=3)
    assert outcomes["failing"].other == ("RuntimeError: the server did not start",)
    assert outcomes["clean"] == Outcome(rounds=1, acknowledged=1_000)  # one at least, also when time is over


def test_time_that_one_leaves_goes_to_those_after_it() -> None:
    shares = []

    def sharing(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
        assert until is not None
        shares.append(until - time.monotonic())
        return Outcome()

    soak.soak({"a": sharing, "b": sharing, "c": sharing}, minutes=1)
    assert [round(share, -1) for share in shares] == [20, 30, 60]


def test_what_takes_long_begins_anew_with_an_empty_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def slow(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
        assert rounds is not None
        assert until is not None
        seen.append((rounds, scratch))
        while time.monotonic() < until:
            pass
        return Outcome(rounds=2, acknowledged=7, gap_longest_s=3.0 / rounds)

    monkeypatch.setattr(soak, "ANEW_S", 0.01)
    outcomes = soak.soak({"slow": slow}, minutes=1, rounds=6)
    assert outcomes["slow"] == Outcome(rounds=6, acknowledged=21, gap_longest_s=1.5)
    assert [left for left, _ in seen] == [6, 4, 2]
    assert len({scratch for _, scratch in seen}) == 3


@pytest.mark.parametrize(("other", "code"), [(clean, 0), (losing, 1), (failing, 1), (idle, 1)])
def test_zeros_where_zeros_belong_are_exit_code_0(
    other: Exercise, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "EXERCISES", {"good": clean, "other": other})
    assert soak.main(["--rounds", "2", "--minutes", "10"]) == code
    assert soak.main(["--only", "good", "--rounds", "2", "--minutes", "10"]) == 0
    said = capsys.readouterr()
    assert "good: 2 rounds, 2,000 acknowledged, nothing wrong" in said.err
    for words in ("lost", "doubled", "longest gap", "2,000"):
        assert words in said.out
    assert ("other: r7 is lost" in said.out) == (other is losing)
    assert ("other: 0 rounds, 0 acknowledged, NOT AS IT MUST BE" in said.err) == (other in {failing, idle})


def test_a_soak_that_is_told_to_end_leaves_nothing_behind(scratch: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--only", "model"]
    told = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=ROOT, env=told, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "python -m tests.model" in process.stderr.readline()  # said once PostgreSQL runs
        assert list(scratch.iterdir()) != []
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=BOUND_S)
        finally:
            process.kill()
    assert process.returncode == 1
    assert list(scratch.iterdir()) == []
