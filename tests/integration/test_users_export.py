"""The users export writes what a naive reading of the log and the feed says, to the digit, of one moment."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from ledger.commands import EVERYTHING, Access, DisableAccount, UpdateAccount
from ledger.masks import ALL, Mask, parse_mask
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_filter import Filter
from projections.accounts_scope import resolve
from projections.batch import BatchViews
from projections.totals import Moment
from projections.users_export import STEP, export_lines, read_start
from tests import accounts_model as model
from tests.drive import Clock, LedgerUnderTest
from tests.make import credit, define_group, define_server, deposit, open_account, transfer, withdraw

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from projections.users_export import Format, Rest
    from tests.drive import Desk

pytestmark = pytest.mark.anyio

GROUPS = {
    "STD-USD": ("USD", 2, "gross"),
    "NET-USD": ("USD", 2, "net"),
    "=JPY": ("JPY", 0, "gross"),
    "STD-KWD": ("KWD", 3, "net"),
    "COIN": ("BTC", 8, "gross"),
}
LOGINS = range(1001, 1061)
TEXTS = (
    *("", "Ann", "O'Neil, Ann", 'the "one"', "=1+1", "+30 69", "-5", "@home", "\tx", "\rx", "\nx"),
    *("a\nb", "back\\slash", "\\.", "Zoë 中文 😀", "\x01\x02", "'quoted", "null", "100%"),
)
START = datetime(2026, 10, 30, 9, tzinfo=UTC)
TODAY = datetime(2026, 11, 14, 12, tzinfo=UTC)  # a Saturday, whose trading day is the Monday after it
MOMENT = Moment(now=TODAY, server_day=date(2026, 11, 14), trading_day=date(2026, 11, 16))
FLAGS = ("enable", "enable_read_only", "enable_change_password")


@pytest.fixture(scope="module")
def broker(database_url: str) -> LedgerUnderTest:
    """Give a ledger with some weeks behind it, and open positions."""
    ledger = LedgerUnderTest(database_url, "main")
    asyncio.run(_live(ledger, Random(31)))
    return ledger


async def _live(ledger: LedgerUnderTest, chance: Random) -> None:
    clock = Clock(START)
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_server("UTC", "00:00", "mon-fri", "USD"))
        for group, (currency, digits, mode) in GROUPS.items():
            await desk.book(define_group(group, currency, digits=digits, equity_mode=mode))
        for login in LOGINS:
            await desk.book(open_account(login, group=chance.choice(list(GROUPS)), **_profile(chance)))
        while clock.now < TODAY:
            await _move(desk, chance)
            clock.now = min(TODAY, clock.now + timedelta(hours=chance.randrange(1, 5)))
        await desk.book(deposit(7, login=LOGINS[0]))
        for login in chance.sample(LOGINS, 10):
            await desk.outcome(DisableAccount(login=login))
            await desk.outcome(UpdateAccount(login=login, group=chance.choice(["STD-USD", "NET-USD"])))
    _observe(ledger, chance)


def _profile(chance: Random) -> dict[str, Any]:
    return {
        **{name: chance.choice(TEXTS) for name in model.TEXTS},
        **{name: chance.random() < 0.7 for name in FLAGS},
        "leverage": chance.choice([1, 50, 100]),
        "regdate": chance.choice([0, 1_700_000_000, 2**53 - 1]),
        "magic": chance.randrange(3),
        "customer_id": chance.randrange(3),
    }


async def _move(desk: Desk, chance: Random) -> None:
    login, amount = chance.choice(LOGINS), chance.choice(["1", "10", "100", "900000000"])
    moves = (deposit(amount, login=login), withdraw(amount, login=login), credit(amount, login=login))
    await desk.outcome(chance.choice(moves))


def _observe(ledger: LedgerUnderTest, chance: Random) -> None:
    for login in chance.sample(LOGINS, 40):
        profit, margin = chance.randrange(-20_000, 20_000), chance.choice([0, 1, 3, 7, 8, 800, 12_345])
        ledger.rows(
            "INSERT INTO figures SELECT login, group_name, enable, 1, 0, %s, %s, %s, %s, %s FROM accounts"
            " WHERE login = %s",
            *(profit, -chance.randrange(50), -chance.randrange(50), margin, TODAY, login),
        )
    ledger.rows("INSERT INTO online SELECT login FROM accounts WHERE mod(login, 3) = 0")


@pytest.fixture
async def connection(broker: LedgerUnderTest) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(broker.service, autocommit=True) as connection:
        yield connection


async def nothing() -> None:
    """Rest not at all."""


async def exporting(
    connection: AsyncConnection[Any],
    form: Format = "json",
    *,
    mask: Mask = ALL,
    access: Access = EVERYTHING,
    personal: bool = True,
    moment: Moment = MOMENT,
    rest: Rest = nothing,
    span: int = 25,
) -> AsyncGenerator[list[bytes], None]:
    """Begin an export as a caller would."""
    definitions = await BatchViews().load_definitions(connection)
    scope = resolve(Filter(group_mask=mask, access=access), definitions)
    start = await read_start(connection)
    return export_lines(connection, scope, moment, start, form=form, personal=personal, rest=rest, span=span)


async def exported(connection: AsyncConnection[Any], form: Format = "json", **how: Any) -> str:
    """Export to the end; give the text."""
    lines = await exporting(connection, form, **how)
    return b"".join([line async for some in lines for line in some]).decode()


def expected(ledger: LedgerUnderTest) -> Iterator[dict[str, str]]:
    """Give every account by field, as it must be written."""
    rows = model.all_rows(
        ledger, GROUPS, trading_day=MOMENT.trading_day, month=MOMENT.server_day.replace(day=1)
    )
    for row in rows:
        _, digits, _ = GROUPS[row["group"]]
        yield {name: _written(name, row[name], digits) for name in STRUCTURE}


def _written(name: str, value: str | Fraction, digits: int) -> str:
    if isinstance(value, str):
        return value
    decimals = digits if name in model.MONEY else 2 if name == "margin_level" else 0
    scaled = value * 10**decimals
    assert scaled.denominator == 1
    text = f"{abs(int(scaled)):0{decimals + 1}d}"
    sign = "-" if scaled < 0 else ""
    return f"{sign}{text[:-decimals]}.{text[-decimals:]}" if decimals else sign + text


def _guarded(name: str, text: str) -> str:
    runs = name in (*model.TEXTS, "group") and text[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"}
    return f"'{text}" if text and runs else text


def _table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


async def test_csv_says_what_a_naive_reading_says_and_no_cell_can_be_run(
    broker: LedgerUnderTest, connection: AsyncConnection[Any]
) -> None:
    rows = _table(await exported(connection, "csv"))
    assert rows == [[_guarded(name, row[name]) for name in STRUCTURE] for row in expected(broker)]


async def test_json_says_what_a_naive_reading_says_to_the_digit(
    broker: LedgerUnderTest, connection: AsyncConnection[Any]
) -> None:
    lines = (await exported(connection, "json")).splitlines()
    rows = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    assert rows == [list(row.values()) for row in expected(broker)]


async def test_ndjson_says_the_same_by_name(
    broker: LedgerUnderTest, connection: AsyncConnection[Any]
) -> None:
    lines = (await exported(connection, "ndjson")).splitlines()
    rows = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    assert rows == list(expected(broker))
    assert all(list(row) == list(STRUCTURE) for row in rows)


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
async def test_only_what_is_asked_for_and_may_be_seen_is_exported(
    broker: LedgerUnderTest, connection: AsyncConnection[Any], form: Format
) -> None:
    access = Access(mask=parse_mask("*,!COIN"), logins=frozenset(LOGINS[:30]))
    text = await exported(connection, form, mask=parse_mask("*USD,COIN"), access=access)
    seen = [row for row in expected(broker) if row["group"].endswith("USD") and int(row["login"]) < 1031]
    assert 0 < len(seen) < 30
    logins = (
        [row[0] for row in _table(text)]
        if form == "csv"
        else [str(row["login"] if form == "ndjson" else row[0]) for row in map(json.loads, text.splitlines())]
    )
    assert logins == [row["login"] for row in seen]


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
async def test_personal_columns_are_blank_unless_they_may_be_seen(
    broker: LedgerUnderTest, connection: AsyncConnection[Any], form: Format
) -> None:
    text = await exported(connection, form, personal=False)
    rows = (
        [dict(zip(STRUCTURE, row, strict=True)) for row in _table(text)]
        if form == "csv"
        else [
            row if form == "ndjson" else dict(zip(STRUCTURE, row, strict=True))
            for row in map(json.loads, text.splitlines())
        ]
    )
    assert {row[name] for row in rows for name in PERSONAL} == {""}
    assert len({row["country"] for row in rows}) > 5


async def test_nothing_matches_a_mask_that_selects_nothing(connection: AsyncConnection[Any]) -> None:
    assert await exported(connection, "csv", mask=parse_mask("nothing")) == ""
    access = Access(logins=frozenset())
    assert await exported(connection, "csv", access=access) == ""


# One position.


async def lively(ledger: LedgerUnderTest, desk: Desk, clock: Clock) -> None:
    """Open twelve accounts and book on them for some days, up to the 30th of October."""
    await desk.book(define_group())
    for login in range(1, 13):
        await desk.book(open_account(login))
        await desk.book(deposit(100 + login, login=login))
    clock.forward(days=1)
    for login in range(1, 13, 2):
        await desk.book(deposit(10, login=login))
        await desk.book(credit(3, login=login))
    clock.forward(days=1)
    for login in range(1, 13, 3):
        await desk.book(withdraw(7, login=login))
    ledger.rows(
        "INSERT INTO figures SELECT login, 'standard', true, 1, 0, 500, -1, -2, 300, %s FROM accounts", START
    )


async def stir(desk: Desk, clock: Clock, chance: Random) -> None:
    """Book this and that on any account, on this day, the next, and in another month."""
    for _ in range(12):
        login, other = chance.sample(range(1, 13), 2)
        moves = (
            deposit(5, login=login),
            withdraw(2, login=login),
            credit(4, login=login),
            credit(-1, login=login),
            transfer(6, source=login, target=other),
        )
        await desk.outcome(chance.choice(moves))
        clock.forward(hours=chance.choice([0, 0, 5, 30]))


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_booked_meanwhile_changes_no_line(ledger: LedgerUnderTest, seed: int) -> None:
    chance, clock = Random(seed), Clock(datetime(2026, 10, 28, 9, tzinfo=UTC))
    async with (
        ledger.desk(clock=clock) as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as connection,
    ):
        await lively(ledger, desk, clock)
        moment = Moment(now=clock.now, server_day=clock.now.date(), trading_day=clock.now.date())
        before = await exported(connection, moment=moment)
        lines = await exporting(connection, moment=moment, span=3)
        found = []
        async for some in lines:
            found += some
            await stir(desk, clock, chance)
        assert b"".join(found).decode() == before
        assert await exported(connection, moment=moment) != before


async def test_money_that_moves_meanwhile_is_neither_there_twice_nor_missing(ledger: LedgerUnderTest) -> None:
    async with (
        ledger.desk() as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as connection,
    ):
        await desk.book(define_group())
        for login in (1, 2, 3, 4):
            await desk.book(open_account(login))
        await desk.book(deposit(900, login=4))
        lines = await exporting(connection, span=2)
        rows = [json.loads(line) for line in await anext(lines)]
        await desk.book(transfer(500, source=4, target=1))
        await desk.book(transfer(300, source=4, target=3))
        rows += [json.loads(line) for some in [some async for some in lines] for line in some]
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert sum(row[STRUCTURE.index("balance")] for row in rows) == 900


async def test_an_account_opened_after_a_close_during_the_export_is_whole_and_holds_nothing(
    ledger: LedgerUnderTest,
) -> None:
    clock = Clock(datetime(2026, 10, 31, 20, tzinfo=UTC))
    moment = Moment(now=clock.now, server_day=clock.now.date(), trading_day=clock.now.date())
    forms: tuple[Format, ...] = ("csv", "json", "ndjson")
    async with (
        ledger.desk(clock=clock) as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as connection,
    ):
        await desk.book(define_group())
        for login in (1, 2):
            await desk.book(open_account(login))
        await desk.book(deposit(7, login=1))
        begun = {form: await exporting(connection, form, moment=moment, span=2) for form in forms}
        text = {form: b"".join(await anext(lines)) for form, lines in begun.items()}
        clock.forward(hours=24)
        await desk.book(open_account(3))
        await desk.book(deposit(5, login=1))
        for form, lines in begun.items():
            text[form] += b"".join([line async for some in lines for line in some])
    tables = (
        [dict(zip(STRUCTURE, row, strict=True)) for row in _table(text["csv"].decode())],
        [dict(zip(STRUCTURE, json.loads(row), strict=True)) for row in text["json"].splitlines()],
        [json.loads(row) for row in text["ndjson"].splitlines()],
    )
    for rows in tables:
        assert all(list(row) == list(STRUCTURE) for row in rows)
        assert [int(row["login"]) for row in rows] == [1, 2, 3]
        assert [float(row["balance"]) for row in rows] == [7, 0, 0]
        opened = rows[2]
        money = ("balance", "credit", "prevbalance", "prevmonthbalance", "equity")
        assert {float(opened[name]) for name in money} == {0}


async def test_no_transaction_stays_open_from_step_to_step(broker: LedgerUnderTest) -> None:
    async with await AsyncConnection.connect(broker.service, autocommit=True) as connection:
        async for _ in await exporting(connection):
            assert connection.info.transaction_status == TransactionStatus.IDLE


async def test_an_export_that_is_given_up_leaves_its_connection_ready(broker: LedgerUnderTest) -> None:
    async def give_up() -> None:
        raise ZeroDivisionError

    broker.rows(
        "INSERT INTO profiles SELECT (jsonb_populate_record(p, jsonb_build_object('login', n))).*"
        f" FROM profiles p, generate_series(9000, {9000 + STEP}) n WHERE login = {LOGINS[0]}"
    )
    broker.rows(
        "INSERT INTO accounts SELECT (jsonb_populate_record(a, jsonb_build_object('login', n))).*"
        f" FROM accounts a, generate_series(9000, {9000 + STEP}) n WHERE login = {LOGINS[0]}"
    )
    try:
        async with await AsyncConnection.connect(broker.service, autocommit=True) as connection:
            with pytest.raises(ZeroDivisionError):
                await exported(connection, rest=give_up, span=2 * STEP)
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
    finally:
        broker.rows("DELETE FROM accounts WHERE login >= 9000")
        broker.rows("DELETE FROM profiles WHERE login >= 9000")
