"""A real bank's 25,170 operations, through the batch route: booked once, with the bank's own balances."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from api.client import Client, HistoryQuery, Operation, Refused
from bench.demo_bank import FILE, Feeder, Row, balances, calls, read_rows
from tests.service import embedded_service, rows, superuser_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.client import HistoryRow
    from tests.service import Service

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"the bank's operations are not part of the project: there is no {FILE}"
)


class Bank:
    """The file, the service that it was fed to twice, and what that answered."""

    def __init__(self, service: Service, client: Client) -> None:
        self.service = service
        self.client = client
        self.file = read_rows(FILE)
        feeder = Feeder(client)
        feeder.open_accounts(self.file)
        self.fed = feeder.feed(self.file)
        self.log_length = self._log_length()
        feeder.open_accounts(self.file)
        self.fed_again = feeder.feed(self.file)
        self.log_length_again = self._log_length()
        self.history = self._history()

    def of(self, row: Row) -> HistoryRow:
        """Give the row of history that a row of the file has become."""
        return self.history[row.trans_id]

    def _history(self) -> dict[str, HistoryRow]:
        found = list(self.client.history(HistoryQuery(order="asc", limit=10_000)))
        by_request = {row.request_id: row for row in found}
        assert len(by_request) == len(found), "a request stands in history twice"
        return by_request

    def _log_length(self) -> int:
        [[length]] = rows(superuser_url(self._data), "SELECT max(notification_id) FROM ledger_events")
        assert isinstance(length, int)
        return length

    @property
    def _data(self) -> Path:
        return self.service.log.parent / "data"


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    with embedded_service() as service, Client(service.url, service.key()) as client:
        yield Bank(service, client)


def overdrawing(file: list[Row]) -> dict[str, Decimal]:
    """Tell by the file alone which withdrawals overdraw, and what was there to withdraw."""
    held: dict[int, Decimal] = {}
    found: dict[str, Decimal] = {}
    for row in file:
        before = held.get(row.account, Decimal(0))
        if row.kind == "withdrawal" and row.amount > max(before, Decimal(0)):
            found[row.trans_id] = max(before, Decimal("0.00"))
        held[row.account] = before + row.signed
    return found


def test_the_file_is_the_one_that_its_readme_describes(bank: Bank) -> None:
    assert len(bank.file) == 25_170
    assert len({row.account for row in bank.file}) == 638
    assert sum(balances(bank.file).values()) == Decimal("20188829.10")
    for _, operations in groupby(sorted(bank.file, key=lambda row: row.account), lambda row: row.account):
        days = [row.day for row in operations]
        assert days == sorted(days)


def test_a_call_takes_the_nth_operation_of_every_account(bank: Bank) -> None:
    for call in calls(bank.file):
        assert len({row.account for row in call}) == len(call)
    assert sum(len(call) for call in calls(bank.file)) == len(bank.file)


def test_every_row_is_booked_once_and_moves_what_the_bank_moved(bank: Bank) -> None:
    assert bank.history.keys() == {row.trans_id for row in bank.file}
    for row in bank.file:
        booked = bank.of(row)
        assert (booked.login, booked.balance_change) == (row.account, row.signed)
        assert (booked.reference, booked.currency) == (row.trans_id, "CZK")


def test_every_account_ends_with_the_exact_sum_of_its_rows(bank: Bank) -> None:
    expected = balances(bank.file)
    assert {login: bank.client.user(login).balance for login in expected} == expected


def test_all_accounts_together_hold_what_the_bank_held(bank: Bank) -> None:
    totals = bank.client.history_page(HistoryQuery(totals=True, limit=1)).totals
    assert totals is not None
    assert totals.keys() == {"CZK"}
    assert sum(kind.balance_change for kind in totals["CZK"].values()) == Decimal("20188829.10")
    assert sum(kind.count for kind in totals["CZK"].values()) == 25_170


def test_after_every_row_the_balance_is_the_one_that_the_bank_printed(bank: Bank) -> None:
    printed = [row for row in bank.file if row.bank_balance is not None]
    assert len(printed) == 10_535
    differing = [row for row in printed if bank.of(row).balance_after != row.bank_balance]
    assert differing == []


def test_after_every_row_the_balance_is_the_one_before_the_next(bank: Bank) -> None:
    held: dict[int, Decimal] = {}
    for row in bank.file:
        booked = bank.of(row)
        assert booked.balance_before == held.get(row.account, 0)
        held[row.account] = booked.balance_after


def test_withdrawals_that_overdraw_are_refused_with_what_is_there(bank: Bank) -> None:
    expected = overdrawing(bank.file)
    assert len(expected) == 28
    refused = {trans_id: told for trans_id, told in bank.fed.answers.items() if isinstance(told, Refused)}
    assert {trans_id: told.problem.available for trans_id, told in refused.items()} == expected
    assert {(told.status, told.code) for told in refused.values()} == {(400, "not_enough_money")}


def test_each_refused_withdrawal_is_booked_as_a_charge_under_its_own_request_id(bank: Bank) -> None:
    assert bank.fed.charges.keys() == overdrawing(bank.file).keys()
    for trans_id, charge in bank.fed.charges.items():
        assert not charge.repeated
        assert bank.history[trans_id].kind == "charge"
        assert bank.history[trans_id].balance_after < bank.history[trans_id].balance_before


def test_feeding_it_a_second_time_changes_nothing(bank: Bank) -> None:
    overdrawn = overdrawing(bank.file).keys()
    repeated = {
        trans_id: isinstance(told, Operation) and told.repeated
        for trans_id, told in bank.fed_again.answers.items()
    }
    assert repeated == {row.trans_id: row.trans_id not in overdrawn for row in bank.file}
    others = [told for told in bank.fed_again.answers.values() if isinstance(told, Refused)]
    assert {(told.status, told.code) for told in others} == {(400, "request_id_reused")}
    assert bank.fed_again.charges == {}
    assert bank.log_length_again == bank.log_length


def test_the_second_answer_holds_the_first(bank: Bank) -> None:
    for trans_id, again in bank.fed_again.answers.items():
        if isinstance(again, Operation):
            assert replace(again, repeated=False) == bank.fed.answers[trans_id]


def test_the_books_by_the_banks_own_days_close_with_the_same_balances(bank: Bank) -> None:
    """January 1994 of the busiest account, restated by effective time: opening + movements = closing."""
    month = [row for row in bank.file if row.day.startswith("1994-01")]
    busiest = max(
        {row.account for row in month}, key=lambda login: sum(row.account == login for row in month)
    )
    since, until = datetime(1994, 1, 1, tzinfo=UTC), datetime(1994, 2, 1, tzinfo=UTC)
    query = HistoryQuery(login=busiest, since=since, until=until, basis="effective", order="asc")
    page = bank.client.history_page(query)
    own = [row for row in month if row.account == busiest]
    assert [row.request_id for row in page.rows] == [row.trans_id for row in own]
    moved = sum(row.signed for row in own)
    assert page.opening is not None
    assert page.closing is not None
    assert page.opening.balance + moved == page.closing.balance


def test_verify_finds_nothing_that_differs(bank: Bank) -> None:
    done = bank.service.run("verify")
    assert (done.code, done.errors) == (0, ""), done.output
