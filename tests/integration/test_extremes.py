"""Accounts at the ends of what can be held are listed and filtered exactly, beyond a bigint too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from psycopg import AsyncConnection

from api.accounts_query import decode
from api.scopes import SCOPES
from ledger.commands import EVERYTHING
from ledger.funding import BALANCE_MAX
from projections.accounts import STRUCTURE
from projections.accounts_list import AccountsPage, read_accounts
from projections.batch import BatchViews
from projections.totals import Moment
from tests.make import NOW, define_group, open_account, request

if TYPE_CHECKING:
    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio

MOMENT = Moment(now=NOW, server_day=NOW.date(), trading_day=NOW.date())
FIGURE_MAX = 10**18 - 1
LARGEST = 2 * BALANCE_MAX + 3 * FIGURE_MAX


async def extremes(ledger: LedgerUnderTest) -> None:
    """Have two accounts of eight digits: one as rich and one as poor as can be."""
    async with ledger.desk() as desk:
        commands = [define_group("coin", "BTC", equity_mode="net"), *map(open_coin, (1001, 1002))]
        await desk.writer.submit_bulk([request(command) for command in commands])
    for login, sign, margin in ((1001, 1, 1), (1002, -1, FIGURE_MAX)):
        held = (sign * BALANCE_MAX, BALANCE_MAX if sign > 0 else 0, login)
        ledger.rows("UPDATE accounts SET balance = %s, credit = %s WHERE login = %s", *held)
        figure = sign * FIGURE_MAX
        ledger.rows(
            "INSERT INTO figures VALUES (%s, 'coin', true, 1, 0, %s, %s, %s, %s)",
            *(login, figure, figure, figure, margin),
        )


def open_coin(login: int) -> Any:
    return open_account(login, group="coin")


async def listed(ledger: LedgerUnderTest, **asked: Any) -> AccountsPage:
    body = {"groupFilter": "*", "limit": 10, "offset": 0} | asked
    question = decode(msgspec.json.encode(body)).question(access=EVERYTHING, scopes=frozenset(SCOPES))
    async with await AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        definitions = await BatchViews().load_definitions(connection)
        return await read_accounts(connection, question, definitions, MOMENT)


async def test_the_richest_and_the_poorest_account_are_listed_exactly(ledger: LedgerUnderTest) -> None:
    await extremes(ledger)
    page = await listed(ledger, where=[["magic", "=", 0]], orderBy=["equity", "DESC"])
    rich, poor = (dict(zip(STRUCTURE, row, strict=False)) for row in page.rows)
    assert (rich["login"], rich["equity"]) == (1001, LARGEST)
    assert (poor["equity"], poor["margin_free"]) == (
        -BALANCE_MAX - 3 * FIGURE_MAX,
        -BALANCE_MAX - 4 * FIGURE_MAX,
    )
    assert rich["margin_level"] == LARGEST * 10_000
    assert page.totals.totals is not None
    assert page.totals.totals["equity"] == rich["equity"] + poor["equity"]


LEVEL = LARGEST * 100  # percent: the margin is one unit


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"where": [["margin_level", ">", LEVEL - 1]]}, [1001]),
        ({"where": [["margin_level", ">", LEVEL]]}, []),
        ({"where": [["margin_level", "<", LEVEL]]}, [1002]),
        ({"where": [["margin_level", "=", LEVEL]]}, [1001]),
        ({"whereIn": [["margin_level", [LEVEL, 5]]]}, [1001]),
        ({"whereNotIn": [["margin_level", [LEVEL, 10**40]]]}, [1002]),
        ({"whereBetween": [["margin_level", [LEVEL, 10**40]]]}, [1001]),
        ({"where": [["equity", "<", 10**30]]}, [1001, 1002]),
        ({"whereIn": [["balance", [10**30, -(10**30)]]]}, []),
        ({"whereNotBetween": [["equity", [-(10**30), 10**30]]]}, []),
    ],
)
async def test_a_filter_is_exact_beyond_a_bigint(
    ledger: LedgerUnderTest, rule: dict[str, Any], found: list[int]
) -> None:
    await extremes(ledger)
    assert [row[0] for row in (await listed(ledger, **rule)).rows] == found
