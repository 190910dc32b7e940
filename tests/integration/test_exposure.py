"""Exposure: examples by hand, and the report against a naive one, position by position with fractions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.commands import EVERYTHING, Access
from ledger.masks import ALL, Mask, parse_mask
from projections import exposure
from projections.accounts_filter import Filter
from projections.accounts_scope import resolve
from projections.batch import BatchViews
from projections.exposure import Exposure, OfCurrency, OfGroup, OfSymbol
from projections.market import OLD_QUOTE
from projections.rates import Rates, load_rates
from projections.totals import Moment
from tests.drive import LedgerUnderTest
from tests.feeding import (
    ACCOUNTS,
    GROUPS,
    OBSERVED,
    SYMBOLS,
    FeedUnderTest,
    delta,
    feeding,
    position,
    prepare,
    quotes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = pytest.mark.anyio

COVERAGE = "vip"
"""The group of account 1003: the broker's own positions elsewhere."""


@pytest.fixture
async def feed(ledger: LedgerUnderTest) -> AsyncIterator[FeedUnderTest]:
    """Yield the feed of a ledger with accounts in four currencies, one of them for coverage."""
    furnish(ledger)
    async with feeding(ledger) as feed:
        yield feed


def furnish(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    ledger.rows("UPDATE groups SET coverage = true WHERE group_name = %s", COVERAGE)
    ledger.rows("UPDATE accounts SET balance = 100000, credit = 5000, balance_before_day = 100000")
    ledger.rows(
        "INSERT INTO totals SELECT group_name, enable, '-infinity', '-infinity', count(*), sum(balance),"
        " sum(credit), sum(balance), sum(balance) FROM accounts GROUP BY 1, 2"
    )


async def ask(feed: FeedUnderTest, by: str, *, mask: Mask = ALL, access: Access = EVERYTHING) -> Exposure:
    """Ask as a caller would."""
    definitions = await BatchViews().load_definitions(feed.connection)
    scope = resolve(Filter(group_mask=mask, access=access), definitions)
    moment = Moment(now=feed.now, server_day=feed.now.date(), trading_day=feed.now.date())
    question = {"symbol": exposure.by_symbol, "group": exposure.by_group, "currency": exposure.by_currency}
    return await question[by](feed.connection, scope, definitions, moment)


async def symbol(feed: FeedUnderTest, name: str = "EURUSD") -> OfSymbol:
    found = await ask(feed, "symbol")
    return next(row for row in found.rows if isinstance(row, OfSymbol) and row.symbol == name)


async def group(feed: FeedUnderTest, name: str = "standard") -> OfGroup:
    found = await ask(feed, "group")
    return next(row for row in found.rows if isinstance(row, OfGroup) and row.group.group == name)


async def currencies(feed: FeedUnderTest) -> dict[str, tuple[Any, Any, Any]]:
    rows = (await ask(feed, "currency")).rows
    return {row.currency: (row.clients, row.coverage, row.net) for row in rows if isinstance(row, OfCurrency)}


# By symbol.


async def test_prices_are_weighted_by_volume_and_sides_are_apart(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.3")))
    await feed.take(
        delta(
            position(1, lots="1", at="1.1"),
            position(2, lots="0.5", at="1.15", login=1002),
            position(3, lots="0.25", at="1.4", side="sell"),
        )
    )
    clients = (await symbol(feed)).clients
    assert clients.orders == 3
    assert (clients.buy_lots, clients.sell_lots, clients.net_lots) == (
        Fraction("1.5"),
        Fraction("0.25"),
        Fraction("1.25"),
    )
    assert clients.buy_price == Fraction("1.675") / Fraction("1.5")
    assert clients.sell_price == Fraction("1.4")
    # 0.1 and 0.05 won on what was bought, at bid; 0.1 on what was sold, at ask.
    assert clients.profit == 10_000 + 2_500 + 2_500


async def test_coverage_stands_apart_and_takes_its_share_away(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    await feed.take(delta(position(1, lots="3", at="1.1"), position(2, lots="2", at="1.15", login=1003)))
    row = await symbol(feed)
    assert (row.clients.orders, row.coverage.orders) == (1, 1)
    assert [row.coverage.buy_lots, row.coverage.profit] == [2, 10_000]
    assert [row.uncovered_lots, row.uncovered_profit] == [1, 20_000]


async def test_a_side_without_positions_has_no_price(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, profit="1")))
    row = await symbol(feed)
    assert row.clients.sell_price is None
    assert [row.coverage.orders, row.coverage.buy_price, row.coverage.profit] == [0, None, 0]


async def test_what_the_server_sent_counts_as_sent_in_the_currency_of_the_account(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2"), ("USDJPY", "150", "150")))
    await feed.take(
        delta(position(1, profit="-7.05"), position(2, login=1004, profit="10"), position(3, login=1005))
    )
    # 10 EUR are 12 USD; the yen account won 0.1 * 100,000 USD as 1,500,000 JPY.
    assert (await symbol(feed)).clients.profit == Fraction("-7.05") + 12 + 10_000


async def test_profit_goes_through_the_currency_of_the_account(feed: FeedUnderTest) -> None:
    # The quotes of the triangle do not agree, and the broker owes the account in its own currency.
    await feed.take(quotes(("EURUSD", "1.25", "1.25"), ("USDJPY", "100", "100"), ("EURJPY", "200", "200")))
    await feed.take(delta(position(1, "USDJPY", login=1004, lots="1", at="90")))
    # 1,000,000 JPY are 5,000 EUR by EURJPY, which are 6,250 USD; by USDJPY they would be 10,000 USD.
    assert (await symbol(feed, "USDJPY")).clients.profit == 6_250
    assert (await group(feed, "euro")).profit == 6_250


async def test_a_missing_quote_leaves_no_profit_and_is_named(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2, "GOLD", profit="5"), position(3, login=1003, profit="5")))
    found = await ask(feed, "symbol")
    by_name = {row.symbol: row for row in found.rows if isinstance(row, OfSymbol)}
    euro, gold = by_name["EURUSD"], by_name["GOLD"]
    assert [euro.clients.profit, euro.coverage.profit, euro.uncovered_profit] == [None, 5, None]
    assert [gold.clients.profit, gold.uncovered_profit] == [5, 5]
    assert euro.uncovered_lots == 0
    assert found.warnings == ["quote_missing: there is no quote of EURUSD"]


