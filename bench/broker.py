"""A big broker, built in bulk: what the claims about lists, reports and the feed are measured on.

Groups and symbols go through the writer; accounts, history, positions and quotes are made by the database
itself (broker.sql), and agree with each other and with every sum. Of the log there is only what the writer
needs to go on from: those definitions, and one event at the position after the last of history.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations, cycle
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import uvloop
from psycopg import Connection

from api.clocks import real_now
from api.database import Database
from bench.ground import Ground, Ledger, carry_out
from bench.sample import Plan
from ledger.codec import read_event
from ledger.commands import DefineGroup, DefineSymbol
from ledger.events import Event, SymbolDefined, encode
from projections.intake import Intake

LOGIN_FIRST: Final = 100_001
MASK: Final = "std-*"
"""Selects 35 of 100 accounts, in 24 of the groups."""

AMOUNT: Final = "125"
BUSY: Final = 50_000
"""How many accounts have deposits: a generator of loads prepares a request for each."""

KIND_SHARES: Final = {"std": 350, "ecn": 200, "vip": 200, "pro": 150, "test": 100}
GROUPS_OF_KIND: Final = 24
CURRENCIES: Final = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0}
COVERAGE: Final = "test-JPY-24"
SYMBOLS: Final = 500
PAST: Final = timedelta(days=90)
OPERATIONS: Final = 5
_IN_DOLLARS: Final = {
    "EUR": "1.08",
    "GBP": "1.26",
    "AUD": "0.66",
    "NZD": "0.61",
    "USD": "1",
    "CAD": "0.73",
    "CHF": "1.13",
    "PLN": "0.25",
    "NOK": "0.094",
    "SEK": "0.096",
    "JPY": "0.0067",
    "HUF": "0.0028",
}


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what."""

    accounts: int

    @property
    def history(self) -> int:
        """Rows of history."""
        return OPERATIONS * self.accounts

    @property
    def holders(self) -> int:
        """Accounts with open positions."""
        return self.accounts * 12 // 100

    @property
    def positions(self) -> int:
        """Open positions."""
        return self.accounts // 4

    def __str__(self) -> str:
        open_positions = f"{self.positions:,} open positions on {self.holders:,} accounts"
        return f"{self.accounts:,} accounts, {self.history:,} rows of history, {open_positions}"


