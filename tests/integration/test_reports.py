"""The reporting views say what the ledger holds, to the last decimal, and are there through every rebuild."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest

from ledger.commands import UpdateAccount
from ledger.money import format_minor
from projections import accounts, rebuild, roles
from projections.accounts import PERSONAL
from projections.reports import PERSONAL_REPORTS, REPORTS
from tests.drive import HANG_S, Clock
from tests.logins import login
from tests.make import (
    at,
    correct,
    credit,
    define_group,
    define_server,
    deposit,
    open_account,
    transfer,
    withdraw,
)
from tests.service import within

if TYPE_CHECKING:
    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "reporting.md"
SECRET = "canary of {}"
CURRENCIES = {"standard": ("USD", 2), "yen": ("JPY", 0), "dinar": ("KWD", 3), "coins": ("BTC", 8)}


@pytest.fixture
async def lived(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger with accounts in four currencies and three days of operations, some of them odd."""
    personal = {name: SECRET.format(name) for name in PERSONAL}
    clock = Clock(at("2026-01-30 12:00"))
    async with ledger.desk(clock=clock) as desk:
        for number, group in enumerate(CURRENCIES, start=1):
            await desk.book(define_group(group, CURRENCIES[group][0]))
            await desk.book(open_account(1000 + number, group=group, **personal))
            await desk.book(deposit("999999999", login=1000 + number))
        await desk.book(open_account(2001, **personal))
        clock.forward(days=1)
        note: dict[str, Any] = {
            "comment": SECRET.format("remark"),
            "metadata": {"said": SECRET.format("metadata")},
        }
        await desk.book(deposit("0.01", method="card", reference="pay-1", **note))
        await desk.book(transfer("10.50", source=1001, target=2001))
        clock.forward(days=1)
        await desk.book(withdraw("1.07"))
        await desk.book(credit("5"))
        await desk.book(correct(balance="-0.33", login=2001))
        await desk.book(deposit("0.00000001", login=1004))
        await desk.book(deposit("0.001", login=1003))
        await desk.book(UpdateAccount(login=2001, group="standard", comment=SECRET.format("comment")))
    return ledger


def report(ledger: LedgerUnderTest, name: str) -> list[dict[str, Any]]:
    """Give the rows of a view by column."""
    with ledger.connect() as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        rows = cursor.execute(f"TABLE {name}".encode()).fetchall()
    return sorted(rows, key=str)


async def test_accounts_hold_what_the_ledger_holds_to_the_last_decimal(lived: LedgerUnderTest) -> None:
    held = {
        row["login"]: (f"{row['balance']:f}", f"{row['credit']:f}")
        for row in report(lived, "report_accounts")
    }
    minor = lived.rows("SELECT login, balance, credit, digits FROM accounts")
    assert held == {
        login: (format_minor(balance, digits), format_minor(credit, digits))
        for login, balance, credit, digits in minor
    }
    assert held[1004] == ("999999999.00000001", "0.00000000")
    assert held[1002] == ("999999999", "0")


@pytest.mark.parametrize("day", ["2026-01-30", "2026-02-01", "2026-02-02", "2026-03-01"])
async def test_previous_balances_follow_from_a_date_as_documented(lived: LedgerUnderTest, day: str) -> None:
    today = date.fromisoformat(day)
    formulas = dict(re.findall(r"`(prev\w*balance)`\s+is\s+`(CASE [^`]+ END)`", PAGE.read_text()))
    assert set(formulas) == {"prevbalance", "prevmonthbalance"}
    async with await psycopg.AsyncConnection.connect(lived.superuser) as connection:
        for login, digits in lived.rows("SELECT login, digits FROM accounts WHERE balance_day <= %s", today):
            view = await accounts.view(connection, login, server_day=today, trading_day=today)
            for name, formula in formulas.items():
                dated = re.sub(r":(?:day|month)\b", "%s", formula)
                query = f"SELECT ({dated})::text FROM report_accounts WHERE login = %s"
                asked = today.replace(day=1) if ":month" in formula else today
                found = lived.value(query, asked, login)
                assert found == format_minor(getattr(view, name), digits)


async def test_each_leg_says_what_was_before_and_after_it(lived: LedgerUnderTest) -> None:
    rows = report(lived, "report_history")
    rows.sort(key=lambda row: row["position"])
    held: dict[int, tuple[Decimal, Decimal]] = {}
    for row in rows:
        before = (row["balance_before"], row["credit_before"])
        assert before == held.get(row["login"], (0, 0))
        after = (before[0] + row["balance_change"], before[1] + row["credit_change"])
        assert (row["balance_after"], row["credit_after"]) == after
        assert -row["balance_after"].as_tuple().exponent == row["digits"]
        held[row["login"]] = after
    assert held == {row["login"]: (row["balance"], row["credit"]) for row in report(lived, "report_accounts")}
    [paid] = [row for row in rows if row["reference"] == "pay-1"]
    assert (paid["kind"], paid["method"], str(paid["amount"])) == ("deposit", "card", "0.01")
    assert paid["operation_id"] == f"bal_{paid['position']}"
    sent, received = (row for row in rows if row["kind"] == "transfer")
    assert sent["operation_id"] == received["operation_id"]
    assert (sent["login"], sent["peer"], received["peer"]) == (1001, 2001, 1001)