async def test_a_missing_rate_leaves_no_profit_and_is_named(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("PLNCZK", "5", "5")))
    await feed.take(delta(position(1, "PLNCZK", at="4"), position(2, "GOLD", login=1006, profit="1")))
    found = await ask(feed, "symbol")
    assert [row.clients.profit for row in found.rows if isinstance(row, OfSymbol)] == [None, None]
    assert found.warnings == [
        "rate_missing: there is no rate from CZK to USD",
        "rate_missing: there is no rate from KWD to USD",
    ]


async def test_old_quotes_and_a_silent_feed_are_told_of(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2", -61), ("GOLD", "2", "2")))
    await feed.take(delta(position(1, profit="1", margin="1")))
    assert (await ask(feed, "symbol")).warnings == []  # nothing of it was valued by a quote
    await feed.take(delta(position(2, margin="1")))
    assert (await ask(feed, "symbol")).warnings == [OLD_QUOTE]
    feed.now += timedelta(seconds=61)
    assert (await ask(feed, "symbol")).warnings == [OLD_QUOTE, exposure.OLD_FEED]


async def test_without_open_positions_there_is_nothing_to_warn_of(feed: FeedUnderTest) -> None:
    for by in ("symbol", "currency"):
        found = await ask(feed, by)
        assert (found.rows, found.warnings) == ([], [])
    assert (await ask(feed, "group", mask=parse_mask("standard,vip"))).warnings == []


# By currency.


async def test_a_lot_bought_is_owned_in_its_base_and_owed_in_its_profit_currency(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.3")))
    await feed.take(delta(position(1, lots="1"), position(2, lots="3", side="sell", login=1003)))
    assert await currencies(feed) == {
        "EUR": (100_000, -300_000, 400_000),
        "USD": (-120_000, 390_000, -510_000),
    }


async def test_a_missing_quote_leaves_only_the_profit_currency_unknown(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, profit="1"), position(2, "GOLD", profit="1", login=1003)))
    found = await ask(feed, "currency")
    assert await currencies(feed) == {"EUR": (100_000, 0, 100_000), "USD": (None, None, None)}
    assert found.warnings == [
        "quote_missing: there is no quote of EURUSD",
        "quote_missing: there is no quote of GOLD",
    ]


