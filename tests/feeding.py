"""Feed a ledger in process: a few accounts and symbols, messages, and what the figures then say."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection

from ledger.commands import EVERYTHING, Access
from ledger.money import parse_amount_text
from ledger.refusals import Refusal
from projections.feed import Message, Receipt, streams
from projections.intake import Intake
from projections.online import Online
from projections.positions import Position, Positions
from projections.quotes import Quote, Quotes
from projections.sql import sql
from tests.make import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from projections.feed import Stream
    from projections.intake import Outcome
    from tests.drive import LedgerUnderTest

DIGITS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
SYMBOLS = {
    "EURUSD": ("EUR", "USD", "100000"),
    "USDJPY": ("USD", "JPY", "100000"),
    "KWDUSD": ("KWD", "USD", "100000"),
    "EURJPY": ("EUR", "JPY", "1000"),
    "GOLD": ("USD", "USD", "100"),
    "DAX": ("EUR", "EUR", "1"),
    "NIKKEI": ("JPY", "JPY", "5"),
    "PLNCZK": ("PLN", "CZK", "100000"),
}
GROUPS = {"standard": "USD", "vip": "USD", "euro": "EUR", "yen": "JPY", "dinar": "KWD"}
ACCOUNTS = {
    1001: ("standard", 100),
    1002: ("standard", 30),
    1003: ("vip", 500),
    1004: ("euro", 33),
    1005: ("yen", 7),
    1006: ("dinar", 400),
}


def prepare(ledger: LedgerUnderTest) -> None:
    """Put groups, symbols and accounts of several currencies into an empty ledger's read models."""
    with ledger.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(_PUT_GROUP, [(group, name, DIGITS[name]) for group, name in GROUPS.items()])
        cursor.executemany(_PUT_SYMBOL, [(name, *definition) for name, definition in SYMBOLS.items()])
        rows = [
            (login, DIGITS[GROUPS[group]], leverage, group, GROUPS[group])
            for login, (group, leverage) in ACCOUNTS.items()
        ]
        cursor.executemany(_PUT_ACCOUNT, rows)


class FeedUnderTest:
    """The feed of a ledger, driven message by message, with a clock that stands where it is put."""

    def __init__(self, ledger: LedgerUnderTest, connection: AsyncConnection[Any]) -> None:
        self.ledger = ledger
        self.connection = connection
        self.intake = Intake()
        self.now = NOW

    async def outcomes(self, *messages: Message) -> list[Outcome]:
        """Have messages taken in one transaction."""
        return await self.intake.take(self.connection, messages, clock=lambda: self.now)

    async def take(self, message: Message) -> Receipt:
        """Have one message taken."""
        [outcome] = await self.outcomes(message)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def said(self, message: Message) -> tuple[int, int, list[tuple[int, str]]]:
        """Have one message taken; give how many items were accepted, ignored, and which were refused."""
        receipt = await self.take(message)
        refused = [(item.index, item.refusal.code) for item in receipt.refused]
        return receipt.accepted, receipt.ignored, refused

    def figures(self, login: int = 1001) -> dict[str, Any]:
        """Give an account's figures; nothing where it has no row."""
        rows = self.ledger.rows(f"SELECT {', '.join(FIGURES)} FROM figures WHERE login = %s", login)
        return dict(zip(FIGURES, rows[0], strict=True)) if rows else {}

    def tickets(self) -> list[int]:
        """Give the open tickets."""
        return [ticket for (ticket,) in self.ledger.rows("SELECT ticket FROM positions ORDER BY 1")]

    def observed(self) -> dict[str, list[tuple[Any, ...]]]:
        """Give everything that the feed has written."""
        return {table: sorted(self.ledger.rows(f"SELECT * FROM {table}"), key=repr) for table in OBSERVED}

    async def stream(self, name: str) -> Stream:
        """Give how far a stream has come."""
        return next(stream for stream in await streams(self.connection) if stream.stream == name)

    def regroup(self, login: int, *, group: str | None = None, **changes: object) -> None:
        """Change an account as the writer does."""
        changes |= {} if group is None else {"group_name": group}
        columns = ", ".join(f"{name} = %s" for name in changes)
        self.ledger.rows(f"UPDATE accounts SET {columns} WHERE login = %s", *changes.values(), login)
        self.ledger.rows(
            "INSERT INTO regroupings SELECT %s, count(*) FROM regroupings WHERE login = %s", login, login
        )

    def check_totals(self) -> None:
        """Hold the sums against the rows: as placed, and as the accounts are now."""
        columns = ("orders", "unvalued", "profit", "storage", "commission", "margin")
        sums = ", ".join(f"sum(f.{name})" for name in columns)
        placed = self.ledger.rows(f"SELECT group_name, enable, {sums} FROM figures f GROUP BY 1, 2")
        kept = self.ledger.rows(f"SELECT group_name, enable, {', '.join(columns)} FROM figure_totals")
        assert _nonzero(kept) == _nonzero(placed)
        present = self.ledger.rows(
            f"SELECT a.group_name, a.enable, {sums} FROM figures f JOIN accounts a ON a.login = f.login"
            " GROUP BY 1, 2"
        )
        told = self.ledger.rows(
            f"SELECT group_name, enable, {sums} FROM ({sql('figure_parts')}) AS f GROUP BY 1, 2"
        )
        assert _nonzero(told) == _nonzero(present)


