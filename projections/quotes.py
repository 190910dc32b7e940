"""Quotes: the latest per symbol wins."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

import msgspec

from ledger.funding import CLOCKS_APART
from ledger.refusals import Refusal, ValidationError
from projections.feed import Desk, ItemRefused, Message, Receipt, refused_item, unknown_symbol
from projections.sql import sql
from projections.valuation import Listed


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's price at a moment, as exact decimal texts; without a time it is of now."""

    index: int
    symbol: str
    bid: str
    ask: str
    quoted_at: datetime | None = None


class Quotes(Message, frozen=True, kw_only=True):
    """POST /feed/quotes."""

    STREAM: ClassVar[str] = "quotes"
    FOR_ALL: ClassVar[bool] = True
    quotes: list[Quote]

    @property
    def size(self) -> int:
        return len(self.quotes) + len(self.refused)


async def take(desk: Desk, message: Quotes) -> Receipt:
    """Put the quotes in the place of older ones."""
    if not desk.admits(message):
        return Receipt(ignored=message.size)
    symbols = await desk.symbols()
    latest, refused = _latest(message, symbols, desk.now)
    newer = await _replace(desk, list(latest.values()))
    desk.touched.symbols |= newer
    told = len(message.quotes) + len(message.refused) - len(refused)
    return Receipt(accepted=len(newer), ignored=told - len(newer), refused=refused)


def _latest(
    message: Quotes, symbols: dict[str, Listed], now: datetime
) -> tuple[dict[str, Quote], list[ItemRefused]]:
    latest: dict[str, Quote] = {}
    refused = list(message.refused)
    for quote in message.quotes:
        try:
            dated = _checked(quote, symbols, now)
        except Refusal as refusal:
            refused.append(refused_item(quote.index, refusal, symbol=quote.symbol))
            continue
        known = latest.get(quote.symbol)
        if known is None or _time(known) <= _time(dated):
            latest[quote.symbol] = dated
    return latest, refused


def _checked(quote: Quote, symbols: dict[str, Listed], now: datetime) -> Quote:
    """Refuse a quote that cannot be a price; date one that says no time."""
    listed = symbols.get(quote.symbol)
    if listed is None:
        raise unknown_symbol(quote.symbol)
    if quote.quoted_at is not None and quote.quoted_at > now + CLOCKS_APART:
        raise ValidationError("bad_quote", "timeMs must not be in the future", field="timeMs")
    bid, ask = Decimal(quote.bid), Decimal(quote.ask)
    if bid > ask:
        raise ValidationError("bad_quote", "bid must not be above ask", field="bid")
    # A price can fall below zero, as oil has; a rate of exchange cannot, and two zeros are no price.
    if (bid <= 0 and listed.is_rate) or bid == ask == 0:
        raise ValidationError("bad_quote", "bid and ask must be above zero", field="bid")
    return quote if quote.quoted_at is not None else msgspec.structs.replace(quote, quoted_at=now)


def _time(quote: Quote) -> datetime:
    assert quote.quoted_at is not None
    return quote.quoted_at


async def _replace(desk: Desk, quotes: list[Quote]) -> set[str]:
    """Write the quotes that are not older than those known; give their symbols."""
    if not quotes:
        return set()
    params = {
        "symbols": [quote.symbol for quote in quotes],
        "bids": [quote.bid for quote in quotes],
        "asks": [quote.ask for quote in quotes],
        "times": [quote.quoted_at for quote in quotes],
        "now": desk.now,
    }
    rows = await (await desk.connection.execute(sql("quotes").encode(), params)).fetchall()
    return {symbol for (symbol,) in rows}
