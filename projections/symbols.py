"""Symbols as they are read: what the broker offers to trade, and on what terms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from ledger.events import SymbolDefined


class Symbol(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One symbol's present definition; `contract_size` in units of the base currency a lot."""

    symbol: str
    digits: int
    contract_size: Decimal
    base_currency: str
    profit_currency: str
    margin_rate: Decimal
    swap_long: Decimal
    swap_short: Decimal
    spread: int
    trade_mode: str
    description: str


async def symbols(connection: AsyncConnection[Any]) -> list[Symbol]:
    """Read all symbols, by name."""
    rows = await (await connection.execute(_ALL)).fetchall()
    return [Symbol(**dict(zip(Symbol.__struct_fields__, row, strict=True))) for row in rows]


def symbol_of(event: SymbolDefined) -> Symbol:
    """Give the definition that an event set."""
    values = {name: getattr(event, name) for name in Symbol.__struct_fields__}
    return Symbol(**values | {name: Decimal(values[name]) for name in _DECIMALS})


_DECIMALS = ("contract_size", "margin_rate", "swap_long", "swap_short")
_ALL: LiteralString = """
SELECT symbol, digits, contract_size, base_currency, profit_currency, margin_rate, swap_long, swap_short,
    spread, trade_mode, description
FROM symbols ORDER BY symbol
"""
