"""Old quotes: the look from quotes to holders says what the figures of all accounts would say."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.definitions import Group
from projections.old_quotes import valued_by_old
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
)
from tests.make import NOW

if TYPE_CHECKING:
    from projections.positions import Positions
    from projections.quotes import Quotes
    from tests.drive import LedgerUnderTest

# In seconds after NOW.
AGES = (0, 0, 0, -1, -2)
OLDEST = NOW - timedelta(seconds=0.5)
SETTINGS = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def markets(draw: st.DrawFn) -> Quotes:
    """Draw quotes of some symbols, few of them old."""
    names = draw(st.lists(st.sampled_from(sorted(SYMBOLS)), min_size=1, unique=True))
    return quotes(*((name, "2", "2", draw(st.sampled_from(AGES))) for name in names))


@st.composite
def holdings(draw: st.DrawFn) -> Positions:
    """Draw open positions; the trading server tells what some of them are worth."""
    told = st.sampled_from([None, 5])
    return delta(
        *(
            position(
                ticket,
                draw(st.sampled_from(sorted(SYMBOLS))),
                login=draw(st.sampled_from(sorted(ACCOUNTS))),
                profit=draw(told),
                margin=draw(told),
            )
            for ticket in range(draw(st.integers(1, 4)))
        )
    )


@SETTINGS
@given(market=markets(), holding=holdings(), suspended=st.sampled_from(sorted(ACCOUNTS)))
def test_groups_are_valued_by_an_old_quote_when_figures_of_theirs_are(
    ledger: LedgerUnderTest, market: Quotes, holding: Positions, suspended: int
) -> None:
    if not ledger.value("SELECT count(*) FROM accounts"):
        prepare(ledger)
    asyncio.run(_compare(ledger, market, holding, suspended))


async def _compare(ledger: LedgerUnderTest, market: Quotes, holding: Positions, suspended: int) -> None:
    _clear(ledger)
    async with feeding(ledger) as feed:
        await feed.outcomes(market, holding)
        feed.regroup(suspended, enable=False)
        for group in GROUPS:
            for flags in ([1], [0], [1, 0]):
                assert await _found(feed, group, flags) == _expected(ledger, group, flags)


async def _found(feed: FeedUnderTest, group: str, flags: list[int]) -> bool:
    currency = GROUPS[group]
    asked = Group(group=group, currency=currency, digits=DIGITS[currency])
    return await valued_by_old(feed.connection, [asked], flags, OLDEST)


def _expected(ledger: LedgerUnderTest, group: str, flags: list[int]) -> Any:
    return ledger.value(
        "SELECT EXISTS (SELECT FROM figures f JOIN accounts a ON a.login = f.login WHERE f.quoted_at < %s"
        " AND a.group_name = %s AND a.enable::int = ANY(%s))",
        OLDEST,
        group,
        flags,
    )


def _clear(ledger: LedgerUnderTest) -> None:
    for table in (*(name for name in OBSERVED if name != "feed_streams"), "regroupings"):
        ledger.rows(f"DELETE FROM {table}")
    ledger.rows("UPDATE accounts SET enable = true")
