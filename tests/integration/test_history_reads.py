"""History, as-of and operations say what a naive reading of the log says, page by page and at once."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import defaultdict
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus

from ledger.clock import ServerClock
from ledger.commands import EVERYTHING, Access, DisableAccount, UpdateAccount
from ledger.events import AccountOpened, AccountUpdated, Event, MoneyMoved
from ledger.masks import parse_mask
from ledger.money import Amount
from ledger.refusals import ValidationError
from projections import asof, history, operations
from projections.history import Filter, Page, Row, by_instants
from projections.history_csv import COLUMNS, csv_header, csv_lines
from projections.history_filter import write_cursor
from tests.drive import HANG_S, Clock, LedgerUnderTest
from tests.make import (
    adjust,
    at,
    correct,
    credit,
    define_group,
    define_server,
    deposit,
    key,
    money,
    open_account,
    request,
    reverse,
    transfer,
    withdraw,
)
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence

    from ledger.commands import Caller, Command

Answer = TypeVar("Answer")

GROUPS = {"STD-USD": "USD", "VIP-USD": "USD", "STD-JPY": "JPY", "STD-KWD": "KWD"}
LOGINS = dict(zip(range(1001, 1010), 3 * ["STD-USD", "STD-JPY", "STD-KWD"], strict=True))
AMOUNTS = {
    "USD": ["0.01", "10", "12.50", "100"],
    "JPY": ["1", "12", "13", "100"],
    "KWD": ["0.001", "10", "12.5"],
}
KINDS = ("deposit", "withdrawal", "credit", "transfer", "correction", "reversal", "charge", "rebate")
MASKS = ("*", "STD-*", "VIP-*", "*,!STD-JPY", "nothing-like-it", "STD-USD,STD-KWD")
NEW_YORK = ServerClock("America/New_York", "17:00", "mon-fri")
START = datetime(2026, 11, 23, 9, tzinfo=UTC)
DELAYS_S = (0, 1, 3_600, 2_000_000)


def _batch_times(chance: Random) -> list[datetime]:
    """Choose when the batches of the book are recorded: some at one instant, some days apart."""
    steps = [(chance.choice([0, 1, 600, 130_000]), chance.randrange(3)) for _ in range(130)]
    return [
        START + timedelta(seconds=sum(s for s, _ in steps[:n]), microseconds=sum(m for _, m in steps[:n]))
        for n in range(1, 131)
    ]


TIMES = _batch_times(Random(17))


class Book:
    """A ledger with some weeks behind it, its log as the naive model, and a connection to ask it."""

    def __init__(self, ledger: LedgerUnderTest, runner: asyncio.Runner) -> None:
        self.ledger = ledger
        self._runner = runner
        self.log = ledger.log()
        self.legs = [event for event in self.log if isinstance(event, MoneyMoved)]
        self.group = _present_groups(self.log)
        self.reversals = {e.corrects: e.operation for e in self.legs if e.kind == "reversal"}
        self.connection = runner.run(AsyncConnection.connect(ledger.service, autocommit=True))

    def ask(self, question: Callable[..., Coroutine[Any, Any, Answer]], *asked: object, **how: Any) -> Answer:
        return self._runner.run(question(self.connection, *asked, **how))

    def page(self, wanted: Filter, **how: Any) -> Page:
        return self.ask(history.page, wanted, **how)

    def stream(self, wanted: Filter, **how: Any) -> list[list[Row]]:
        async def chunks(connection: AsyncConnection[Any]) -> list[list[Row]]:
            return [rows async for rows in history.stream(connection, wanted, **how)]

        return self.ask(chunks)

    def selected(self, wanted: Filter) -> list[Row]:
        """Give the rows of a filter in ascending order, as reading the whole log gives them."""
        legs = [leg for leg in self.legs if _matches(leg, wanted, self.group)]
        if wanted.request_id is not None:
            legs = [leg for leg in legs if leg.request_id == wanted.request_id]
        return [self._row(leg, wanted.basis) for leg in sorted(legs, key=lambda leg: _key(leg, wanted.basis))]

    def held(self, login: int, counts: Callable[[MoneyMoved], bool]) -> tuple[int, int]:
        """Add up the changes of an account that count."""
        legs = [leg for leg in self.legs if leg.login == login and counts(leg)]
        return sum(leg.balance_change for leg in legs), sum(leg.credit_change for leg in legs)

    def _row(self, leg: MoneyMoved, basis: str) -> Row:
        here = _key(leg, basis)
        balance, credit = self.held(leg.login, lambda other: _key(other, basis) <= here)
        return Row(
            position=leg.position,
            operation=leg.operation,
            login=leg.login,
            recorded_at=leg.recorded_at,
            effective_at=leg.effective,
            amount=leg.amount,
            balance_change=leg.balance_change,
            credit_change=leg.credit_change,
            booked_balance=leg.balance,
            booked_credit=leg.credit,
            server_day=leg.server_day,
            trading_day=leg.trading_day,
            digits=leg.digits,
            corrects=leg.corrects,
            reversed_by=self.reversals.get(leg.operation),
            peer=leg.peer,
            kind=leg.kind,
            currency=leg.currency,
            group_name=leg.group,
            request_id=leg.request_id,
            operator_id=leg.operator_id,
            key_id=leg.key_id,
            reference=leg.reference,
            method=leg.method,
            comment=leg.reason or leg.comment,
            warnings=",".join(leg.warnings) or None,
            metadata=None if leg.metadata is None else msgspec.json.encode(leg.metadata).decode(),
            balance=balance,
            credit=credit,
        )


def _key(leg: MoneyMoved, basis: str) -> tuple[datetime, int]:
    return (leg.recorded_at if basis == "recorded" else leg.effective, leg.position)


def _present_groups(log: Sequence[Event]) -> dict[int, str]:
    groups: dict[int, str] = {}
    for event in log:
        if isinstance(event, AccountOpened | AccountUpdated) and event.group is not None:
            groups[event.login] = event.group
    return groups


def _matches(leg: MoneyMoved, wanted: Filter, group: dict[int, str]) -> bool:
    time, _ = _key(leg, wanted.basis)
    larger = Fraction(max(abs(leg.balance_change), abs(leg.credit_change)), 10**leg.digits)
    return (
        (wanted.login is None or leg.login == wanted.login)
        and (wanted.group_mask is None or wanted.group_mask.selects(leg.group))
        and (not wanted.kinds or leg.kind in wanted.kinds)
        and (wanted.since is None or time >= wanted.since)
        and (wanted.until is None or time < wanted.until)
        and (wanted.from_day is None or leg.server_day >= wanted.from_day)
        and (wanted.to_day is None or leg.server_day <= wanted.to_day)
        and (wanted.reference is None or leg.reference == wanted.reference)
        and (wanted.operator_id is None or leg.operator_id == wanted.operator_id)
        and (
            wanted.booked_after is None
            or (leg.effective < leg.recorded_at and leg.server_day > wanted.booked_after)
        )
        and (wanted.amount_min is None or larger >= _value(wanted.amount_min))
        and (wanted.amount_max is None or larger <= _value(wanted.amount_max))
        and wanted.access.reaches(leg.login, group[leg.login])
    )


def _value(amount: Amount) -> Fraction:
    return Fraction(amount.units, 10**amount.digits)


pytestmark = pytest.mark.anyio

# The book: six weeks over two month ends, a change of clock, a change of group, a disabled account.


@pytest.fixture(scope="module")
def book(database_url: str) -> Iterator[Book]:
    ledger = LedgerUnderTest(database_url, "main")
    with asyncio.Runner() as runner:
        runner.run(_live(ledger, Random(17)))
        book = Book(ledger, runner)
        yield book
        runner.run(book.connection.close())


async def _live(ledger: LedgerUnderTest, chance: Random) -> None:
    clock = Clock(START)
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_server("America/New_York", "17:00", "mon-fri"))
        for group, currency in GROUPS.items():
            await desk.book(define_group(group, currency))
        for login, group in LOGINS.items():
            await desk.book(open_account(login, group=group))
        for batch, clock.now in enumerate(TIMES):
            if batch == 60:
                await desk.book(UpdateAccount(login=1004, group="VIP-USD"))
                await desk.book(DisableAccount(login=1007))
            if batch == 80:
                await desk.book(define_server("Asia/Tokyo", "00:00"))
            requests = [
                request(_anything(chance, clock.now, head=60), f"b{batch}-{n}", caller=_caller(chance))
                for n in range(chance.randrange(1, 7))
            ]
            await desk.writer.submit_bulk(requests)


def _caller(chance: Random) -> Caller:
    return msgspec.structs.replace(key(), operator_id=chance.choice(["alice", "bob", None]))


def _anything(chance: Random, now: datetime, *, head: int) -> Command:
    """Ask for something that a ledger may be asked for; what it refuses leaves no event."""
    login = chance.choice(list(LOGINS))
    amount = chance.choice(AMOUNTS[GROUPS[LOGINS[login]]])
    note: dict[str, Any] = {"login": login, "comment": chance.choice([None, "=1+1", "cash, in hand"])}
    if chance.random() < 0.5:
        note["effective_at"] = now - timedelta(seconds=chance.choice(DELAYS_S))
    if chance.random() < 0.3:
        note |= {"reference": f"ref-{chance.randrange(40)}", "method": chance.choice([None, "wire"])}
    if chance.random() < 0.1:
        note["metadata"] = {"rate": 1, "by": ["x"]}
    match chance.randrange(13):
        case 0 | 1 | 2:
            return deposit(amount, **note)
        case 3:
            return withdraw(amount, **note)
        case 4:
            expires_at = chance.choice([None, now + timedelta(days=chance.randrange(1, 9))])
            return credit(amount, expires_at=expires_at, **note)
        case 5:
            return credit(f"-{amount}", **note)
        case 6 | 10 | 11:
            del note["login"]
            return transfer(amount, source=login, target=chance.choice(list(LOGINS)), **note)
        case 7:
            corrects = chance.choice([None, chance.randrange(14, head)])
            return correct(
                balance=f"-{amount}", credit=chance.choice([None, "10"]), corrects=corrects, **note
            )
        case 8:
            return adjust(chance.choice(["charge", "rebate"]), chance.choice([amount, f"-{amount}"]), **note)
        case _:
            return reverse(chance.randrange(14, 400))


# Filters, from what is in the book and what is not.

_DELAYS = st.builds(timedelta, seconds=st.sampled_from(DELAYS_S), microseconds=st.sampled_from([-1, 0, 1]))
_INSTANTS = st.builds(datetime.__sub__, st.sampled_from(TIMES), _DELAYS)
_DAYS = st.builds(date.__add__, st.just(START.date()), st.builds(timedelta, st.integers(-3, 52)))
_AMOUNTS = st.sampled_from(["0", "0.001", "0.01", "1", "10", "12.5", "12.50", "13", "99.999", "100"]).map(
    money
)
_ACCESS = st.builds(
    Access,
    mask=st.sampled_from(MASKS).map(parse_mask),
    logins=st.none() | st.frozensets(st.sampled_from([*LOGINS, 9]), max_size=4),
)


def _maybe(strategy: st.SearchStrategy[Any], often: int = 1) -> st.SearchStrategy[Any]:
    return st.one_of(*[st.none()] * often, strategy)


@st.composite
def filters(draw: st.DrawFn, /, **fixed: Any) -> Filter:
    """Draw a filter. On the effective basis days are not booked: they come as instants."""
    chosen = {
        "login": draw(_maybe(st.sampled_from([*LOGINS, 9]))),
        "group_mask": draw(_maybe(st.sampled_from(MASKS).map(parse_mask), 2)),
        "kinds": tuple(draw(st.just(()) | st.lists(st.sampled_from(KINDS), unique=True))),
        "since": draw(_maybe(_INSTANTS)),
        "until": draw(_maybe(_INSTANTS)),
        "from_day": draw(_maybe(_DAYS)),
        "to_day": draw(_maybe(_DAYS)),
        "request_id": draw(_maybe(st.builds("b{}-{}".format, st.integers(0, 131), st.integers(0, 6)), 8)),
        "reference": draw(_maybe(st.integers(0, 41).map("ref-{}".format), 8)),
        "operator_id": draw(_maybe(st.sampled_from(["alice", "bob", "carol"]), 3)),
        "booked_after": draw(_maybe(_DAYS, 4)),
        "amount_min": draw(_maybe(_AMOUNTS, 2)),
        "amount_max": draw(_maybe(_AMOUNTS, 2)),
        "basis": draw(st.sampled_from(["recorded", "effective"])),
        "access": draw(st.just(EVERYTHING) | _ACCESS),
    } | fixed
    if chosen["basis"] == "effective":
        chosen |= {"from_day": None, "to_day": None}
    return Filter(**chosen)


ORDERS = st.sampled_from(["asc", "desc"])
BASES = st.sampled_from(["recorded", "effective"])
SIZES = st.sampled_from([1, 2, 3, 7, 50, 1_000])
examples = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_book_holds_everything_that_history_has_to_tell(book: Book) -> None:
    assert {leg.kind for leg in book.legs} == set(KINDS)
    assert {leg.currency for leg in book.legs} == {"USD", "JPY", "KWD"}
    assert {leg.server_day.month for leg in book.legs} == {11, 12, 1}
    assert {leg.group for leg in book.legs if leg.login == 1004} == {"STD-USD", "VIP-USD"}
    assert any(leg.effective < leg.recorded_at for leg in book.legs)
    assert any(leg.warnings for leg in book.legs)
    assert any(leg.peer and book.reversals.get(leg.operation) for leg in book.legs)
    assert len({leg.recorded_at for leg in book.legs}) < len(book.legs) < 600


@examples
@given(filters(), ORDERS, SIZES)
@example(Filter(), "desc", 7)
@example(Filter(basis="effective"), "asc", 3)
@example(Filter(login=1001, basis="effective"), "desc", 1)
@example(Filter(booked_after=START.date(), basis="effective"), "asc", 7)
def test_pages_of_any_size_join_to_what_a_naive_reading_of_the_log_selects(
    book: Book, wanted: Filter, order: Any, limit: int
) -> None:
    expected = book.selected(wanted)
    if order == "desc":
        expected.reverse()
    limit = max(limit, len(expected) // 20)
    rows: list[Row] = []
    cursor = None
    while True:
        page = book.page(wanted, order=order, limit=limit, cursor=cursor)
        rows += page.rows
        assert (page.next is None) == (len(rows) == len(expected))
        if page.next is None:
            break
        assert len(page.rows) == limit
        cursor = page.next
    assert rows == expected


@examples
@given(filters(), ORDERS, SIZES, st.integers(0, 9) | st.integers(0, 400))
def test_an_offset_skips_that_many_rows(
    book: Book, wanted: Filter, order: Any, limit: int, offset: int
) -> None:
    expected = book.selected(wanted)[:: 1 if order == "asc" else -1]
    page = book.page(wanted, order=order, limit=limit, offset=offset)
    assert page.rows == expected[offset : offset + limit]
    assert (page.next is None) == (offset + limit >= len(expected))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (7, 5), (2, 40), (50, 40), (1_000, 1)])
def test_a_key_of_some_logins_sees_their_rows_in_one_order(
    book: Book, order: Any, limit: int, offset: int
) -> None:
    for mask in ("*", "STD-*"):
        wanted = Filter(access=Access(mask=parse_mask(mask), logins=frozenset({1001, 1002, 1004, 9})))
        expected = book.selected(wanted)[:: 1 if order == "asc" else -1]
        page = book.page(wanted, order=order, limit=limit, offset=offset)
        assert page.rows == expected[offset : offset + limit]
        if page.next is not None:
            rest = book.page(wanted, order=order, limit=1_000, cursor=page.next)
            assert rest.rows == expected[offset + limit :]


@pytest.mark.parametrize(
    "bound", ["0", "-1", "0.001", "0.0011", "12", "12.001", "12.5", "12.9", "13", "99.999"]
)
def test_amounts_compare_exactly_in_each_currency(book: Book, bound: str) -> None:
    larger = Filter(amount_min=money(bound))
    smaller = Filter(amount_max=money(bound))
    assert book.page(larger, order="asc", limit=1_000).rows == book.selected(larger)
    assert book.page(smaller, order="asc", limit=1_000).rows == book.selected(smaller)


@examples
@given(filters(), ORDERS, SIZES)
def test_a_stream_yields_the_rows_of_all_pages(book: Book, wanted: Filter, order: Any, chunk: int) -> None:
    expected = book.selected(wanted)[:: 1 if order == "asc" else -1]
    chunks = book.stream(wanted, order=order, chunk=max(chunk, len(expected) // 20))
    assert [row for rows in chunks for row in rows] == expected


@examples
@given(filters())
def test_totals_are_exact_by_currency_and_kind_over_all_matched_rows(book: Book, wanted: Filter) -> None:
    sums: dict[tuple[str, int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    rows = book.selected(wanted)
    for row in rows:
        total = sums[(row.currency, row.digits, row.kind)]
        for index, part in enumerate((1, row.balance_change, row.credit_change)):
            total[index] += part
    totals = book.ask(history.count_and_totals, wanted)
    assert totals.count == len(rows)
    assert totals.totals == [history.Total(*named, *sums[named]) for named in sorted(sums)]


@examples
@given(
    filters(
        group_mask=None,
        kinds=(),
        request_id=None,
        reference=None,
        operator_id=None,
        booked_after=None,
        amount_min=None,
        amount_max=None,
    )
)
def test_opening_and_movements_make_the_closing(book: Book, wanted: Filter) -> None:
    ends = book.ask(history.opening_closing, wanted)
    seen = wanted.login in book.group and wanted.access.reaches(wanted.login, book.group[wanted.login])
    if not (seen and wanted.timed):
        assert ends is None
        return
    assert ends is not None
    opening, closing = ends
    rows = book.selected(wanted)
    assert opening.balance + sum(row.balance_change for row in rows) == closing.balance
    assert opening.credit + sum(row.credit_change for row in rows) == closing.credit
    if rows:
        assert (opening.balance, opening.credit) == (rows[0].balance_before, rows[0].credit_before)
        assert (closing.balance, closing.credit) == (rows[-1].balance, rows[-1].credit)


def test_every_server_day_of_an_account_opens_at_what_the_day_before_closed_at(book: Book) -> None:
    days = sorted({leg.server_day for leg in book.legs})
    for login in LOGINS:
        held = (0, 0)
        for day in days:
            wanted = Filter(login=login, from_day=day, to_day=day)
            ends = book.ask(history.opening_closing, wanted)
            assert ends is not None
            assert (ends[0].balance, ends[0].credit) == held
            held = (ends[1].balance, ends[1].credit)
            counted = [leg for leg in book.legs if leg.login == login and leg.server_day <= day]
            assert held == book.held(login, counted.__contains__)


def test_opening_and_closing_need_one_login_and_nothing_but_time(book: Book) -> None:
    wanted = Filter(login=1001, since=START, until=START + timedelta(days=9))
    narrower: list[dict[str, Any]] = [
        {"login": None},
        {"login": 9},
        {"since": None, "until": None},
        {"kinds": ("deposit",)},
        {"group_mask": parse_mask("*")},
        {"request_id": "b1-1"},
        {"reference": "ref-1"},
        {"operator_id": "alice"},
        {"booked_after": START.date()},
        {"amount_min": money(1)},
        {"amount_max": money(1)},
        {"access": Access(mask=parse_mask("VIP-*"))},
        {"access": Access(logins=frozenset({1002}))},
    ]
    assert book.ask(history.opening_closing, wanted) is not None
    for change in narrower:
        other = msgspec.structs.replace(wanted, **change)
        assert book.ask(history.opening_closing, other) is None


@examples
@given(st.sampled_from(list(LOGINS)), _INSTANTS, BASES)
def test_as_of_counts_what_happened_up_to_the_instant(
    book: Book, login: int, instant: datetime, basis: Any
) -> None:
    found = book.ask(asof.as_of, login, instant, basis=basis)
    counted = [leg for leg in book.legs if leg.login == login and _key(leg, basis)[0] <= instant]
    assert found is not None
    assert (found.balance, found.credit) == book.held(login, counted.__contains__)
    assert found.position == max((leg.position for leg in counted), default=None)
    assert (found.login, found.group, found.currency) == (login, book.group[login], GROUPS[LOGINS[login]])
    assert found.digits == {"USD": 2, "JPY": 0, "KWD": 3}[found.currency]


def test_as_of_is_zero_before_the_first_row_and_nothing_for_an_unknown_login(book: Book) -> None:
    for basis in ("recorded", "effective"):
        before = book.ask(asof.as_of, 1001, START - timedelta(days=99), basis=basis)
        assert before == asof.AsOf(1001, "USD", 2, "STD-USD", 0, 0, None)
        assert book.ask(asof.as_of, 9, START, basis=basis) is None


def test_server_days_of_the_effective_time_are_instants_of_the_present_clock(book: Book) -> None:
    days = Filter(from_day=date(2026, 11, 30), to_day=date(2026, 12, 4), basis="effective")
    with pytest.raises(ValueError, match="by_instants"):
        book.page(days)
    wanted = by_instants(days, NEW_YORK)
    assert (wanted.since, wanted.until) == (at("2026-11-29 22:00"), at("2026-12-04 22:00"))
    rows = book.page(wanted, limit=1_000).rows
    assert rows
    assert {NEW_YORK.server_day(row.effective_at) for row in rows} <= {
        date(2026, 11, 30) + timedelta(days=n) for n in range(5)
    }
    later = msgspec.structs.replace(days, since=at("2026-12-02 00:00"), until=at("2026-12-03 00:00"))
    assert by_instants(later, NEW_YORK).since == later.since
    assert by_instants(later, NEW_YORK).until == later.until


# Cursors.


def test_a_cursor_belongs_to_its_question(book: Book) -> None:
    wanted = Filter(login=1001, kinds=("deposit", "credit"), amount_min=money("1.0"))
    cursor = book.page(wanted, limit=2).next
    others: list[tuple[dict[str, Any], Any]] = [
        ({"login": 1002}, "desc"),
        ({"basis": "effective"}, "desc"),
        ({"kinds": ("deposit",)}, "desc"),
        ({"amount_min": money("1.01")}, "desc"),
        ({"since": START}, "desc"),
        ({"to_day": date(2027, 2, 1)}, "desc"),
        ({"group_mask": parse_mask("*")}, "desc"),
        ({"operator_id": "alice"}, "desc"),
        ({}, "asc"),
    ]
    for change, order in others:
        with pytest.raises(ValidationError) as refused:
            book.page(msgspec.structs.replace(wanted, **change), order=order, limit=2, cursor=cursor)
        assert (refused.value.code, refused.value.field) == ("bad_cursor", "cursor")


def test_a_cursor_lasts_when_the_same_is_asked_in_other_words_or_with_another_key(book: Book) -> None:
    wanted = Filter(login=1001, kinds=("deposit", "credit"), amount_min=money("1.0"))
    same = Filter(
        login=1001,
        kinds=("credit", "deposit"),
        amount_min=money("1.000"),
        access=Access(logins=frozenset({1001})),
    )
    cursor = book.page(wanted, limit=2).next
    assert book.page(same, limit=5, cursor=cursor).rows == book.page(wanted, limit=5, offset=2).rows


def test_a_cursor_is_short_and_can_stand_in_a_url(book: Book) -> None:
    cursor = book.page(Filter(), limit=1).next
    assert cursor is not None
    assert len(cursor) == 32
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40) | st.text("AZaz09-_=", min_size=32, max_size=32))
def test_what_is_no_cursor_is_refused(book: Book, text: str) -> None:
    with pytest.raises(ValidationError, match="next of a page"):
        book.page(Filter(), cursor=text)


def test_a_cursor_with_a_letter_changed_or_added_is_refused(book: Book) -> None:
    cursor = book.page(Filter(), limit=1).next
    assert cursor is not None
    for text in (f"{cursor} ", f"{cursor}====", f"!{cursor}", cursor[:-4], f"B{cursor[1:]}", ""):
        with pytest.raises(ValidationError, match="next of a page"):
            book.page(Filter(), cursor=text)


def test_a_cursor_made_up_beyond_the_last_position_is_refused(book: Book) -> None:
    for position in (0, -1, 2**63 - 1):
        with pytest.raises(ValidationError, match="next of a page"):
            book.page(Filter(), order="asc", cursor=write_cursor((START, position), Filter(), "asc"))


# Streams and CSV.


async def test_a_stream_ends_where_the_log_ended_at_its_start(ledger: LedgerUnderTest) -> None:
    async with (
        ledger.desk() as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as reader,
    ):
        await desk.book(define_group())
        await desk.book(open_account(1001))
        first = [(await desk.book(deposit(n)))[0] for n in range(1, 8)]
        for basis in ("recorded", "effective"):
            wanted = Filter(basis=basis)
            async with aclosing(history.stream(reader, wanted, order="asc", chunk=3)) as chunks:
                rows = await anext(chunks)
                assert reader.info.transaction_status is TransactionStatus.IDLE
                await desk.book(reverse(first[0 if basis == "recorded" else 1].operation))
                await desk.book(deposit(5, effective_at=first[0].recorded_at - timedelta(days=1)))
                rest = [row async for chunk in chunks for row in chunk]
            seen = [row.position for row in [*rows, *rest]]
            assert sorted(seen) == [
                event.position for event in ledger.log()[2:] if event.position <= max(seen)
            ]
            assert max(seen) == len(ledger.log()) - 2
            assert not any(row.reversed_by is not None and row.reversed_by > max(seen) for row in rest)


def test_a_stream_can_be_taken_again_as_it_was_at_a_position(book: Book) -> None:
    middle = book.legs[len(book.legs) // 2].position
    for basis in ("recorded", "effective"):
        rows = [
            row for rows in book.stream(Filter(basis=basis), until_position=middle, chunk=20) for row in rows
        ]
        assert {row.position for row in rows} == {leg.position for leg in book.legs if leg.position <= middle}
        assert all(row.reversed_by is None or row.reversed_by <= middle for row in rows)
    assert book.stream(Filter(), until_position=3) == []


def test_a_closed_stream_leaves_nothing_behind(book: Book) -> None:
    async def first_chunk(connection: AsyncConnection[Any]) -> Any:
        async with aclosing(history.stream(connection, Filter(basis="effective"), chunk=3)) as chunks:
            await anext(chunks)
        return await (
            await connection.execute("SELECT count(*) FROM pg_cursors WHERE is_holdable")
        ).fetchone()

    assert book.ask(first_chunk) == (0,)


def test_csv_holds_exact_money_utc_times_and_no_formula(book: Book) -> None:
    rows = book.page(Filter(), limit=1_000).rows
    text = (csv_header() + csv_lines(rows)).decode()
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert Fraction(line["balanceChange"]) == Fraction(row.balance_change, 10**row.digits)
        assert len(line["amount"].partition(".")[2]) == row.digits
        assert Fraction(line["balanceBefore"]) + Fraction(line["balanceChange"]) == Fraction(
            line["balanceAfter"]
        )
        assert datetime.fromisoformat(line["effectiveAt"]) == row.effective_at
        assert line["recordedAt"].endswith("Z")
        assert line["operationId"] == f"bal_{row.operation}"
        assert line["reversedBy"] == ("" if row.reversed_by is None else f"bal_{row.reversed_by}")
        assert line["comment"] == {None: "", "=1+1": "'=1+1"}.get(row.comment, row.comment)
    assert any(line["balanceChange"].startswith("-") for line in lines)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_csv_quotes_every_text_that_a_spreadsheet_would_run(book: Book, text: str) -> None:
    row = msgspec.structs.replace(
        book.page(Filter(), limit=1).rows[0],
        comment=text,
        reference=text,
        method=text,
        operator_id=text,
        key_id=text,
    )
    [cells] = csv.reader(io.StringIO(csv_lines([row]).decode(), newline=""))
    line = dict(zip(COLUMNS, cells, strict=True))
    for name in ("comment", "reference", "method", "operatorId", "keyId"):
        assert line[name] == f"'{text}"


def test_times_are_utc_in_csv_whatever_zone_the_server_speaks(book: Book) -> None:
    async def in_tokyo(connection: AsyncConnection[Any]) -> list[Row]:
        await connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        rows = (await history.page(connection, Filter(), limit=5)).rows
        await connection.execute("RESET TIME ZONE")
        return rows

    rows = book.ask(in_tokyo)
    assert csv_lines(rows) == csv_lines(book.page(Filter(), limit=5).rows)


# Operations and requests.


def test_an_operation_is_its_events_and_what_answered_it(book: Book) -> None:
    by_operation = defaultdict(list)
    for event in book.log:
        by_operation[event.operation].append(event)
    for operation in [0, -1, *range(1, len(book.log) + 3), 2**63 - 1, 2**63]:
        found = book.ask(operations.operation_events, operation)
        assert found == by_operation.get(operation, [])
    for operation in {leg.operation for leg in book.legs}:
        answers = book.ask(operations.answered_by, operation)
        assert answers == sorted({leg.operation for leg in book.legs if leg.corrects == operation})
        reversal = book.ask(operations.reversed_by, operation)
        assert reversal == book.reversals.get(operation)


def test_a_request_is_found_by_its_id(book: Book) -> None:
    events = book.log
    for request_id in {event.request_id for event in events} - {None}:
        found = book.ask(operations.requested, request_id)
        assert found == [event for event in events if event.request_id == request_id]
    assert book.ask(operations.requested, "never-sent") == []


# What is booked while a question is being answered.


class Meanwhile(AsyncCursor[Any]):
    """A cursor that lets something be booked right before a statement with these words runs."""

    words: ClassVar[bytes] = b""
    happens: ClassVar[Callable[[], Awaitable[object]]]

    async def execute(self, query: Any, *args: Any, **how: Any) -> Meanwhile:
        if self.words in (query if isinstance(query, bytes) else query.encode()):
            await type(self).happens()
        return await super().execute(query, *args, **how)


async def test_restated_figures_count_what_the_page_has_seen(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk, _interrupted(ledger, b"last_at") as reader:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        for _ in range(2):
            await desk.book(deposit(10))
        early = desk.clock() - timedelta(days=1)
        Meanwhile.happens = lambda: desk.book(deposit(5, effective_at=early))
        rows = (await history.page(reader, Filter(basis="effective"))).rows
        assert [row.balance for row in rows] == [2_000, 1_000]
        rows = (await history.page(reader, Filter(basis="effective"))).rows
        assert [row.balance for row in rows] == [2_500, 1_500, 500]


async def test_a_day_that_begins_while_a_page_is_read_is_not_on_it(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 23:59"))
    async with ledger.desk(clock=clock) as desk, _interrupted(ledger, b"FROM history h") as reader:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        await desk.book(deposit(10))
        clock.forward(minutes=2)
        Meanwhile.happens = lambda: desk.book(deposit(5))
        rows = (await history.page(reader, Filter(to_day=date(2026, 11, 18)))).rows
        assert [row.balance_change for row in rows] == [1_000]


@asynccontextmanager
async def _interrupted(ledger: LedgerUnderTest, words: bytes) -> AsyncIterator[AsyncConnection[Any]]:
    Meanwhile.words = words
    async with await AsyncConnection.connect(
        ledger.service, autocommit=True, cursor_factory=Meanwhile
    ) as reader:
        yield reader


# Snapshots, and what a read touches.


async def test_rows_totals_and_closing_are_of_one_moment_in_a_snapshot(ledger: LedgerUnderTest) -> None:
    async with (
        ledger.desk() as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as reader,
    ):
        await desk.book(define_group())
        await desk.book(open_account(1001))
        await desk.book(deposit(10))
        wanted = Filter(login=1001, since=START - timedelta(days=900))
        async with history.snapshot(reader):
            page = await history.page(reader, wanted)
            await desk.book(deposit(5))
            totals = await history.count_and_totals(reader, wanted)
            ends = await history.opening_closing(reader, wanted)
        assert ends is not None
        assert (len(page.rows), totals.count, ends[1].balance) == (1, 1, 1_000)


MANY = """
INSERT INTO history ("position", login, recorded_at, effective_at, operation, amount, balance_change,
    credit_change, balance, credit, server_day, trading_day, digits, kind, currency, group_name)
