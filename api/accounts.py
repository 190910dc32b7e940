"""The accounts list on the wire: what is answered to its question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Context, Decimal
from typing import Any, Final

from msgspec import Raw
from psycopg import AsyncConnection

from api import answers
from api.accounts_query import AccountsBody
from api.answers import money
from api.middleware import Ask
from api.service import Service
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_filter import FIELDS
from projections.accounts_list import AccountsPage, Row, read_accounts
from projections.history import snapshot
from projections.rates import Rate
from projections.totals import TOTALS, CurrencyTotals, Moment, Totals

CHUNK: Final = 250  # rows written without giving way to other callers


Lend = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]


async def answer(
    service: Service, ask: Ask, asked: AccountsBody, *, lend: Lend | None = None
) -> answers.Body:
    """Answer a question from one snapshot of the ledger, over a connection of the readers' or one lent."""
    question = asked.question(access=ask.access, scopes=ask.scopes)
    async with (lend or service.reading)() as connection, snapshot(connection):
        days = await service.days(connection)
        moment = Moment(now=days.now, server_day=days.server_day, trading_day=days.trading_day)
        page = await read_accounts(connection, question, days.definitions, moment)
    return await _page_body(page, ask) | {"position": days.position, "asOf": answers.utc(moment.now)}


_MONEY: Final = tuple(n for n, name in enumerate(STRUCTURE) if FIELDS[name] == "money")
_LEVEL: Final = STRUCTURE.index("margin_level")
_PERSONAL: Final = tuple(STRUCTURE.index(name) for name in PERSONAL)
_RATE_DIGITS: Final = 18


async def _page_body(page: AccountsPage, ask: Ask) -> answers.Body:
    totals = page.totals
    return {
        "structure": STRUCTURE,
        "rows": await _rows(page.rows, () if "users:pii" in ask.scopes else _PERSONAL),
        "count": totals.count,
        **{f"total_{name}": _total(totals, name) for name in TOTALS},
        "totals_currency": totals.currency,
        "totals_by_currency": {name: _of_currency(found) for name, found in totals.by_currency.items()},
        "rates": [_rate(rate) for rate in totals.rates],
        "stale": totals.stale,
        "warnings": totals.warnings,
    }


async def _rows(rows: Sequence[Row], hidden: Sequence[int]) -> list[list[Any]]:
    """Write rows, giving way now and then: no deposit waits for a long page."""
    written: list[list[Any]] = []
    for start in range(0, len(rows), CHUNK):
        written += [cells(row, hidden) for row in rows[start : start + CHUNK]]
        await asyncio.sleep(0)
    return written


def cells(row: Row, hidden: Sequence[int] = ()) -> list[Any]:
    """Write one row in the published order; `hidden` are the places of what the key may not see."""
    *written, digits = row
    for place in _MONEY:
        written[place] = money(written[place], digits)
    written[_LEVEL] = money(int(written[_LEVEL]), 2)
    for place in hidden:
        written[place] = ""
    return written


def _total(totals: Totals, name: str) -> Raw | None:
    return None if totals.totals is None else money(totals.totals[name], totals.digits)


def _of_currency(found: CurrencyTotals) -> answers.Body:
    return {"count": found.count} | {name: money(found.totals[name], found.digits) for name in TOTALS}


def _rate(rate: Rate) -> answers.Body:
    exact = rate.rate
    shown = Context(prec=_RATE_DIGITS).divide(Decimal(exact.numerator), Decimal(exact.denominator))
    return {
        "from": rate.source,
        "to": rate.target,
        "rate": Raw(f"{shown.normalize():f}".encode()),
        "symbols": rate.symbols,
        "quotedAt": None if rate.quoted_at is None else answers.utc(rate.quoted_at),
    }
