"""What open positions are worth: examples by hand, and the SQL against a naive valuation with fractions."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.money import round_half_even
from projections import valuation
from projections.intake import Intake
from projections.positions import Position, Positions
from projections.quotes import Quote, Quotes
from projections.rates import Pair, Rates, rates_into
from tests.feeding import (
    ACCOUNTS,
    DIGITS,
    GROUPS,
    OBSERVED,
    SYMBOLS,
    FeedUnderTest,
    delta,
    feeding,
    position,
    prepare,
    quotes,
    snapshot,
)
from tests.make import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def feed(ledger: LedgerUnderTest) -> AsyncIterator[FeedUnderTest]:
    """Yield the feed of a ledger with accounts in four currencies."""
    prepare(ledger)
    async with feeding(ledger) as feed:
        yield feed


def money_of(feed: FeedUnderTest, login: int = 1001) -> tuple[int, int, int]:
    """Give profit, margin and how many positions are not valued."""
    figures = feed.figures(login)
    return figures["profit"], figures["margin"], figures["unvalued"]


# Examples.


async def test_a_buy_is_worth_what_its_close_at_bid_would_bring(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.10500", "1.10520")))
    await feed.take(delta(position(1, lots="0.5", at="1.10000")))
    # 0.005 * 0.5 lots * 100,000; margin 50,000 EUR at the mid 1.1051 over leverage 100.
    assert money_of(feed) == (25000, 55255, 0)


async def test_a_sell_is_worth_what_its_close_at_ask_would_bring(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.10500", "1.10520")))
    await feed.take(delta(position(1, lots="0.5", at="1.10000", side="sell")))
    assert money_of(feed)[0] == -26000


async def test_profit_is_converted_from_the_profit_currency_and_margin_from_the_base_currency(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("USDJPY", "149", "151"), ("EURUSD", "1.2", "1.2")))
    await feed.take(delta(position(1, "USDJPY", login=1004, lots="1", at="148")))
    # 1 * 100,000 JPY / 150 = 666.666.. USD / 1.2 = 555.555.. EUR; 100,000 USD / 1.2 / 33 = 2525.2525.. EUR.
    assert money_of(feed, 1004) == (55556, 252525, 0)


async def test_what_the_server_sends_stands_until_its_next_message_on_that_ticket(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    await feed.take(delta(position(1, profit="-7.05", margin="12.34"), position(2, lots="0.01", at="1.1")))
    assert money_of(feed) == (-705 + 10000, 1234 + 1200, 0)
    await feed.take(quotes(("EURUSD", "1.3", "1.3")))
    assert money_of(feed) == (-705 + 20000, 1234 + 1300, 0)
    await feed.take(delta(position(1, lots="0.01", at="1.3")))
    assert money_of(feed) == (20000, 2600, 0)


async def test_storage_and_commission_are_summed_apart(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, storage="-1.50", commission="-3"), position(2, storage="0.25")))
    assert (feed.figures()["storage"], feed.figures()["commission"]) == (-125, -300)


async def test_an_account_is_rounded_once_and_a_tie_goes_to_the_even_cent(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("GOLD", "1.00005", "1.00005")))
    await feed.take(delta(position(1, "GOLD", at="1")))
    assert feed.figures()["profit"] == 0  # half a cent
    await feed.take(delta(position(2, "GOLD", at="1"), position(3, "GOLD", at="1")))
    assert feed.figures()["profit"] == 2  # one and a half


@pytest.mark.parametrize(("lots", "margin"), [("0.005", 0), ("0.015", 2), ("0.025", 2), ("0.0251", 3)])
async def test_a_margin_that_is_a_tie_goes_to_the_even_cent(
    feed: FeedUnderTest, lots: str, margin: int
) -> None:
    await feed.take(delta(position(1, "GOLD", lots=lots)))
    assert feed.figures()["margin"] == margin


async def test_thirds_of_a_cent_that_make_a_half_are_a_tie(feed: FeedUnderTest) -> None:
    # Two JPY profits over 150: 0.25 / 150 USD each, 1/6 of a cent; three of them are half a cent.
    await feed.take(quotes(("USDJPY", "150", "150"), ("NIKKEI", "1.05", "1.05")))
    await feed.take(delta(*(position(n, "NIKKEI", at="1", profit=None) for n in (1, 2, 3))))
    assert feed.figures()["profit"] == 0
    await feed.take(delta(*(position(n, "NIKKEI", at="1") for n in range(4, 10))))
    assert feed.figures()["profit"] == 2


async def test_a_position_without_a_quote_is_counted_and_the_others_are_valued(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, "GOLD", at="1", lots="1"), position(2, "DAX", at="1", profit="5")))
    await feed.take(quotes(("GOLD", "2", "2")))
    # DAX lacks EURUSD for its margin only.
    assert money_of(feed) == (10000 + 500, 100, 1)
    await feed.take(delta(position(3, "PLNCZK")))
    assert money_of(feed)[2] == 2
    assert await valuation.lacking(feed.connection, 1001) == [
        "no quote of PLNCZK",
        "no rate from CZK to USD",
        "no rate from EUR to USD",
        "no rate from PLN to USD",
    ]


async def test_a_rate_that_moves_touches_the_accounts_that_it_converts_for(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("NIKKEI", "110", "110"), ("USDJPY", "100", "100")))
    await feed.take(delta(position(1, "NIKKEI", at="100"), position(2, "NIKKEI", login=1005, at="100")))
    assert (money_of(feed)[0], money_of(feed, 1005)[0]) == (50, 50)
    await feed.take(quotes(("USDJPY", "200", "200")))
    assert (money_of(feed)[0], money_of(feed, 1005)[0]) == (25, 50)


async def test_figures_are_as_old_as_the_oldest_quote_in_them(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("NIKKEI", "110", "110", -5), ("USDJPY", "100", "100", -90)))
    await feed.take(delta(position(1, "NIKKEI"), position(2, "NIKKEI", login=1005)))
    assert (NOW - feed.figures()["quoted_at"]).total_seconds() == 90
    assert (NOW - feed.figures(1005)["quoted_at"]).total_seconds() == 5
    await feed.take(delta(position(1, "NIKKEI", margin="1")))
    assert (NOW - feed.figures()["quoted_at"]).total_seconds() == 90
    await feed.take(delta(position(2, "NIKKEI", login=1005, profit="1", margin="1")))
    assert feed.figures(1005)["quoted_at"] is None


async def test_the_last_position_closed_leaves_zeros(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    await feed.take(delta(position(1, storage="-1"), position(2)))
    await feed.take(delta(closed=[1, 2]))
    assert feed.figures() == dict.fromkeys(feed.figures(), 0) | {"quoted_at": None}
    feed.check_totals()


async def test_a_price_below_zero_is_a_price(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("GOLD", "-37.63", "-37.60")))
    await feed.take(delta(position(1, "GOLD", at="10")))
    assert feed.figures()["profit"] == -476300


async def test_what_no_bigint_holds_is_not_told_and_says_so(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("GOLD", "9999999999", "9999999999"), ("EURUSD", "1", "1")))
    await feed.take(
        delta(position(1, "GOLD", lots="1000000000", at="1"), position(2), position(3, login=1002))
    )
    assert money_of(feed) == (0, 0, 2)
    assert money_of(feed, 1002)[2] == 0
    feed.check_totals()


# Accounts and symbols that change.


async def test_another_leverage_is_another_margin(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1", "1")))
    await feed.take(delta(position(1, at="1")))
    feed.regroup(1001, leverage=50)
    await feed.outcomes()
    assert money_of(feed) == (0, 200000, 0)
    assert feed.ledger.rows("SELECT * FROM regroupings") == []


async def test_the_sums_follow_an_account_to_another_group_at_once(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    await feed.take(delta(position(1), position(2, login=1002), position(3, login=1003)))
    feed.regroup(1001, group="vip")
    feed.regroup(1002, enable=False)
    feed.check_totals()
    feed.regroup(1001, enable=False)
    feed.check_totals()
    await feed.outcomes()
    feed.check_totals()
    assert feed.ledger.value("SELECT group_name FROM figures WHERE login = 1001") == "vip"


async def test_an_account_that_moves_while_it_is_valued_is_placed_by_the_next_valuation(
    feed: FeedUnderTest,
) -> None:
    await feed.take(delta(position(1, storage="-1")))
    feed.ledger.rows("INSERT INTO regroupings VALUES (1001, 1)")
    async with feed.connection.transaction():
        seen = await (await feed.connection.execute('SELECT login, "position" FROM regroupings')).fetchall()
        feed.ledger.rows("INSERT INTO regroupings VALUES (1001, 2)")
        await valuation.placed(feed.connection, seen)
    assert feed.ledger.rows("SELECT * FROM regroupings") == [(1001, 2)]


async def test_another_definition_of_a_symbol_values_its_positions_anew(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("GOLD", "2", "2")))
    await feed.take(delta(position(1, "GOLD", at="1")))
    feed.ledger.rows('UPDATE symbols SET contract_size = 10, "position" = 99 WHERE symbol = %s', "GOLD")
    await feed.outcomes()
    assert money_of(feed)[0] == 1000


async def test_after_a_start_figures_and_their_sums_are_right_whatever_was_wrong_before(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("EURUSD", "1.10500", "1.10520")))
    await feed.take(delta(position(1), position(2, login=1002), seq=1))
    right = feed.observed()
    feed.ledger.rows("UPDATE figures SET margin = margin + 5, profit = profit - 3")
    feed.ledger.rows("UPDATE figure_totals SET margin = margin + 777, orders = orders + 3")
    feed.ledger.rows("INSERT INTO figure_totals VALUES ('nobody', true, 1, 1, 1, 1, 1, 1)")
    feed.intake = Intake()
    await feed.outcomes()
    feed.check_totals()
    assert feed.observed()["figures"] == right["figures"]


async def test_rates_are_read_from_the_quotes_of_symbols_named_after_their_currencies(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("EURUSD", "1.1", "1.3"), ("USDJPY", "150", "150"), ("DAX", "15000", "15001")))
    found = await rates_into(feed.connection, "EUR", ["EUR", "USD", "JPY", "KWD"])
    assert {source: rate.rate for source, rate in found.items()} == {
        "EUR": 1,
        "USD": Fraction(5, 6),
        "JPY": Fraction(1, 180),
    }


async def test_a_rate_by_a_third_currency_is_found_where_nobody_asks_for_that_one(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("EURUSD", "1.1", "1.3"), ("USDJPY", "150", "150")))
    found = await rates_into(feed.connection, "EUR", ["JPY"])
    assert (found["JPY"].rate, found["JPY"].symbols) == (Fraction(1, 180), ("USDJPY", "EURUSD"))


# Any sequence of calls.

PRICES = st.integers(1, 200_000).map(lambda units: f"{units // 1000}.{units % 1000:03}")
MONEY = st.none() | st.integers(-500, 500)


def _position(draw: st.DrawFn, ticket: int) -> Position:
    login = draw(st.sampled_from(sorted(ACCOUNTS)))
    return position(
        ticket,
        draw(st.sampled_from(sorted(SYMBOLS))),
        login=login,
        side=draw(st.sampled_from(["buy", "sell"])),
        lots=draw(st.sampled_from(["0.01", "0.1", "1", "0.003", "33"])),
        at=draw(PRICES),
        **{name: draw(MONEY) for name in ("storage", "commission", "profit", "margin")},
    )


@st.composite
def positions(draw: st.DrawFn) -> list[Position]:
    """Draw positions of different tickets, with whole amounts, which every currency has."""
    tickets = draw(st.lists(st.integers(1, 8), max_size=5, unique=True))
    return [_position(draw, ticket) for ticket in tickets]


@st.composite
def calls(draw: st.DrawFn) -> Any:
    """Draw a message, or a change of an account."""
    match draw(st.sampled_from(["quotes", "quotes", "delta", "snapshot", "account"])):
        case "quotes":
            names = draw(st.lists(st.sampled_from(sorted(SYMBOLS)), max_size=4, unique=True))
            return quotes(*((name, *sorted([draw(PRICES), draw(PRICES)], key=Fraction)) for name in names))
        case "delta":
            return delta(
                *draw(positions()), closed=draw(st.lists(st.integers(1, 8), max_size=2, unique=True))
            )
        case "snapshot":
            return snapshot(*draw(positions()))
        case _:
            group = draw(st.sampled_from(sorted(GROUPS)))
            logins = [login for login, (of, _) in ACCOUNTS.items() if GROUPS[of] == GROUPS[group]]
            changes = {"leverage": draw(st.sampled_from([1, 3, 100])), "enable": draw(st.booleans())}
            return draw(st.sampled_from(logins)), {"group": group, **changes}


class Naive:
    """The same rules, one position at a time, with fractions."""

    def __init__(self) -> None:
        self.quotes: dict[str, Quote] = {}
        self.positions: dict[int, Position] = {}
        self.leverage = {login: leverage for login, (_, leverage) in ACCOUNTS.items()}

    def take(self, message: object) -> None:
        """Take a message."""
        match message:
            case Quotes(quotes=given_quotes):
                self.quotes |= {quote.symbol: quote for quote in given_quotes}
            case Positions(kind="snapshot", positions=given_positions):
                self.positions = {position.ticket: position for position in given_positions}
            case Positions(positions=given_positions, closed=closed):
                self.positions |= {position.ticket: position for position in given_positions}
                for ticket in closed:
                    self.positions.pop(ticket, None)

    def figures(self, login: int) -> tuple[int, ...]:
        """Give orders, unvalued, profit, storage, commission and margin in minor units."""
        mine = [position for position in self.positions.values() if position.login == login]
        currency = GROUPS[ACCOUNTS[login][0]]
        rates = self._rates()
        profits = [self._profit(position, currency, rates) for position in mine]
        margins = [self._margin(position, currency, rates) for position in mine]
        sums: tuple[list[Fraction], ...] = (
            [profit or Fraction(0) for profit in profits],
            [Fraction(0) if p.storage is None else p.storage.value for p in mine],
            [Fraction(0) if p.commission is None else p.commission.value for p in mine],
            [margin or Fraction(0) for margin in margins],
        )
        unvalued = sum(None in pair for pair in zip(profits, margins, strict=True))
        return len(mine), unvalued, *(_minor(sum(amounts, Fraction(0)), currency) for amounts in sums)

    def _rates(self) -> Rates:
        pairs = [
            Pair(name, base, profit, Fraction(quote.bid), Fraction(quote.ask), NOW)
            for name, (base, profit, _) in SYMBOLS.items()
            if name.startswith(base + profit) and (quote := self.quotes.get(name))
        ]
        return Rates(pairs, book_currency="USD")

    def _profit(self, position: Position, currency: str, rates: Rates) -> Fraction | None:
        if position.profit is not None:
            return position.profit.value
        _, profit_currency, size = SYMBOLS[position.symbol]
        quote, rate = self.quotes.get(position.symbol), rates.find(profit_currency, currency)
        if quote is None or rate is None:
            return None
        opened = Fraction(position.open_price)
        moved = Fraction(quote.bid) - opened if position.buy else opened - Fraction(quote.ask)
        return moved * Fraction(position.lots) * Fraction(size) * rate.rate

    def _margin(self, position: Position, currency: str, rates: Rates) -> Fraction | None:
        if position.margin is not None:
            return position.margin.value
        base, _, size = SYMBOLS[position.symbol]
        rate = rates.find(base, currency)
        if rate is None:
            return None
        return Fraction(position.lots) * Fraction(size) * rate.rate / self.leverage[position.login]


def _minor(amount: Fraction, currency: str) -> int:
    scaled = amount * 10 ** DIGITS[currency]
    return round_half_even(scaled.numerator, scaled.denominator)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(calls(), max_size=8))
def test_the_figures_are_those_of_a_naive_valuation_after_any_sequence_of_calls(
    ledger: LedgerUnderTest, sequence: list[Any]
) -> None:
    if not ledger.value("SELECT count(*) FROM accounts"):
        prepare(ledger)
    asyncio.run(_follow(ledger, sequence))


async def _follow(ledger: LedgerUnderTest, sequence: list[Any]) -> None:
    _clear(ledger)
    naive = Naive()
    async with feeding(ledger) as feed:
        for call in sequence:
            if isinstance(call, tuple):
                login, changes = call
                feed.regroup(login, **changes)
                naive.leverage[login] = changes["leverage"]
                feed.check_totals()
                await feed.outcomes()
            else:
                await feed.take(call)
                naive.take(call)
            for login in ACCOUNTS:
                told = tuple(feed.figures(login).values())[:6] or (0,) * 6
                assert told == naive.figures(login), login
            feed.check_totals()


def _clear(ledger: LedgerUnderTest) -> None:
    for table in (*(name for name in OBSERVED if name != "feed_streams"), "regroupings"):
        ledger.rows(f"DELETE FROM {table}")
    for login, (group, leverage) in ACCOUNTS.items():
        ledger.rows(
            "UPDATE accounts SET group_name = %s, leverage = %s, enable = true WHERE login = %s",
            group,
            leverage,
            login,
        )
