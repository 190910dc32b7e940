"""The service's log: a record a line, with ids and without anything personal or secret, and never a flood."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from api.cli.logs import KINDS_MAX, SAME_MAX, SAME_S, Lines, Pace, json_lines
from api.log_lines import fields, tell_booked, tell_refused
from ledger.refusals import (
    AlreadyApplied,
    Fault,
    ManagerOffline,
    NotFound,
    PermissionDenied,
    Refusal,
    Unauthorized,
    ValidationError,
)
from tests.make import deposited, group_defined

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = f"fl_{'0a' * 8}_{'Secret' * 8}abc"


def record(message: str, *args: object, error: BaseException | None = None, **named: object) -> Any:
    """Give a record as the service makes it."""
    told = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("fundledger.test", logging.WARNING, __file__, 1, message, args, told)
    made.__dict__ |= fields(**named)
    return made


def raised(make: Callable[[], Exception], cause: Exception | None = None) -> Exception:
    """Give an error with the place where it was raised."""
    try:
        raise make() from cause
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error


class TestALineOfJson:
    def line(self, made: logging.LogRecord, *, words: bool = False) -> dict[str, Any]:
        text = json_lines(words=words).format(made)
        assert "\n" not in text
        line: dict[str, Any] = json.loads(text)
        return line

    def test_says_when_where_how_grave_what_and_about_what(self) -> None:
        line = self.line(record("met %s", "it", operation_id="bal_4", away_s=0.5))
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "level": "warning",
            "logger": "fundledger.test",
            "event": "met it",
            "operation_id": "bal_4",
            "away_s": 0.5,
        }

    def test_is_one_line_whatever_stands_in_it(self) -> None:
        text = 'two\nlines "and" \x1b[31m \u202e \ud800'
        assert self.line(record("met %s", text, code=text))["code"] == text

    def test_of_a_bug_tells_the_place_and_not_the_words(self) -> None:
        error = raised(lambda: KeyError("John Smith"), raised(lambda: ValueError("mother's maiden name")))
        stack = self.line(record("a fault", error=error))["exception"]
        assert "test_logs.py" in stack
        assert stack.index("ValueError") < stack.index("which led to") < stack.index("KeyError")
        assert "Smith" not in stack.replace('KeyError("John Smith")', "")
        assert stack.endswith("KeyError")

    def test_of_a_bug_tells_the_words_where_they_are_asked_for(self) -> None:
        error = raised(lambda: KeyError("John" + " Smith"))
        assert "KeyError: 'John Smith'" in self.line(record("a fault", error=error), words=True)["exception"]

    def test_of_postgresql_tells_its_code_and_no_row(self) -> None:
        row = "DETAIL: Failing row contains (1001, " + "Jane Roe)"
        stack = self.line(record("a fault", error=raised(lambda: psycopg.errors.NotNullViolation(row))))
        assert stack["exception"].endswith("psycopg.errors.NotNullViolation (23502)")
        assert "(1001, Jane Roe)" not in json.dumps(stack)

    def test_of_a_group_of_errors_tells_each(self) -> None:
        parts = [raised(lambda: KeyError("a")), raised(lambda: OSError("b"))]
        error = raised(lambda: ExceptionGroup("both", parts))
        stack = self.line(record("a fault", error=error))["exception"]
        assert all(f"{name}\n" in f"{stack}\n" for name in ("KeyError", "OSError", "ExceptionGroup"))
        assert stack.count("Traceback") == 3


@pytest.mark.parametrize("formatter", [json_lines(), Lines()], ids=["json", "lines"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (KEY, f"fl_{'0a' * 8}_***"),
        ("postgresql://me:between-us@db/x", "postgresql://me:***@db/x"),
        ("host=db password=between-us user=me", "host=db password=*** user=me"),
    ],
)
def test_what_is_secret_is_masked(formatter: logging.Formatter, text: str, shown: str) -> None:
    line = formatter.format(record("met %s", text, said=text))
    assert line.count(shown) == 2
    assert "Secret" not in line
    assert "between-us" not in line


def test_a_line_for_people_has_its_fields() -> None:
    assert Lines().format(record("booked", operation_id="op_1")).endswith(": booked operation_id=op_1")


def test_a_field_cannot_begin_a_line_for_people() -> None:
    assert "\n" not in Lines().format(record("refused", code="a\n2026-11-20 09:30:00,000 ERROR all is lost"))


class TestAFlood:
    def test_of_lines_that_say_the_same_a_few_are_written_and_the_others_counted(self) -> None:
        now = [0.0]
        pace = Pace(lambda: now[0])
        written = [pace.filter(record("away: %s", number)) for number in range(10)]
        assert written == [True] * SAME_MAX + [False] * (10 - SAME_MAX)
        now[0] = SAME_S
        later = record("away: %s", 10)
        assert pace.filter(later)
        assert later.fields == {"left_out": 10 - SAME_MAX}
        now[0] = 2 * SAME_S
        assert pace.filter(again := record("away: %s", 11))
        assert again.fields == {}

    @pytest.mark.parametrize("name", ["code", "key_id"])
    def test_what_is_about_something_else_is_not_the_same(self, name: str) -> None:
        pace = Pace(lambda: 0.0)
        assert all(pace.filter(record("refused", error=None, **{name: str(number)})) for number in range(10))

    def test_what_goes_on_as_it_should_is_all_told(self) -> None:
        pace = Pace(lambda: 0.0)
        booked = record("booked", type="deposit")
        booked.levelno = logging.DEBUG
        assert all(pace.filter(booked) for _ in range(10))

    def test_what_was_said_long_ago_is_forgotten(self) -> None:
        now = [0.0]
        pace = Pace(lambda: now[0])
        for number in range(2 * KINDS_MAX):
            now[0] += SAME_S / 100
            pace.filter(record("refused", key_id=str(number)))
        assert len(pace._seen) <= KINDS_MAX + 1

    def test_another_fault_is_not_the_same(self) -> None:
        pace = Pace(lambda: 0.0)
        for error in (KeyError(), ValueError()):
            assert pace.filter(record("a fault", error=error))
            assert [pace.filter(record("a fault", error=error)) for _ in range(5)].count(True) == SAME_MAX - 1


# What is worth a line.


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """Give what reads the lines that were told at the default level."""
    caplog.set_level(logging.INFO, logger="fundledger")
    return lambda: [(made.getMessage(), made.fields) for made in caplog.records]  # type: ignore[attr-defined]


def test_a_change_of_a_group_is_told_with_who_made_it(told: Any) -> None:
    event = group_defined()
    tell_booked([event])
    [(message, named)] = told()
    assert message == "booked"
    assert named["type"] == "group-defined"
    assert named["operation_id"] == f"op_{event.position}"


def test_a_deposit_is_told_at_level_debug_only(told: Any, caplog: pytest.LogCaptureFixture) -> None:
    event = deposited()
    tell_booked([event])
    assert told() == []
    caplog.set_level(logging.DEBUG, logger="fundledger")
    tell_booked([event])
    assert [named["operation_id"] for _, named in told()] == [f"bal_{event.position}"]


SCOPE = {"method": "POST", "path_template": "/balances/deposit"}
CONCERN_PEOPLE = [
    Unauthorized("key_revoked", "gone", key_id="k"),
    PermissionDenied("outside_mask", "not this account", login=1001),
    ValidationError("request_id_reused", "other content"),
    ManagerOffline("database_away", "away"),
    Fault("fault", "a fault"),
]
EVERYDAY = [
    Unauthorized("key_unknown", "nobody knows it"),
    AlreadyApplied("request_applied", "before"),
    ValidationError("not_enough_money", "too much"),
    NotFound("unknown_login", "nobody"),
]


@pytest.mark.parametrize("refusal", CONCERN_PEOPLE, ids=lambda refusal: refusal.code)
def test_a_refusal_that_concerns_people_is_told(told: Any, refusal: Refusal) -> None:
    tell_refused(refusal, SCOPE, status=400, request_id="r1", operator_id="o1")
    [(message, named)] = told()
    assert message == "refused"
    assert (named["code"], named["route"], named["request_id"]) == (refusal.code, "/balances/deposit", "r1")
    assert named["operator_id"] == "o1"
    assert refusal.detail not in named.values()
    assert 1001 not in named.values()


@pytest.mark.parametrize("refusal", EVERYDAY, ids=lambda refusal: refusal.code)
def test_a_refusal_of_everyday_life_is_not_told(told: Any, refusal: Refusal) -> None:
    tell_refused(refusal, SCOPE, status=400, request_id="r1", operator_id="o1")
    assert told() == []