async def test_days_and_totals_add_up_to_the_accounts(lived: LedgerUnderTest) -> None:
    held: dict[str, Decimal] = {}
    for row in report(lived, "report_accounts"):
        held[row["group_name"]] = held.get(row["group_name"], Decimal(0)) + row["balance"]
    moved: dict[str, Decimal] = {}
    for row in report(lived, "report_daily"):
        moved[row["group_name"]] = moved.get(row["group_name"], Decimal(0)) + row["balance_change"]
        assert -row["balance_change"].as_tuple().exponent == row["digits"]
    totals = {row["group_name"]: row["balance"] for row in report(lived, "report_totals")}
    assert moved == totals == held
    assert sum(row["accounts"] for row in report(lived, "report_totals")) == 5


async def test_one_row_tells_what_the_ledger_is(ledger: LedgerUnderTest) -> None:
    [row] = report(ledger, "report_ledger")
    assert (row["timezone"], row["day_end"], row["overnight_days"]) == ("UTC", "00:00", "all")
    assert (row["book_currency"], row["last_position"]) == ("USD", None)
    async with ledger.desk() as desk:
        await desk.book(define_server(timezone="Europe/Athens", book_currency="EUR"))
        await desk.book(define_group())
        await desk.book(open_account(1001))
        await desk.book(deposit(1))
    [row] = report(ledger, "report_ledger")
    assert (row["timezone"], row["book_currency"], row["last_position"]) == ("Europe/Athens", "EUR", 4)


async def test_a_reader_meets_nothing_that_is_personal(lived: LedgerUnderTest) -> None:
    seen = {view: str(report(lived, view)) for view in (*REPORTS, *PERSONAL_REPORTS)}
    assert [view for view in REPORTS if "canary" in seen[view]] == []
    for name in PERSONAL:
        assert SECRET.format(name) in seen["report_personal_accounts"]
    for name in ("remark", "metadata"):
        assert SECRET.format(name) in seen["report_personal_history"]


async def test_a_reader_reads_on_while_the_read_models_are_swapped(lived: LedgerUnderTest) -> None:
    lived.rows("CREATE SCHEMA IF NOT EXISTS bi")
    lived.rows(f"CREATE VIEW bi.mine_{lived.name} AS SELECT sum(balance) FROM {lived.schema}.report_accounts")
    before = {view: report(lived, view) for view in (*REPORTS, *PERSONAL_REPORTS)}
    oids = lived.rows("SELECT oid FROM pg_class WHERE relname = ANY(%s) ORDER BY 1", list(before))
    with login(lived.superuser, roles.personal_reader_of(lived.schema)) as url, Reader(url, before) as reader:
        for _ in range(3):
            await asyncio.to_thread(rebuild.rebuild, lived.database_url, lived.name)
            await asyncio.to_thread(reader.another_round)
    assert reader.wrong == []
    assert lived.rows("SELECT oid FROM pg_class WHERE relname = ANY(%s) ORDER BY 1", list(before)) == oids
    assert {view: report(lived, view) for view in before} == before
    assert lived.value(f"SELECT * FROM bi.mine_{lived.name}") > 0


class Reader(threading.Thread):
    """Reads all views again and again, and keeps what was not as it should be."""

    def __init__(self, url: str, expected: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.rounds = 0
        self._url = url
        self._expected = {view: len(rows) for view, rows in expected.items()}
        self._ends = threading.Event()

    def another_round(self) -> None:
        """Wait until everything has been read once more."""
        before = self.rounds
        within(HANG_S, lambda: self.rounds > before)

    def run(self) -> None:
        """Read until told to stop."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ends.is_set():
                for view, expected in self._expected.items():
                    self._read(connection, view, expected)
                self.rounds += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()

    def _read(self, connection: psycopg.Connection[Any], view: str, expected: int) -> None:
        try:
            found = connection.execute(f"SELECT count(*) FROM {view}".encode()).fetchone()
        except psycopg.Error as error:
            self.wrong.append(f"{view}: {error}")
        else:
            self.wrong += [] if found == (expected,) else [f"{view} has {found} rows"]


def test_every_column_is_documented_with_its_type(ledger: LedgerUnderTest) -> None:
    found = ledger.rows(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v' ORDER BY 1, a.attnum"
    )
    documented = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        view = section.split("\n", 1)[0]
        documented += [
            (view, *row) for row in re.findall(r"^\| `(\w+)` \| `([^`]+)` \| \S", section, re.MULTILINE)
        ]
    assert sorted(documented) == sorted(found)
    for view in (*REPORTS, *PERSONAL_REPORTS):
        assert [row for row in documented if row[0] == view] == [row for row in found if row[0] == view]