# By group.


async def test_a_group_tells_what_its_accounts_are_worth(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.25", "1.25")))
    await feed.take(
        delta(
            position(1, login=1004, lots="0.5", at="1.2"),
            position(2, login=1004, lots="0.1", profit="-1", margin="3", side="sell"),
        )
    )
    row = await group(feed, "euro")
    assert (row.accounts, row.orders, row.lots) == (1, 2, Fraction("0.6"))
    # 0.05 * 50,000 USD are 2,000 EUR; 50,000 EUR over leverage 33.
    assert row.own is not None
    assert {name: row.own[name] for name in ("profit", "margin", "equity")} == {
        "profit": 199_900,
        "margin": 151_815,
        "equity": 304_900,
    }
    assert row.profit == Fraction("2498.75")


async def test_a_group_whose_positions_cannot_be_valued_has_no_figures(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2, login=1003, profit="1", margin="1")))
    row = await group(feed)
    assert (row.orders, row.profit, row.margin, row.equity, row.own) == (1, None, None, None, None)
    assert (await group(feed, COVERAGE)).profit == 1
    assert (await ask(feed, "group")).warnings[0] == (
        "figures_stale: 1 open positions of standard lack a quote or a rate"
    )


async def test_a_group_of_a_currency_without_a_rate_is_told_in_its_own(feed: FeedUnderTest) -> None:
    row = await group(feed, "dinar")
    assert (row.equity, row.own and row.own["equity"]) == (None, 105_000)
    assert "rate_missing: there is no rate from KWD to USD" in (await ask(feed, "group")).warnings


# What may be seen.


@pytest.mark.parametrize("by", ["symbol", "group", "currency"])
async def test_only_what_is_asked_for_and_may_be_seen_counts(feed: FeedUnderTest, by: str) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    await feed.take(
        delta(*(position(n, login=login, profit="1") for n, login in enumerate(ACCOUNTS, start=1)))
    )
    orders = {"symbol": lambda row: row.clients.orders + row.coverage.orders, "group": lambda row: row.orders}
    units = {"currency": lambda row: (row.clients + row.coverage) / 100_000 if row.currency == "EUR" else 0}
    for access, mask, seen in (
        (EVERYTHING, ALL, 6),
        (EVERYTHING, parse_mask("standard,vip"), 3),
        (Access(mask=parse_mask("*,!vip")), ALL, 5),
        (Access(logins=frozenset({1001, 1003, 1004})), parse_mask("*,!euro"), 2),
        (Access(logins=frozenset()), ALL, 0),
    ):
        rows = (await ask(feed, by, mask=mask, access=access)).rows
        assert sum((orders | units)[by](row) for row in rows) == seen


async def test_a_key_limited_to_logins_sees_the_lots_of_these_only(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, lots="2"), position(2, lots="0.25", login=1002)))
    [row] = (await ask(feed, "group", access=Access(logins=frozenset({1002})))).rows
    assert isinstance(row, OfGroup)
    assert (row.accounts, row.orders, row.lots) == (1, 1, Fraction("0.25"))


# Against a naive reading.


PRICES = st.decimals(min_value="0.5", max_value="200", places=3)
QUOTES = st.tuples(PRICES, PRICES).map(sorted)
POSITIONS = st.fixed_dictionaries(
    {
        "login": st.sampled_from(sorted(ACCOUNTS)),
        "symbol": st.sampled_from(sorted(SYMBOLS)),
        "side": st.sampled_from(["buy", "sell"]),
        "lots": st.decimals(min_value="0.01", max_value="9", places=2),
        "at": PRICES,
        "profit": st.none() | st.integers(-900, 900),
    }
)
Told = dict[str, list[Decimal]]