class Symbol(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol with its price at first. A currency pair is a rate, a CFD is not."""

    number: int
    name: str
    base: str
    profit: str
    contract_size: str
    digits: int
    mid: Decimal

    @property
    def defining(self) -> DefineSymbol:
        """Give the command that defines it."""
        return DefineSymbol(
            symbol=self.name,
            digits=self.digits,
            contract_size=self.contract_size,
            base_currency=self.base,
            profit_currency=self.profit,
        )


class Broker(msgspec.Struct, frozen=True):
    """The loaded ledger."""

    ledger: Ledger
    size: Size
    symbols: tuple[Symbol, ...]
    seconds: float

    @property
    def busy(self) -> tuple[int, int]:
        """The first login, and how many from it on are to have deposits."""
        return LOGIN_FIRST, min(self.size.accounts, BUSY)

    @property
    def deposits(self) -> dict[str, Any]:
        """What a load of deposits is to say; the amount is one in any currency."""
        return {"logins": self.busy, "amount": AMOUNT}

    def age_last_quote(self) -> None:
        """Let the quote of the last symbol be an hour older than the others: its market has closed."""
        name = self.symbols[-1].name
        self.ledger.execute(
            f"UPDATE quotes SET quoted_at = quoted_at - interval '1 hour' WHERE symbol = '{name}';"
            " UPDATE figures SET quoted_at = quoted_at - interval '1 hour'"
            f" WHERE login IN (SELECT login FROM positions WHERE symbol = '{name}')"
        )

    def settle(self) -> None:
        """Work the sums out anew, after somebody wrote without them."""
        with psycopg.connect(self.ledger.superuser) as connection:
            connection.execute(_script("broker_sums"))

    @property
    def note(self) -> str:
        """Say what was loaded."""
        of = f"{len(groups())} groups, {len(self.symbols)} symbols"
        return f"{self.size}, {of}; loaded in {self.seconds:.0f} s"


@functools.cache
def broker_of(ground: Ground, plan: Plan) -> Broker:
    """Give the broker that all claims share."""
    return load(Ledger(ground.url, ground.new_name()), Size(accounts=plan.accounts))


def load(ledger: Ledger, size: Size) -> Broker:
    """Fill a ledger that is empty yet."""
    began, symbols = time.monotonic(), tuple(_symbols())
    until = real_now() - timedelta(seconds=1)
    since = until - PAST
    uvloop.run(_define(ledger, symbols, since))
    with psycopg.connect(ledger.superuser) as connection:
        connection.execute("SET synchronous_commit = off")
        first = _prepare(connection, ledger, size, symbols, since=since, until=until)
        connection.execute(_script("broker"))
        connection.execute(_script("broker_sums"))
        _lift_head(connection, first + size.history, until)
    ledger.execute("VACUUM ANALYZE")
    uvloop.run(_value(ledger))
    return Broker(ledger, size, symbols, time.monotonic() - began)


def groups() -> list[DefineGroup]:
    """Give the definitions of all groups: every kind in every currency, with both ways to count equity."""
    names = [
        (f"{kind}-{currency}-{number:02}", currency, number)
        for kind in KIND_SHARES
        for number, currency in zip(range(1, GROUPS_OF_KIND + 1), cycle(CURRENCIES), strict=False)
    ]
    return [
        DefineGroup(
            group=name,
            currency=currency,
            digits=CURRENCIES[currency],
            equity_mode="net" if number % 3 == 0 else "gross",
            coverage=name == COVERAGE,
        )
        for name, currency, number in names
    ]


async def _define(ledger: Ledger, symbols: Iterable[Symbol], since: datetime) -> None:
    commands = [ledger.owner, *groups(), *(symbol.defining for symbol in symbols)]
    async with ledger.writer(now=lambda: since) as writer:
        await carry_out(writer, commands)


def _symbols() -> Iterator[Symbol]:
    """Give the pairs of all currencies, twice, then CFDs."""
    pairs = [(base, profit, suffix) for suffix in ("", ".m") for base, profit in combinations(_IN_DOLLARS, 2)]
    for number, (base, profit, suffix) in enumerate(pairs):
        price = Decimal(_IN_DOLLARS[base]) / Decimal(_IN_DOLLARS[profit])
        yield _symbol(
            number, price, f"{base}{profit}{suffix}", base=base, profit=profit, contract_size="100000"
        )
    for number, currency in zip(range(len(pairs), SYMBOLS), cycle(CURRENCIES), strict=False):
        price = Decimal(100 + 17 * number)
        yield _symbol(number, price, f"CFD{number:03}", base=currency, profit=currency, contract_size="1")


def _symbol(number: int, price: Decimal, name: str, *, base: str, profit: str, contract_size: str) -> Symbol:
    digits = 5 if price < 10 else 3 if price < 1_000 else 2
    return Symbol(
        number=number,
        name=name,
        base=base,
        profit=profit,
        contract_size=contract_size,
        digits=digits,
        mid=round(price, digits),
    )


def _prepare(
    connection: Connection[Any],
    ledger: Ledger,
    size: Size,
    symbols: Iterable[Symbol],
    *,
    since: datetime,
    until: datetime,
) -> int:
    """Tell broker.sql how much of what; give the first position of history."""
    [[first]] = connection.execute("SELECT max(notification_id) + 1 FROM ledger_events").fetchall()
    connection.execute(
        "CREATE TEMP TABLE size AS SELECT %s::bigint AS accounts, %s::bigint AS holders,"
        " %s::bigint AS positions, %s::bigint AS first_login, %s::bigint AS first_position,"
        " %s::timestamptz AS since, %s::timestamptz AS until, %s::text AS key_id",
        [size.accounts, size.holders, size.positions, LOGIN_FIRST, first, since, until, ledger.owner.key],
    )
    connection.execute(
        "CREATE TEMP TABLE slot (number bigint, group_name text, currency text, digits smallint)"
    )
    connection.execute("CREATE TEMP TABLE price (number bigint, symbol text, mid numeric, digits smallint)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO slot VALUES (%s, %s, %s, %s)", list(_slots()))
        prices = [(symbol.number, symbol.name, symbol.mid, symbol.digits) for symbol in symbols]
        cursor.executemany("INSERT INTO price VALUES (%s, %s, %s, %s)", prices)
    connection.execute("ANALYZE slot, price, size")
    return int(first)


def _script(name: str) -> bytes:
    return Path(__file__).with_name(f"{name}.sql").read_bytes()


def _slots() -> Iterator[tuple[int, str, str, int]]:
    """Give a thousand slots for accounts to fall into: how many are a group's is how large it is."""
    number = 0
    for place, (_, share) in enumerate(KIND_SHARES.items()):
        own = groups()[place * GROUPS_OF_KIND : (place + 1) * GROUPS_OF_KIND]
        for turn in range(share):
            group = own[turn % GROUPS_OF_KIND]
            yield number, group.group, group.currency, CURRENCIES[group.currency]
            number += 1


def _lift_head(connection: Connection[Any], position: int, now: datetime) -> None:
    """Repeat the last event at the position after history: from there the writer goes on."""
    query = "SELECT topic, state FROM ledger_events ORDER BY notification_id DESC LIMIT 1"
    [[topic, state]] = connection.execute(query).fetchall()
    event = _later(read_event(state, topic=topic), position, now)
    connection.execute(
        "INSERT INTO ledger_events"
        " (notification_id, originator_id, originator_version, topic, state, leaf_hash) VALUES ("
        "%(position)s, %(stream)s, %(version)s, %(topic)s, %(state)s, sha256('\\x00'::bytea || %(state)s))",
        msgspec.structs.asdict(event) | {"topic": topic, "state": encode(event)},
    )


def _later(event: Event, position: int, now: datetime) -> Event:
    assert isinstance(event, SymbolDefined)
    today = now.astimezone(UTC).date()
    return msgspec.structs.replace(
        event,
        position=position,
        operation=position,
        version=event.version + 1,
        recorded_at=now,
        server_day=today,
        trading_day=today,
        request_id=None,
    )


async def _value(ledger: Ledger) -> None:
    """Have the figures worked out, as a service does when it starts."""
    database = Database(ledger.url, ledger.name)
    await database.open()
    async with database.feeding() as connection:
        await Intake().take(connection, [], clock=real_now)
    await database.close()
