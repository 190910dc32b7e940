"""The lines of history that the database writes are those that Python would have written, byte for byte."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from ledger.commands import Access
from ledger.masks import parse_mask
from ledger.money import DIGITS_MAX
from projections import history
from projections.history import Filter
from projections.history_csv import csv_lines
from projections.history_text import history_text
from tests.drive import LedgerUnderTest
from tests.make import define_group, deposit, open_account, reverse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

ROWS = 1_500
LOGINS = range(1001, 1008)
GROUPS = ("STD", "=VIP", 'a,"b"', "+")
START = datetime(2026, 10, 30, 9, tzinfo=UTC)
SIGNS = (
    *("", "=", "+", "-", "@", "\t", "\r", "\n", "'", '"', ",", " ", "\\", "%", "{"),
    *("%%s", "中", "😀", "\x01"),
)
COLUMNS = (
    *("position", "login", "operation", "recorded_at", "effective_at", "server_day", "trading_day"),
    *("amount", "balance_change", "credit_change", "balance", "credit", "digits"),
    *("corrects", "reversed_by", "peer", "kind", "currency", "group_name", "warnings"),
    *("request_id", "reference", "method", "comment", "operator_id", "key_id", "metadata"),
)
WANTED = (
    Filter(),
    Filter(login=1003),
    Filter(kinds=("deposit", "charge"), group_mask=parse_mask("STD")),
    Filter(since=START + timedelta(minutes=3), until=START + timedelta(minutes=15)),
    Filter(access=Access(mask=parse_mask("STD"), logins=frozenset({1002, 1005}))),
    Filter(login=9999),
)


@pytest.fixture(scope="module")
def written(database_url: str) -> LedgerUnderTest:
    """Give a ledger whose history holds anything that a row can hold."""
    ledger = LedgerUnderTest(database_url, "main")
    chance = Random(23)
    asyncio.run(_open(ledger))
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    values = ", ".join(f"%({name})s" for name in COLUMNS)
    with psycopg.connect(ledger.superuser) as connection, connection.cursor() as cursor:
        rows = [_row(number, chance) for number in range(100, 100 + ROWS)]
        cursor.executemany(f"INSERT INTO history ({names}) VALUES ({values})".encode(), rows)
    return ledger


async def _open(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await desk.book(define_group("STD"))
        for login in LOGINS:
            await desk.book(open_account(login, group="STD"))


def _row(position: int, chance: Random) -> dict[str, Any]:
    recorded_at = START + timedelta(seconds=position // 3, microseconds=chance.choice([0, 10, 120_000, 7]))
    late = timedelta(seconds=chance.choice([0, 0, 0, 5, 1_000]), microseconds=chance.choice([0, 1]))
    day = date(2026, 10, 30) + timedelta(days=position // 400)
    changes = {name: chance.randrange(-(10 ** chance.randrange(1, 17)), 10**6) for name in COLUMNS[7:12]}
    others = {
        name: chance.choice([None, position, position - 1, 100 + ROWS, 100 + 2 * ROWS])
        for name in ("corrects", "reversed_by", "peer")
    }
    texts = {name: chance.choice([None, "", _text(chance), _text(chance)]) for name in COLUMNS[20:]}
    return changes | others | texts | {
        "position": position,
        "operation": position - 1,  # a second leg, whose reference need not be its own
        "login": chance.choice(LOGINS),
        "recorded_at": recorded_at,
        "effective_at": recorded_at - (late if chance.random() < 0.3 else timedelta(0)),
        "server_day": day,
        "trading_day": day + timedelta(days=chance.choice([0, 0, 2])),
        "digits": chance.randrange(DIGITS_MAX + 1),
        "kind": chance.choice(["deposit", "withdrawal", "charge"]),
        "currency": chance.choice(["USD", "JPY"]),
        "group_name": chance.choice(GROUPS),
        "warnings": chance.choice([None, "figures_stale", "figures_stale,late"]),
    }  # fmt: skip


def _text(chance: Random) -> str:
    return chance.choice(SIGNS) + "".join(chance.choices(("x", "1", *SIGNS), k=chance.randrange(4)))


@pytest.mark.parametrize("basis", ["recorded", "effective"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("wanted", WANTED, ids=range(len(WANTED)))
async def test_the_text_is_that_of_the_rows(
    written: LedgerUnderTest, wanted: Filter, basis: Any, order: Any
) -> None:
    wanted = Filter(**{name: getattr(wanted, name) for name in wanted.__struct_fields__} | {"basis": basis})
    async with await AsyncConnection.connect(written.service, autocommit=True) as reader:
        rows = [row async for rows in history.stream(reader, wanted, order=order) for row in rows]
        for step in (1_000, 97):
            text = await _text_of(reader, wanted, order=order, step=step)
            assert text.split(b"\r\n") == csv_lines(rows).split(b"\r\n")
    assert bool(rows) == (wanted.login != 9999)


async def test_times_are_utc_in_the_text_whatever_zone_the_server_speaks(written: LedgerUnderTest) -> None:
    async with await AsyncConnection.connect(written.service, autocommit=True) as reader:
        for basis in ("recorded", "effective"):
            wanted = Filter(basis=basis, until=START + timedelta(minutes=4))
            text = await _text_of(reader, wanted)
            await reader.execute("SET TIME ZONE 'Asia/Tokyo'")
            assert await _text_of(reader, wanted) == text
            await reader.execute("RESET TIME ZONE")
            assert text


@pytest.mark.parametrize("basis", ["recorded", "effective"])
async def test_what_is_booked_meanwhile_is_not_in_the_text(ledger: LedgerUnderTest, basis: Any) -> None:
    wanted = Filter(basis=basis)
    async with (
        ledger.desk() as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as reader,
    ):
        await desk.book(define_group())
        await desk.book(open_account(1001))
        first = [(await desk.book(deposit(n)))[0] for n in range(1, 8)]
        before = await _text_of(reader, wanted)

        async def book() -> None:
            assert reader.info.transaction_status is TransactionStatus.IDLE
            await desk.outcome(reverse(first[0].operation))
            await desk.book(deposit(5, effective_at=first[0].recorded_at - timedelta(days=1)))

        for order in ("asc", "desc"):
            assert await _text_of(reader, wanted, order=order, step=2, rest=book) in _either(before)
            before = await _text_of(reader, wanted)


async def test_a_text_that_nobody_reads_on_leaves_nothing_behind(written: LedgerUnderTest) -> None:
    async with await AsyncConnection.connect(written.service, autocommit=True) as reader:
        text = history_text(reader, Filter(basis="effective"), order="asc", rest=_no_rest, step=3)
        async with aclosing(text):
            await anext(text)
        held = await reader.execute("SELECT count(*) FROM pg_cursors WHERE is_holdable")
        assert await held.fetchone() == (0,)


def _either(text: bytes) -> tuple[bytes, bytes]:
    """Give the text, and the same lines in the other order."""
    lines = text.splitlines(keepends=True)
    return text, b"".join(reversed(lines))


async def _text_of(
    reader: AsyncConnection[Any],
    wanted: Filter,
    *,
    order: Any = "asc",
    step: int = 1_000,
    rest: Callable[[], Awaitable[None]] | None = None,
) -> bytes:
    text = history_text(reader, wanted, order=order, rest=rest or _no_rest, step=step)
    return b"".join([chunk async for chunk in text])


async def _no_rest() -> None:
    """Let nobody else go first."""
