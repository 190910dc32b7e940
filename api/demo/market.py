"""The demo's market: symbols whose prices wander, deals closed at them, and what is open at the end.

Prices are whole points of their symbol, and values are exact fractions: there is no float near money.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Final

import msgspec

from api.demo.clients import Client
from ledger.commands import BookDeal, DefineSymbol
from ledger.money import Amount, format_minor, round_half_even
from projections.positions import Position
from projections.quotes import Quote


class Listing(msgspec.Struct, frozen=True):
    """A symbol as it stands at the start: its price and spread in points, and how restless it is.

    `unrest` is about how many hundredths of a percent it moves in a day.
    """

    symbol: str
    base: str
    profit: str
    contract_size: int
    digits: int
    price: int
    spread: int
    unrest: int
    description: str

    def definition(self) -> DefineSymbol:
        """Give the command that defines it."""
        return DefineSymbol(
            symbol=self.symbol,
            digits=self.digits,
            contract_size=str(self.contract_size),
            base_currency=self.base,
            profit_currency=self.profit,
            spread=self.spread,
            swap_long="-2.5",
            swap_short="-1.25",
            description=self.description,
        )

    @property
    def cross(self) -> bool:
        """Whether its price follows from two others, by way of the dollar."""
        return self.base != self.profit and "USD" not in {self.base, self.profit}

    def value(self, points: int, lots: int) -> Fraction:
        """Give what so many points are worth, in the profit currency, for lots in hundredths."""
        return Fraction(points * lots * self.contract_size, 100 * 10**self.digits)


LISTINGS: Final = (
    Listing("EURUSD", "EUR", "USD", 100_000, 5, 108_450, 12, 45, "Euro against US dollar"),
    Listing("GBPUSD", "GBP", "USD", 100_000, 5, 126_700, 16, 55, "Pound against US dollar"),
    Listing("AUDUSD", "AUD", "USD", 100_000, 5, 65_210, 14, 60, "Australian against US dollar"),
    Listing("NZDUSD", "NZD", "USD", 100_000, 5, 60_870, 18, 60, "New Zealand against US dollar"),
    Listing("USDJPY", "USD", "JPY", 100_000, 3, 150_320, 13, 60, "US dollar against yen"),
    Listing("USDCHF", "USD", "CHF", 100_000, 5, 88_140, 15, 45, "US dollar against Swiss franc"),
    Listing("USDCAD", "USD", "CAD", 100_000, 5, 135_610, 17, 40, "US dollar against Canadian dollar"),
    Listing("EURGBP", "EUR", "GBP", 100_000, 5, 85_590, 14, 30, "Euro against pound"),
    Listing("EURJPY", "EUR", "JPY", 100_000, 3, 163_020, 18, 60, "Euro against yen"),
    Listing("EURCHF", "EUR", "CHF", 100_000, 5, 95_580, 16, 30, "Euro against Swiss franc"),
    Listing("GBPJPY", "GBP", "JPY", 100_000, 3, 190_450, 24, 70, "Pound against yen"),
    Listing("AUDJPY", "AUD", "JPY", 100_000, 3, 98_020, 20, 70, "Australian dollar against yen"),
    Listing("XAUUSD", "XAU", "USD", 100, 2, 233_550, 25, 90, "Gold, an ounce"),
    Listing("XAGUSD", "XAG", "USD", 5_000, 3, 27_420, 22, 160, "Silver, an ounce"),
    Listing("BTCUSD", "BTC", "USD", 1, 2, 6_642_000, 1_500, 300, "Bitcoin"),
    Listing("US500", "USD", "USD", 10, 1, 52_140, 5, 90, "American shares"),
    Listing("US30", "USD", "USD", 5, 0, 39_120, 3, 80, "American industry"),
    Listing("DE40", "EUR", "EUR", 10, 1, 183_450, 12, 90, "German shares"),
    Listing("JP225", "JPY", "JPY", 100, 0, 38_750, 9, 120, "Japanese shares"),
    Listing("UKOIL", "USD", "USD", 1_000, 2, 8_310, 4, 170, "Brent oil, a barrel"),
)
TO_DOLLARS: Final = {
    "EUR": "EURUSD",
    "GBP": "GBPUSD",
    "AUD": "AUDUSD",
    "NZD": "NZDUSD",
    "JPY": "USDJPY",
    "CHF": "USDCHF",
    "CAD": "USDCAD",
}
DEAL_FIRST: Final = 7_000_001
TICKET_FIRST: Final = 41_000_001


class Market:
    """Prices as they stand, and what is traded at them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._listings = {listing.symbol: listing for listing in LISTINGS}
        self._points = {listing.symbol: listing.price for listing in LISTINGS if not listing.cross}
        self._deals = 0
        self._tickets = 0

    def move(self) -> None:
        """Let all prices wander a little."""
        for symbol in self._points:
            step = self._step(self._listings[symbol])
            self._points[symbol] += self._rng.randint(-step, step)

    def deal(self, client: Client, now: datetime) -> BookDeal:
        """Close a deal of a client's; a few come in late, and a very few are ruinous."""
        listing, lots = self._trade(client)
        points = self._rng.randint(-5, 5) * self._step(listing)
        profit = self._in(client, listing, listing.value(points or 1, lots))
        if not client.coverage and not self._rng.randrange(800):
            profit = -client.balance * self._rng.randint(101, 140) // 100
        self._deals += 1
        late = timedelta(hours=self._rng.randint(8, 30)) if not self._rng.randrange(60) else timedelta()
        return BookDeal(
            login=client.login,
            deal_id=str(DEAL_FIRST + self._deals),
            symbol=listing.symbol,
            ticket=self._ticket(),
            lots=format_minor(lots, 2),
            profit=Amount(profit, client.digits, "profit"),
            storage=self._storage(client, lots),
            commission=self._commission(client, lots),
            time=now - late - timedelta(milliseconds=self._rng.randint(40, 900)),
        )

    def quotes(self, now: datetime) -> list[Quote]:
        """Give all prices as they stand."""
        return [
            Quote(
                index=index,
                symbol=listing.symbol,
                bid=format_minor(self._price(listing), listing.digits),
                ask=format_minor(self._price(listing) + listing.spread, listing.digits),
                quoted_at=now,
            )
            for index, listing in enumerate(LISTINGS)
        ]

    def position(self, index: int, client: Client, now: datetime) -> Position:
        """Open a position of a client's, some time ago and near the present price."""
        listing, lots = self._trade(client)
        points = self._price(listing) + self._rng.randint(-8, 8) * self._step(listing)
        return Position(
            index=index,
            ticket=self._ticket(),
            login=client.login,
            symbol=listing.symbol,
            buy=self._rng.randrange(100) < 58,
            lots=format_minor(lots, 2),
            open_price=format_minor(points, listing.digits),
            opened_at=now - timedelta(minutes=self._rng.randint(5, 9_000)),
            storage=self._storage(client, lots),
            commission=self._commission(client, lots),
            margin=self._margin(client, listing, lots),
        )

    def _trade(self, client: Client) -> tuple[Listing, int]:
        """Choose a symbol, and hundredths of lots such that they hold a few times the client's money."""
        listing = self._rng.choice(LISTINGS)
        one = self._in(client, listing, listing.value(self._price(listing), 1))
        wanted = max(client.balance, 0) * self._rng.randint(1, 6) // one
        return listing, min(max(wanted, 1), 5_000)

    def _margin(self, client: Client, listing: Listing, lots: int) -> Amount | None:
        """Give what the trading server says of an index or a commodity, which has no base currency."""
        if listing.base != listing.profit:
            return None
        held = self._in(client, listing, listing.value(self._price(listing), lots))
        return Amount(held // 20, client.digits, "margin")

    def _storage(self, client: Client, lots: int) -> Amount | None:
        if self._rng.randrange(3):
            return None
        minor = -lots * client.minor(1) * self._rng.randint(1, 8) // 100
        return Amount(minor, client.digits, "storage")

    def _commission(self, client: Client, lots: int) -> Amount | None:
        if client.protected:
            return None
        return Amount(-lots * client.minor(6) // 100, client.digits, "commission")

    def _price(self, listing: Listing) -> int:
        """Give the present bid in points."""
        if not listing.cross:
            return self._points[listing.symbol]
        price = self._dollars(listing.base) / self._dollars(listing.profit) * 10**listing.digits
        return round_half_even(price.numerator, price.denominator)

    def _in(self, client: Client, listing: Listing, value: Fraction) -> int:
        """Give a value of the symbol's profit currency in minor units of the client's."""
        worth = value * self._dollars(listing.profit) / self._dollars(client.currency) * 10**client.digits
        return round_half_even(worth.numerator, worth.denominator)

    def _dollars(self, currency: str) -> Fraction:
        if currency == "USD":
            return Fraction(1)
        listing = self._listings[TO_DOLLARS[currency]]
        price = Fraction(self._points[listing.symbol], 10**listing.digits)
        return price if listing.base == currency else 1 / price

    def _step(self, listing: Listing) -> int:
        return max(1, listing.price * listing.unrest // (10_000 * 3))

    def _ticket(self) -> int:
        self._tickets += 1
        return TICKET_FIRST + self._tickets
