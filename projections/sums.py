"""What a batch adds to the sums: totals over accounts, and what each server day moved.

An account counts in totals under its group, its flag, and the trading day and month of its last change;
a day or month that is over is folded into -infinity, where the balance then equals the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple

import msgspec

from ledger.account import Account
from ledger.book import Book, Moment, moment_of
from ledger.events import AccountOpened, AccountUpdated, Event, MoneyMoved, SimulationStarted
from ledger.packing import Row, RowPacker, days
from ledger.transaction import Statement
from projections.sql import sql

GROUP_CHANGE: Final = "group-change"
FOLDED: Final = -(2**31)
"""PostgreSQL's date of -infinity, in days."""

Sums = dict[tuple[str, bool, int, int], list[int]]


class Held(NamedTuple):
    """What an account holds, and in which group."""

    group: str
    balance: int
    credit: int


def totals_packer(oid: int) -> RowPacker:
    """Give the packer of changes of totals; sums may be wider than a bigint, so they go as text."""
    return RowPacker(oid, fixed=("date", "date", "int2", "int8"), shared=("text",), variable=("text",) * 4)


def daily_packer(oid: int) -> RowPacker:
    """Give the packer of changes of days."""
    return RowPacker(oid, fixed=("int8",), shared=("date", "text", "text"), variable=("text", "text"))


def totals_rows(book: Book, before: dict[int, Account], after: Iterable[Account]) -> list[Row]:
    """Take the accounts' contributions from where they stood to where they stand now."""
    today, month = _present(book.moment)
    sums: Sums = {}
    for account in after:
        old = before.get(account.login)
        if old is not None:
            _count(sums, old, -1, today=today, month=month)
        _count(sums, account, 1, today=today, month=month)
    return [
        ((day, first, enable, counted[0]), (group,), tuple(map(str, counted[1:])))
        for (group, enable, day, first), counted in sums.items()
        if any(counted)
    ]


def daily_rows(book: Book, before: dict[int, Account]) -> list[Row]:
    """Sum up what the batch moved, by group at booking and kind."""
    sums: dict[tuple[str, str], list[int]] = {}
    for group, kind, operations, balance, credit in _movements(book, before):
        found = sums.get((group, kind)) or sums.setdefault((group, kind), [0, 0, 0])
        found[0] += operations
        found[1] += balance
        found[2] += credit
    day = book.moment.server_day
    return [
        ((operations,), (day, group, kind), (str(balance), str(credit)))
        for (group, kind), (operations, balance, credit) in sums.items()
    ]


def put_together() -> Statement:
    """Give the statement that puts what batches have added into the sums themselves."""
    return _PUT_TOGETHER, {}


def turning(book: Book) -> list[Statement]:
    """Give the statements for the first batch of another day: it begins, and sums that are over fold."""
    present, previous = book.moment, book.previous
    simulation = next((event for event in book.booked if isinstance(event, SimulationStarted)), None)
    statements: list[Statement] = []
    if simulation is not None:
        # Its days are the only ones: before it no money was booked, and its first can be one of the others.
        statements += [("DELETE FROM days", {}), _begin(moment_of(simulation), simulation.position)]
    elif previous is None or previous.server_day != present.server_day:
        statements.append(_begin(present, book.head + 1))
    if previous is not None and _present(present) != _present(previous):
        statements.append(put_together())
        statements.append((_FOLD, {"day": present.trading_day, "month": _first(present.server_day)}))
        statements.append(put_together())
    return statements


_PUT_TOGETHER = sql("put_sums_together")
_FOLD = sql("fold_totals")
_BEGIN_DAY = (
    'INSERT INTO days (server_day, trading_day, "position", recorded_at)'
    " VALUES (%(server_day)s, %(trading_day)s, %(position)s, %(recorded_at)s)"
)


def _begin(moment: Moment, position: int) -> Statement:
    return _BEGIN_DAY, msgspec.structs.asdict(moment) | {"position": position}


def _present(moment: Moment) -> tuple[date, date]:
    return moment.trading_day, _first(moment.server_day)


def _first(day: date) -> date:
    return day.replace(day=1)


def _count(sums: Sums, account: Account, sign: int, *, today: date, month: date) -> None:
    same_day, same_month = account.balance_day == today, account.balance_month == month
    day = days(today) if same_day else FOLDED
    first = days(month) if same_month else FOLDED
    key, balance = (account.group, account.enable, day, first), account.balance
    found = sums.get(key) or sums.setdefault(key, [0, 0, 0, 0, 0])
    found[0] += sign
    found[1] += sign * balance
    found[2] += sign * account.credit
    found[3] += sign * (account.balance_before_day if same_day else balance)
    found[4] += sign * (account.balance_before_month if same_month else balance)


def _movements(book: Book, before: dict[int, Account]) -> Iterator[tuple[str, str, int, int, int]]:
    held: dict[int, Held] = {}
    regroups = any(_regroups(event) for event in book.booked)
    for event in book.booked:
        if isinstance(event, MoneyMoved):
            yield event.group, event.kind, 1, event.balance_change, event.credit_change
        if regroups:
            yield from _regrouped(event, held, before)


def _regroups(event: Event) -> bool:
    return isinstance(event, AccountUpdated) and event.group is not None


def _regrouped(
    event: Event, held: dict[int, Held], before: dict[int, Account]
) -> Iterator[tuple[str, str, int, int, int]]:
    """Follow what accounts hold; tell what one takes along from group to group."""
    match event:
        case MoneyMoved():
            held[event.login] = Held(event.group, event.balance, event.credit)
        case AccountOpened():
            held[event.login] = Held(event.group, 0, 0)
        case AccountUpdated(group=str(group)):
            old = held.get(event.login) or _held(before[event.login])
            held[event.login] = old._replace(group=group)
            if group != old.group:
                yield old.group, GROUP_CHANGE, 1, -old.balance, -old.credit
                yield group, GROUP_CHANGE, 1, old.balance, old.credit


def _held(account: Account) -> Held:
    return Held(account.group, account.balance, account.credit)