SELECT n, CASE WHEN n %% 2 = 0 THEN 1001 ELSE 10000 + n %% 4000 END, t, t, n, 1, 1, 0, n, 0, t::date, t::date,
    2, 'deposit', 'USD', 'standard'
FROM (SELECT n, timestamptz '2026-01-01 00:00:00Z' + n * interval '1 minute' AS t
    FROM generate_series(1000, 61000) AS n) AS made
"""


READ = "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'history'::regclass"


async def test_a_page_reads_no_more_rows_than_it_gives_at_any_depth(ledger: LedgerUnderTest) -> None:
    bounds: dict[str, Any] = {"since": at("2026-01-03 00:00"), "until": at("2026-02-03 00:00")}
    async with _much_history(ledger) as reader:
        for wanted in (Filter(login=1001), Filter(login=1001, **bounds), Filter(), Filter(**bounds)):
            deep = (await history.page(reader, wanted, offset=12_000, limit=1)).next
            for cursor in (None, deep):
                assert await _reads(reader, history.page, wanted, cursor=cursor, limit=50) <= 51


async def test_a_deep_offset_passes_over_keys_and_reads_the_rows_of_its_page(ledger: LedgerUnderTest) -> None:
    async with _much_history(ledger) as reader:
        for wanted in (Filter(login=1001), Filter(), Filter(since=at("2026-01-03 00:00"))):
            assert await _reads(reader, history.page, wanted, offset=12_000, limit=50) <= 51


async def test_as_of_reads_one_row_of_history(ledger: LedgerUnderTest) -> None:
    async with _much_history(ledger) as reader:
        for instant in (at("2026-01-03 00:00"), at("2026-02-03 00:00"), at("2027-01-01 00:00")):
            assert await _reads(reader, asof.as_of, 1001, instant) == 1


@asynccontextmanager
async def _much_history(ledger: LedgerUnderTest) -> AsyncIterator[AsyncConnection[Any]]:
    """Give a connection to a ledger with 60,000 rows, half of them one account's."""
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
    ledger.rows(MANY)
    within(HANG_S, lambda: _vacuumed(ledger))
    async with await AsyncConnection.connect(ledger.superuser, autocommit=True) as reader:
        yield reader


def _vacuumed(ledger: LedgerUnderTest) -> bool:
    """Vacuum history; tell whether all its pages are known to be seen by all: some may have been in use."""
    ledger.rows("VACUUM ANALYZE history")
    return bool(ledger.value("SELECT relallvisible = relpages FROM pg_class WHERE oid = 'history'::regclass"))


async def _reads(
    reader: AsyncConnection[Any],
    question: Callable[..., Coroutine[Any, Any, object]],
    *asked: object,
    **how: Any,
) -> int:
    """Count the rows of history that a question reads, at worst: its plan may change as it is repeated."""
    counts = []
    for _ in range(8):
        async with reader.transaction():
            before = await _fetched(reader)
            await question(reader, *asked, **how)
            counts.append(await _fetched(reader) - before)
    return max(counts)


async def _fetched(reader: AsyncConnection[Any]) -> int:
    [(scans, fetched)] = await (await reader.execute(READ)).fetchall()
    assert scans == 0
    return int(fetched)