@asynccontextmanager
async def feeding(ledger: LedgerUnderTest) -> AsyncIterator[FeedUnderTest]:
    """Serve the feed of a prepared ledger, as the service's role."""
    async with await AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        yield FeedUnderTest(ledger, connection)


FIGURES = ("orders", "unvalued", "profit", "storage", "commission", "margin", "quoted_at")
OBSERVED = (
    "quotes",
    "positions",
    "position_parts",
    "snapshots",
    "online",
    "feed_streams",
    "figures",
    "figure_totals",
)


def quotes(
    *given: tuple[Any, ...],
    access: Access = EVERYTHING,
    **heading: Any,
) -> Quotes:
    """Tell quotes: symbol, bid, ask, and perhaps how many seconds after NOW they are of."""
    return Quotes(
        access=access,
        quotes=[
            Quote(index=index, symbol=symbol, bid=str(bid), ask=str(ask), quoted_at=_after(later))
            for index, (symbol, bid, ask, *later) in enumerate(given)
        ],
        **heading,
    )


def position(
    ticket: int,
    symbol: str = "EURUSD",
    *,
    login: int = 1001,
    side: str = "buy",
    lots: object = "1",
    at: object = "1.1",
    **money: object,
) -> Position:
    """Tell an open position; its index is filled in by the message."""
    amounts: dict[str, Any] = {
        name: None if written is None else parse_amount_text(str(written), field=name)
        for name, written in money.items()
    }
    return Position(
        index=0,
        ticket=ticket,
        login=login,
        symbol=symbol,
        buy=side == "buy",
        lots=str(lots),
        open_price=str(at),
        **amounts,
    )


def delta(
    *given: Position, closed: Iterable[int] = (), access: Access = EVERYTHING, **heading: Any
) -> Positions:
    """Tell what has changed."""
    return Positions(kind="delta", positions=_numbered(given), closed=list(closed), access=access, **heading)


def snapshot(
    *given: Position,
    part_of: str | None = None,
    final: bool = True,
    access: Access = EVERYTHING,
    **heading: Any,
) -> Positions:
    """Tell all open positions, or a part of them."""
    return Positions(
        kind="snapshot",
        snapshot_id=part_of,
        final=final,
        positions=_numbered(given),
        access=access,
        **heading,
    )


def online(*logins: int, access: Access = EVERYTHING, **heading: Any) -> Online:
    """Tell who is online."""
    return Online(logins=list(logins), access=access, **heading)


_PUT_GROUP = """
INSERT INTO groups (group_name, "position", version, currency, digits, leverage, equity_mode, withdraw_policy,
    refuse_when_stale, coverage) VALUES (%s, 1, 1, %s, %s, 100, 'gross', 'mt', false, false)
"""
_PUT_SYMBOL = """
INSERT INTO symbols (symbol, base_currency, profit_currency, contract_size, "position", version, digits,
    margin_rate, swap_long, swap_short, spread, trade_mode, description)
VALUES (%s, %s, %s, %s::numeric, 1, 1, 5, 1, 0, 0, 0, 'full', '')
"""
_PUT_ACCOUNT = """
INSERT INTO accounts (login, version, balance, credit, balance_before_day, balance_before_month, balance_day,
    balance_month, digits, enable, leverage, group_name, currency)
VALUES (%s, 1, 0, 0, 0, 0, '2026-11-18', '2026-11-01', %s, true, %s, %s, %s)
"""


def _numbered(given: Iterable[Position]) -> list[Position]:
    return [_at(index, position) for index, position in enumerate(given)]


def _at(index: int, position: Position) -> Position:
    values = {name: getattr(position, name) for name in position.__struct_fields__}
    return Position(**(values | {"index": index}))


def _after(later: list[float]) -> datetime | None:
    return NOW + timedelta(seconds=later[0]) if later else None


def _nonzero(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[str, bool], tuple[int, ...]]:
    sums = {(group, enable): tuple(int(value) for value in rest) for group, enable, *rest in rows}
    return {key: values for key, values in sums.items() if any(values)}