@settings(max_examples=40)
@given(
    told=st.dictionaries(st.sampled_from(sorted(SYMBOLS)), QUOTES),
    positions=st.lists(POSITIONS, min_size=1, max_size=14),
)
def test_the_report_says_what_a_naive_one_says(
    shared: LedgerUnderTest, told: Told, positions: list[dict[str, Any]]
) -> None:
    with shared.connect() as connection:
        for table in set(OBSERVED) - {"feed_streams"}:
            connection.execute(f"DELETE FROM {table}".encode())
    asyncio.run(agree(shared, told, positions))


@pytest.fixture(scope="module")
def shared(database_url: str) -> LedgerUnderTest:
    ledger = LedgerUnderTest(database_url, "main")
    furnish(ledger)
    return ledger


async def agree(ledger: LedgerUnderTest, told: Told, positions: list[dict[str, Any]]) -> None:
    async with feeding(ledger) as feed:
        if told:
            await feed.take(quotes(*((name, *pair) for name, pair in told.items())))
        await feed.take(delta(*(position(n, **one) for n, one in enumerate(positions, start=1))))
        market = {name: (Fraction(bid), Fraction(ask)) for name, (bid, ask) in told.items()}
        rates = await load_rates(feed.connection)
        rows = (await ask(feed, "symbol")).rows
        found = {row.symbol: row for row in rows if isinstance(row, OfSymbol)}
        assert sorted(found) == sorted({one["symbol"] for one in positions})
        for name, row in found.items():
            for side, coverage in ((row.clients, False), (row.coverage, True)):
                mine = [g for g in positions if g["symbol"] == name and covers(g) == coverage]
                profits = [won(g, market, rates) for g in mine]
                known = [profit for profit in profits if profit is not None]
                assert side.profit == (sum(known) if len(known) == len(profits) else None)
                assert side.orders == len(mine)
        assert await currencies(feed) == owned(positions, market)


def covers(one: dict[str, Any]) -> bool:
    return ACCOUNTS[one["login"]][0] == COVERAGE


def won(one: dict[str, Any], market: dict[str, tuple[Fraction, Fraction]], rates: Rates) -> Fraction | None:
    """Value one position alone, in dollars."""
    own = GROUPS[ACCOUNTS[one["login"]][0]]
    to_book = rates.find(own, "USD")
    if to_book is None:
        return None
    if one["profit"] is not None:
        return int(one["profit"]) * to_book.rate
    _, quoted, contract = SYMBOLS[one["symbol"]]
    to_own = rates.find(quoted, own)
    if to_own is None or one["symbol"] not in market:
        return None
    bid, ask = market[one["symbol"]]
    opened = Fraction(one["at"])
    moved = bid - opened if one["side"] == "buy" else opened - ask
    return moved * Fraction(one["lots"]) * Fraction(contract) * to_own.rate * to_book.rate


def owned(
    positions: Iterable[dict[str, Any]], market: dict[str, tuple[Fraction, Fraction]]
) -> dict[str, tuple[Any, Any, Any]]:
    """Add up currencies one position after the other."""
    held: dict[str, list[Fraction | None]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for one in positions:
        base, quoted, contract = SYMBOLS[one["symbol"]]
        units = Fraction(one["lots"]) * Fraction(contract) * (1 if one["side"] == "buy" else -1)
        prices = market.get(one["symbol"])
        price = None if prices is None else prices[0 if one["side"] == "buy" else 1]
        for currency, amount in ((base, units), (quoted, None if price is None else -units * price)):
            before = held[currency][covers(one)]
            held[currency][covers(one)] = None if before is None or amount is None else before + amount
    return {
        name: (clients, coverage, None if clients is None or coverage is None else clients - coverage)
        for name, (clients, coverage) in held.items()
    }
