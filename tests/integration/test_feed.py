"""What the trading server tells, message by message: once, in order, snapshots whole or not at all."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncConnection

from api.database import Database
from api.feed import Feed
from api.simulation import choose_clock
from ledger.definitions import Definitions
from ledger.refusals import ManagerOffline, Refusal, ValidationError
from projections import valuation
from projections.feed import ItemRefused
from projections.totals import read_fed_at
from tests.drive import HANG_S, Clock, settled
from tests.feeding import (
    FeedUnderTest,
    delta,
    feeding,
    online,
    position,
    prepare,
    quotes,
    snapshot,
)
from tests.make import NOW, deposit, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from projections.feed import Message
    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def feed(ledger: LedgerUnderTest) -> AsyncIterator[FeedUnderTest]:
    """Yield the feed of a ledger with accounts in four currencies."""
    prepare(ledger)
    async with feeding(ledger) as feed:
        yield feed


def bid(feed: FeedUnderTest, symbol: str = "EURUSD") -> str:
    """Give the bid of a symbol."""
    return str(feed.ledger.value("SELECT bid FROM quotes WHERE symbol = %s", symbol))


async def refused(feed: FeedUnderTest, code: str, message: Message) -> None:
    """Have a message refused as a whole."""
    with pytest.raises(Refusal) as told:
        await feed.take(message)
    assert told.value.code == code


# Numbers.


async def test_a_number_not_above_the_last_is_acknowledged_and_changes_nothing(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.1", "1.1"), seq=5))
    before = feed.observed()
    for seq in (5, 4, 0):
        assert await feed.said(quotes(("EURUSD", "9", "9"), ("GOLD", "9", "9"), seq=seq)) == (0, 2, [])
    assert feed.observed() == before


async def test_numbers_that_were_missed_are_counted(feed: FeedUnderTest) -> None:
    for seq in (5, 6, 9, 12):
        await feed.take(quotes(seq=seq))
    stream = await feed.stream("quotes")
    assert (stream.seq, stream.gaps) == (12, 4)


async def test_a_higher_epoch_begins_its_numbers_anew_and_a_lower_one_is_ignored(
    feed: FeedUnderTest,
) -> None:
    await feed.take(quotes(epoch=1, seq=100))
    assert await feed.said(quotes(("EURUSD", "1.1", "1.1"), epoch=2, seq=1)) == (1, 0, [])
    assert await feed.said(quotes(("EURUSD", "1.2", "1.2"), epoch=1, seq=101)) == (0, 1, [])
    assert await feed.said(quotes(("EURUSD", "1.3", "1.3"), epoch=1)) == (0, 1, [])
    stream = await feed.stream("quotes")
    assert (stream.epoch, stream.seq, stream.gaps, bid(feed)) == (2, 1, 0, "1.1")


async def test_a_message_without_a_number_is_always_taken(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.1", "1.1"), seq=5))
    assert await feed.said(quotes(("EURUSD", "1.2", "1.2"))) == (1, 0, [])
    assert await feed.said(quotes(("EURUSD", "1.3", "1.3"), seq=6)) == (1, 0, [])


async def test_each_stream_counts_for_itself(feed: FeedUnderTest) -> None:
    await feed.take(quotes(seq=7))
    assert await feed.said(delta(position(1), seq=1)) == (1, 0, [])
    assert await feed.said(online(1001, seq=1)) == (1, 0, [])


async def test_an_empty_message_is_a_sign_of_life(feed: FeedUnderTest) -> None:
    await feed.take(delta())
    assert (await feed.stream("positions")).received_at == NOW
    assert (await feed.stream("quotes")).received_at is None


# Quotes.


async def test_the_latest_quote_of_a_symbol_wins_whenever_it_comes(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2", -10)))
    assert await feed.said(quotes(("EURUSD", "1.1", "1.1", -20))) == (0, 1, [])
    assert bid(feed) == "1.2"
    told = quotes(("EURUSD", "1.4", "1.4", -5), ("EURUSD", "1.3", "1.3", -6), ("EURUSD", "1.5", "1.5", -5))
    assert await feed.said(told) == (1, 2, [])
    assert bid(feed) == "1.5"


async def test_what_cannot_be_a_price_is_refused_and_the_others_go_through(feed: FeedUnderTest) -> None:
    told = quotes(
        ("EURUSD", "1.2", "1.1"),
        ("EURUSD", "0", "0.1"),
        ("GOLD", "0", "0.00"),
        ("SILVER", "30", "31"),
        ("DAX", "1", "1", 61),
        ("GOLD", "0", "0.5"),
    )
    refused = [(0, "bad_quote"), (1, "bad_quote"), (2, "bad_quote"), (3, "unknown_symbol"), (4, "bad_quote")]
    assert await feed.said(told) == (1, 0, refused)
    assert feed.ledger.rows("SELECT symbol FROM quotes") == [("GOLD",)]


# Positions.


async def test_unknown_logins_and_symbols_are_refused_and_the_others_go_through(feed: FeedUnderTest) -> None:
    told = delta(
        position(1, login=404),
        position(2, "SILVER"),
        position(3, storage="0.001"),
        position(4, storage="0.001", login=1006),
    )
    refused = [(0, "unknown_login"), (1, "unknown_symbol"), (2, "too_many_decimals")]
    assert await feed.said(told) == (1, 0, refused)
    assert feed.tickets() == [4]


async def test_a_delta_opens_changes_and_closes(feed: FeedUnderTest) -> None:
    assert await feed.said(delta(position(1), position(2))) == (2, 0, [])
    assert await feed.said(delta(position(2, lots="3"), position(3), closed=[1, 77])) == (3, 1, [])
    assert feed.ledger.rows("SELECT ticket, lots::text FROM positions ORDER BY 1") == [(2, "3"), (3, "1")]


async def test_a_ticket_told_and_closed_at_once_is_closed(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2)))
    assert await feed.said(delta(position(1, lots="2"), position(3), closed=[1, 3])) == (1, 3, [])
    assert feed.tickets() == [2]


async def test_a_ticket_that_moves_to_another_login_leaves_the_old_one(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, storage="1")))
    await feed.take(delta(position(1, storage="1", login=1002)))
    assert (feed.figures(1001)["orders"], feed.figures(1002)["orders"]) == (0, 1)
    await feed.take(snapshot(position(1, login=1003)))
    assert (feed.figures(1002)["orders"], feed.figures(1003)["orders"]) == (0, 1)
    feed.check_totals()


async def test_the_same_message_again_changes_nothing(feed: FeedUnderTest) -> None:
    await feed.take(quotes(("EURUSD", "1.2", "1.2")))
    for message in (delta(position(1), closed=[2]), snapshot(position(1), position(4), part_of="s")):
        await feed.take(message)
        before = feed.observed()
        await feed.take(message)
        assert feed.observed() == before


# Snapshots.


async def test_a_snapshot_replaces_all(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2, login=1002)))
    assert await feed.said(snapshot(position(2, login=1002, storage="-1"), position(3))) == (2, 0, [])
    assert feed.tickets() == [2, 3]
    assert [feed.figures(login)["orders"] for login in (1001, 1002)] == [1, 1]
    await feed.take(snapshot())
    assert feed.tickets() == []
    feed.check_totals()


async def test_the_parts_of_a_snapshot_stay_unseen_until_the_final_one(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1)))
    before = feed.figures()
    for ticket in (2, 3):
        await feed.take(snapshot(position(ticket), part_of="s", final=False))
        assert (feed.tickets(), feed.figures()) == ([1], before)
    await feed.take(snapshot(position(4), part_of="s"))
    assert feed.tickets() == [2, 3, 4]
    assert feed.ledger.rows("SELECT * FROM position_parts") == []


async def test_a_snapshot_cut_off_in_the_middle_leaves_the_old_one_until_a_newer_is_whole(
    feed: FeedUnderTest,
) -> None:
    await feed.take(snapshot(position(1), part_of="old"))
    await feed.take(snapshot(position(2), part_of="cut", final=False))
    async with feeding(feed.ledger) as restarted:  # as a service does that was killed meanwhile
        await restarted.outcomes()
        assert restarted.tickets() == [1]
        await restarted.take(snapshot(position(3), part_of="new", final=False))
        assert restarted.tickets() == [1]
        await restarted.take(snapshot(position(4), part_of="new"))
        assert restarted.tickets() == [3, 4]


async def test_a_part_that_comes_late_or_again_changes_nothing(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(1), part_of="a", final=False))
    await feed.take(snapshot(position(2), part_of="b", final=False))
    await refused(feed, "snapshot_void", snapshot(position(9), part_of="a"))
    await feed.take(snapshot(position(3), part_of="b"))
    before = feed.observed()
    assert await feed.said(snapshot(position(3), part_of="b")) == (0, 1, [])
    assert await feed.said(snapshot(position(2), part_of="b", final=False)) == (0, 1, [])
    assert feed.observed() == before
    assert feed.tickets() == [2, 3]


async def test_an_id_that_is_over_never_begins_again_but_in_another_epoch(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(1), part_of="all", seq=1))
    assert await feed.said(snapshot(position(2), part_of="all", final=False, seq=2)) == (0, 1, [])
    assert await feed.said(snapshot(position(2), part_of="all")) == (0, 1, [])
    assert feed.tickets() == [1]
    await feed.take(snapshot(position(3), part_of="all", epoch=1, seq=1))
    assert feed.tickets() == [3]


async def test_a_snapshot_does_not_go_on_in_another_epoch(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2), epoch=1))
    await feed.take(snapshot(position(1), part_of="s", final=False))
    await feed.take(delta(epoch=2))
    await refused(feed, "snapshot_void", snapshot(position(2), part_of="s"))
    assert feed.tickets() == [1, 2]


async def test_a_void_id_is_refused_with_and_without_a_number(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), seq=1))
    await feed.take(snapshot(position(2), part_of="a", final=False, seq=2))
    await feed.take(snapshot(position(3), part_of="b", final=False, seq=3))
    await refused(feed, "snapshot_void", snapshot(position(4), part_of="a", seq=4))
    await refused(feed, "snapshot_void", snapshot(position(4), part_of="a"))
    await refused(feed, "snapshot_void", snapshot(position(2), part_of="a", final=False, seq=2))
    assert feed.tickets() == [1]
    await feed.take(snapshot(position(5), part_of="b", seq=5))
    assert feed.tickets() == [3, 5]


async def test_a_snapshot_that_begins_after_a_gap_may_lack_its_first_part(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(1), position(2), seq=1))
    await refused(feed, "snapshot_incomplete", snapshot(position(2), part_of="a", seq=3))
    await refused(feed, "snapshot_void", snapshot(position(1), part_of="a", final=False, seq=2))
    assert feed.tickets() == [1, 2]
    await feed.take(snapshot(position(1), part_of="b", final=False, seq=4))
    await feed.take(snapshot(position(3), part_of="b", seq=5))
    assert feed.tickets() == [1, 3]
    await feed.take(snapshot(position(9), seq=20))
    assert feed.tickets() == [9]


async def test_two_senders_of_snapshots_by_turns_never_mix_theirs(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2), position(3, login=1003)))
    standard, vip = key("standard").access, key("vip").access
    await feed.take(snapshot(position(1), part_of="a", final=False, access=standard))
    await feed.take(snapshot(position(3, login=1003), part_of="b", final=False, access=vip))
    await refused(feed, "snapshot_void", snapshot(position(2), part_of="a", access=standard))
    await feed.take(snapshot(position(4, login=1003), part_of="b", access=vip))
    assert feed.tickets() == [1, 2, 3, 4]


async def test_a_position_that_a_snapshot_tells_wrongly_stays_as_it_was(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1, profit="-90"), position(2), position(3), position(4)))
    told = snapshot(position(1, profit="-90.001"), position(2, "SILVER"), position(5, login=404), position(6))
    refusals = [(0, "too_many_decimals"), (1, "unknown_symbol"), (2, "unknown_login")]
    assert await feed.said(told) == (1, 0, refusals)
    assert (feed.tickets(), feed.figures()["profit"]) == ([1, 2, 6], -9000)


async def test_a_position_that_one_part_tells_wrongly_may_be_told_by_the_next(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2)))
    wrong = snapshot(position(1, "SILVER"), position(2, "SILVER"), part_of="s", final=False)
    assert (await feed.said(wrong))[0] == 0
    await feed.take(snapshot(position(1, lots="7"), part_of="s"))
    assert feed.ledger.rows("SELECT ticket, lots::text FROM positions ORDER BY 1") == [(1, "7"), (2, "1")]


async def test_a_part_with_an_item_without_a_ticket_voids_its_snapshot(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2)))
    nobody = [ItemRefused(1, ValidationError("missing_field", "ticket must be there", field="ticket"))]
    await feed.take(snapshot(position(1), part_of="s", final=False))
    await refused(feed, "bad_ticket", snapshot(position(3), part_of="s", final=False, refused=nobody))
    await refused(feed, "snapshot_void", snapshot(position(4), part_of="s"))
    await refused(feed, "bad_ticket", snapshot(position(3), seq=1, refused=nobody))
    assert feed.tickets() == [1, 2]
    assert await feed.said(snapshot(position(3), seq=1)) == (1, 0, [])


async def test_a_snapshot_of_which_nothing_came_for_a_minute_is_void(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1)))
    await feed.take(snapshot(position(2), part_of="s", final=False))
    feed.now = NOW + timedelta(seconds=60)
    await feed.take(snapshot(position(3), part_of="s", final=False))
    feed.now = NOW + timedelta(seconds=121)
    await feed.take(delta(position(4)))
    await feed.take(delta(closed=[4, 5]))
    assert feed.ledger.rows("SELECT * FROM position_parts") == []
    await refused(feed, "snapshot_void", snapshot(position(3), part_of="s"))
    assert feed.tickets() == [1]


async def test_a_snapshot_is_void_also_where_nothing_comes_at_all(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(2), part_of="s", final=False))
    assert await feed.intake.idle(feed.connection, NOW + timedelta(seconds=60))
    feed.now = NOW + timedelta(seconds=61)
    assert not await feed.intake.idle(feed.connection, feed.now)
    await feed.outcomes()
    assert feed.ledger.rows("SELECT * FROM position_parts") == []
    assert await feed.intake.idle(feed.connection, feed.now)


async def test_a_snapshot_of_which_a_part_was_missed_never_replaces_anything(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(1), part_of="a", seq=1))
    await feed.take(snapshot(position(2), part_of="b", final=False, seq=2))
    [outcome] = await feed.outcomes(snapshot(position(4), part_of="b", seq=4))
    assert isinstance(outcome, Refusal)
    assert (outcome.code, feed.tickets()) == ("snapshot_incomplete", [1])
    assert ((await feed.stream("positions")).seq, (await feed.stream("positions")).gaps) == (4, 1)
    await feed.take(snapshot(position(5), part_of="c", seq=5))
    assert feed.tickets() == [5]


async def test_what_a_delta_says_between_the_parts_is_not_brought_back_by_them(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), position(2), position(3)))
    await feed.take(snapshot(position(1), position(2), part_of="s", final=False))
    await feed.take(delta(position(2, lots="7"), position(8), closed=[1, 3]))
    assert feed.tickets() == [2, 8]
    await feed.take(snapshot(position(2), position(3), position(4), part_of="s"))
    assert feed.ledger.rows("SELECT ticket, lots::text FROM positions ORDER BY 1") == [
        (2, "7"),
        (4, "1"),
        (8, "1"),
    ]


# Keys.


async def test_a_key_replaces_only_what_it_reaches(feed: FeedUnderTest) -> None:
    vip = key("vip").access
    await feed.take(delta(position(1), position(3, login=1003)))
    await feed.take(online(1001, 1003))
    assert await feed.said(snapshot(position(5), position(6, login=1003), access=vip)) == (
        1,
        0,
        [(0, "outside_mask")],
    )
    assert feed.tickets() == [1, 6]
    stolen = delta(position(1, login=1003), closed=[1, 6], access=vip)
    assert await feed.said(stolen) == (1, 0, [(0, "outside_mask"), (0, "outside_mask")])
    assert feed.tickets() == [1]
    assert await feed.said(online(1002, access=vip)) == (0, 0, [(0, "outside_mask")])
    assert feed.ledger.rows("SELECT login FROM online") == [(1001,)]


async def test_a_key_of_single_logins_replaces_only_theirs(feed: FeedUnderTest) -> None:
    mine = key(logins=[1001]).access
    await feed.take(delta(position(1), position(2, login=1002)))
    assert await feed.said(snapshot(access=mine)) == (0, 0, [])
    assert feed.tickets() == [2]


async def test_a_key_takes_and_closes_no_ticket_that_is_staged_for_another(feed: FeedUnderTest) -> None:
    standard = key("standard").access
    await feed.take(snapshot(position(9, login=1003), part_of="s", final=False))
    stolen = delta(position(9, lots="50"), closed=[9, 10], access=standard)
    assert await feed.said(stolen) == (0, 1, [(0, "outside_mask"), (0, "outside_mask")])
    await feed.take(snapshot(position(10, login=1003), part_of="s"))
    assert feed.ledger.rows("SELECT ticket, login FROM positions ORDER BY 1") == [(9, 1003), (10, 1003)]


async def test_a_key_that_does_not_speak_for_all_numbers_nothing_and_tells_no_quotes(
    feed: FeedUnderTest,
) -> None:
    before = feed.observed()
    for narrow in (key("yen").access, key(logins=[1001]).access):
        for message in (
            quotes(("EURUSD", "1", "1"), access=narrow),
            quotes(access=narrow),
            delta(access=narrow, epoch=9),
            delta(access=narrow, seq=9),
            online(access=narrow, seq=9),
        ):
            await refused(feed, "whole_feed_only", message)
    assert feed.observed() == before


async def test_a_refused_number_does_not_undo_the_one_before_it(feed: FeedUnderTest) -> None:
    await feed.outcomes(delta(seq=7), delta(seq=8, access=key("yen").access))
    assert (await feed.stream("positions")).seq == 7


# Up to when the positions are known.


async def fed_after(feed: FeedUnderTest, *messages: Message) -> bool:
    """Tell whether messages of a minute later make the positions known up to then."""
    await feed.take(delta(position(1)))
    feed.now = NOW + timedelta(seconds=50)
    await feed.outcomes(*messages)
    fed_at = await read_fed_at(feed.connection)
    assert fed_at in (NOW, feed.now)
    return fed_at == feed.now


@pytest.mark.parametrize(
    "message",
    [
        delta(position(2, login=404)),
        snapshot(part_of="s", final=False),
        delta(access=key("yen").access),
        delta(position(2), access=key("standard").access),
        snapshot(access=key(logins=[1001]).access),
        snapshot(position(2, "SILVER")),
        delta(position(2), seq=1, epoch=-1),
    ],
)
async def test_what_tells_nothing_of_all_positions_does_not_make_them_fresh(
    feed: FeedUnderTest, message: Message
) -> None:
    assert not await fed_after(feed, message)


@pytest.mark.parametrize(
    "message",
    [delta(), delta(position(2)), delta(position(2), position(3, login=404)), snapshot(), delta(closed=[77])],
)
async def test_a_delta_a_finished_snapshot_and_a_sign_of_life_make_positions_fresh(
    feed: FeedUnderTest, message: Message
) -> None:
    assert await fed_after(feed, message)


async def test_the_final_part_makes_positions_fresh(feed: FeedUnderTest) -> None:
    assert await fed_after(feed, snapshot(part_of="s", final=False), snapshot(part_of="s"))


async def test_figures_of_older_definitions_are_as_of_no_time(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1)))
    assert await read_fed_at(feed.connection) == NOW
    feed.ledger.rows('UPDATE symbols SET margin_rate = 500, "position" = 99 WHERE symbol = %s', "GOLD")
    assert await read_fed_at(feed.connection) is None
    await feed.outcomes()
    assert await read_fed_at(feed.connection) == NOW


async def test_a_definition_made_while_a_call_is_taken_is_valued_by_the_next(
    feed: FeedUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await feed.take(quotes(("GOLD", "2", "2")))
    await feed.take(delta(position(1, "GOLD", at="1")))
    defined = valuation.defined

    async def then_another(connection: AsyncConnection[Any]) -> int:
        """Read the definitions; right then another is made."""
        monkeypatch.undo()
        position = await defined(connection)
        feed.ledger.rows('UPDATE symbols SET contract_size = 10, "position" = 99 WHERE symbol = %s', "GOLD")
        return position

    monkeypatch.setattr(valuation, "defined", then_another)
    await feed.take(quotes(("EURUSD", "1", "1")))
    assert await read_fed_at(feed.connection) is None
    assert not await feed.intake.idle(feed.connection, NOW)


# Who is online.


async def test_the_last_call_says_who_is_online(feed: FeedUnderTest) -> None:
    assert await feed.said(online(1001, 1002, 1001)) == (2, 1, [])
    assert await feed.said(online(1002, 404, 1003)) == (2, 0, [(1, "unknown_login")])
    assert feed.ledger.rows("SELECT login FROM online ORDER BY 1") == [(1002,), (1003,)]
    await feed.take(online())
    assert feed.ledger.rows("SELECT login FROM online") == []


# Transactions.


async def test_a_refused_message_leaves_those_beside_it_alone(feed: FeedUnderTest) -> None:
    await feed.take(snapshot(position(1), part_of="s", final=False, seq=1))
    outcomes = await feed.outcomes(
        quotes(("EURUSD", "1.2", "1.2")), snapshot(part_of="s", seq=3), delta(position(2), seq=4)
    )
    assert [isinstance(outcome, Refusal) for outcome in outcomes] == [False, True, False]
    assert (feed.tickets(), feed.figures()["profit"]) == ([2], 1000000)


async def test_messages_taken_together_are_taken_in_order(feed: FeedUnderTest) -> None:
    await feed.outcomes(delta(position(1)), delta(closed=[1]), delta(position(2)), snapshot(position(3)))
    assert feed.tickets() == [3]
    assert feed.figures()["orders"] == 1


async def test_a_transaction_cut_off_has_changed_nothing(feed: FeedUnderTest) -> None:
    await feed.take(delta(position(1), seq=1))
    before = feed.observed()
    async with await AsyncConnection.connect(feed.ledger.service, autocommit=True) as doomed:
        feed.connection = doomed
        async with doomed.transaction(force_rollback=True):
            await feed.take(snapshot(position(2), seq=2))
    assert feed.observed() == before


# Beside the writer, and beside another service.


async def test_a_deposit_does_not_wait_for_the_feed(feed: FeedUnderTest) -> None:
    async with feed.connection.transaction():
        await feed.outcomes(quotes(("EURUSD", "1.2", "1.2")), delta(position(1)), online(1001))
        async with asyncio.timeout(HANG_S), feed.ledger.desk() as desk:
            await desk.book(deposit(100))
    assert feed.ledger.balance() == 10000


async def test_the_feed_does_not_wait_for_a_deposit(feed: FeedUnderTest) -> None:
    with psycopg.connect(feed.ledger.superuser) as writer:
        writer.execute("LOCK TABLE gate IN EXCLUSIVE MODE")
        writer.execute("UPDATE accounts SET balance = 1 WHERE login = 1001")
        writer.execute("INSERT INTO regroupings VALUES (1001, 1)")
        async with asyncio.timeout(HANG_S):
            await feed.outcomes(quotes(("EURUSD", "1.2", "1.2")), delta(position(1)), online(1001))
        writer.rollback()
    assert feed.figures()["profit"] == 1000000


async def test_what_arrives_meanwhile_is_taken_by_one_transaction(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    async with serving(ledger) as feed:
        with streams_held(ledger) as holder:
            first = asyncio.create_task(feed.take(quotes(("EURUSD", "1", "1"))))
            await until_waiting(ledger)
            rest = [asyncio.create_task(feed.take(quotes((name, "1", "1")))) for name in ("GOLD", "DAX")]
            await settled(lambda: feed.waiting == 2)
            holder.rollback()
        for receipt in await asyncio.gather(first, *rest):
            assert (receipt.accepted, receipt.ignored) == (1, 0)
    transactions = dict(ledger.rows("SELECT symbol, xmin::text FROM quotes"))
    assert transactions["GOLD"] == transactions["DAX"] != transactions["EURUSD"]


async def test_two_services_take_a_message_once(feed: FeedUnderTest) -> None:
    async with feeding(feed.ledger) as other:
        async with feed.connection.transaction():
            await feed.take(delta(position(1), seq=5))
            again = asyncio.create_task(other.said(delta(position(1), seq=5)))
            await until_waiting(feed.ledger)
        assert await again == (0, 1, [])


async def test_the_time_is_read_when_the_streams_are_held_and_never_goes_back(feed: FeedUnderTest) -> None:
    feed.now = NOW + timedelta(seconds=2)
    await feed.take(quotes(("EURUSD", "1.2", "1.2"), seq=1))
    feed.now = NOW + timedelta(seconds=1)  # another service's clock
    assert await feed.said(quotes(("EURUSD", "1.3", "1.3"), seq=2)) == (1, 0, [])
    assert (await feed.stream("quotes")).received_at == NOW + timedelta(seconds=2)


async def test_a_simulated_ledger_goes_on_from_the_last_that_its_feed_told(feed: FeedUnderTest) -> None:
    async with feed.ledger.desk() as desk:
        await desk.book(deposit(100))
    feed.now = NOW + timedelta(days=1)
    await feed.take(quotes(("EURUSD", "1.2", "1.2", 86_410)))
    simulated = Definitions(simulated_from=NOW)
    now = await choose_clock(feed.connection, simulated, None)
    assert now() >= feed.now + timedelta(seconds=10)
    with pytest.raises(Refusal, match="last recorded time"):
        await choose_clock(feed.connection, simulated, feed.now)


async def test_a_message_that_cannot_be_stored_harms_no_other(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    async with serving(ledger) as feed:
        with streams_held(ledger) as holder:
            first = asyncio.create_task(feed.take(delta()))
            await until_waiting(ledger)
            bad = asyncio.create_task(feed.take(delta(position(1, lots="many"))))
            good = asyncio.create_task(feed.take(delta(position(2))))
            await settled(lambda: feed.waiting == 2)
            holder.rollback()
        await first
        assert (await good).accepted == 1
        with pytest.raises(ManagerOffline, match="could not take"):
            await bad
    assert ledger.rows("SELECT ticket FROM positions") == [(2,)]


async def test_a_database_that_goes_away_is_told_and_comes_back(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    async with serving(ledger) as feed:
        with streams_held(ledger):
            cut = asyncio.create_task(feed.take(delta(position(1))))
            pid = await until_waiting(ledger)
            ledger.rows("SELECT pg_terminate_backend(%s)", pid)
            with pytest.raises(ManagerOffline) as told:
                await cut
            assert (told.value.code, told.value.extra["retry_after"]) == ("database_away", 1)
        assert (await feed.take(delta(position(2)))).accepted == 1
    assert ledger.rows("SELECT ticket FROM positions") == [(2,)]


async def test_regrouped_accounts_are_placed_without_any_message(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    ledger.rows("INSERT INTO regroupings VALUES (1001, 1)")
    async with serving(ledger), asyncio.timeout(HANG_S):
        while ledger.rows("SELECT * FROM regroupings"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0)


async def test_a_feed_that_ends_answers_what_came_and_takes_no_more(ledger: LedgerUnderTest) -> None:
    prepare(ledger)
    async with serving(ledger) as feed:
        last = asyncio.create_task(feed.take(delta(position(1))))
        await settled(lambda: feed.waiting == 1)
    assert (await last).accepted == 1
    with pytest.raises(ManagerOffline, match="shutting down"):
        await feed.take(delta())


@asynccontextmanager
async def serving(ledger: LedgerUnderTest) -> AsyncIterator[Feed]:
    """Serve the feed as a service does."""
    database = Database(ledger.database_url, ledger.name)
    await database.open()
    feed = Feed(database, now=Clock())
    await feed.start()
    try:
        yield feed
    finally:
        await feed.stop()
        await database.close()


@contextmanager
def streams_held(ledger: LedgerUnderTest) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Hold the streams as another service's transaction does."""
    with psycopg.connect(ledger.superuser) as holder:
        holder.execute("SELECT 1 FROM feed_streams FOR UPDATE")
        yield holder
        holder.rollback()


async def until_waiting(ledger: LedgerUnderTest) -> int:
    """Wait until someone waits for the streams; give the server process that does."""
    async with await AsyncConnection.connect(ledger.superuser, autocommit=True) as watcher:
        async with asyncio.timeout(HANG_S):
            while True:
                row = await (await watcher.execute(_WAITING, [ledger.schema])).fetchone()
                if row is not None:
                    return int(row[0])


_WAITING = """
SELECT w.pid FROM pg_locks w JOIN pg_locks r ON r.pid = w.pid AND r.locktype = 'relation'
JOIN pg_class c ON c.oid = r.relation AND c.relname = 'feed_streams'
WHERE NOT w.granted AND c.relnamespace = %s::regnamespace
"""
