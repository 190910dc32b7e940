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
    contract_size: msgspec.Raw
    base_currency: str
    profit_currency: str
    margin_rate: msgspec.Raw
    swap_long: msgspec.Raw
    swap_short: msgspec.Raw
    spread: int
    trade_mode: str
    description: str


async def symbols(connection: AsyncConnection[Any]) -> list[Symbol]:
    """Read all symbols, by name."""
    rows = await (await connection.execute(_ALL)).fetchall()
    return [_symbol(dict(zip(Symbol.__struct_fields__, row, strict=True))) for row in rows]


def symbol_of(event: SymbolDefined) -> Symbol:
    """Give the definition that an event set."""
    return _symbol({name: getattr(event, name) for name in Symbol.__struct_fields__})


def symbol_body(symbol: Symbol) -> dict[str, Any]:
    """Give a definition by the published names."""
    names = zip(symbol.__struct_encode_fields__, symbol.__struct_fields__, strict=True)
    return {published: getattr(symbol, name) for published, name in names}


def _symbol(values: dict[str, Any]) -> Symbol:
    """Write the decimals out: a tiny one would get an exponent."""
    written = {name: msgspec.Raw(f"{Decimal(values[name]):f}".encode()) for name in _DECIMALS}
    return Symbol(**values | written)


_DECIMALS = ("contract_size", "margin_rate", "swap_long", "swap_short")
_ALL: LiteralString = """
SELECT symbol, digits, contract_size, base_currency, profit_currency, margin_rate, swap_long, swap_short,
    spread, trade_mode, description
FROM symbols ORDER BY symbol
"""
