"""The read models are what the log says: a rebuild gives the live rows, a verification names what differs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.sql import SQL

from ledger.codec import UnknownEvent
from ledger.commands import (
    CreateKey,
    DisableAccount,
    EnableAccount,
    ExpireCredit,
    RevokeKey,
    StartSimulation,
    UpdateAccount,
)
from ledger.continuity import LogBroken
from ledger.events import decode, encode
from ledger.merkle import leaf_hash
from projections import history, install, rebuild, replay, schema
from projections.history import snapshot
from projections.history_filter import Filter
from projections.unindexed import PUT_OFF
from tests.drive import HANG_S, Clock, codes_of
from tests.make import (
    NOW,
    adjust,
    at,
    cents,
    correct,
    credit,
    deal,
    define_group,
    define_server,
    define_symbol,
    deposit,
    key,
    open_account,
    request,
    reverse,
    transfer,
    withdraw,
)
from tests.service import within

if TYPE_CHECKING:
    from ledger.commands import Command
    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio

LOGINS = range(1001, 1007)
EARLY = at("0001-01-01")
TEXTS = (
    *("null", "NULL", '"', '""', "\\", "\\.", "\\n", '\\"', "\\u0041", "a,b", "],[", "]\n[", "é☂😀"),
    *("a\nb", "a\r\nb\r", "\\.\n\\.", "\t", "\b\f\v", "\x01\x1f\x7f\x85", " x ", "'", "{1}", "(a)", "[", "]"),
)
INDEXES = (
    "SELECT pg_get_indexdef(indexrelid), indisvalid, indisprimary, indisunique FROM pg_index"
    " WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
    " ORDER BY 1"
)
CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace ORDER BY 1, 2"
)


@pytest.fixture
async def busy(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger in which something of everything happened, over some days."""
    chance = random.Random(11)
    clock = Clock()
    async with ledger.desk(clock=clock) as desk:
        await beginnings(desk)
        for _ in range(12):
            clock.forward(hours=chance.choice([0, 1, 9, 30]))
            asked = [anything(chance, clock) for _ in range(25)]
            caller = chance.choice([None, key(amount_day_max=500, key_id="limited")])
            await desk.writer.submit_bulk([request(command, caller=caller) for command in asked])
        await desk.writer.submit_bulk([request(command) for command in endings(ledger, clock)])
    return ledger


async def beginnings(desk: Desk) -> None:
    limited = CreateKey(
        key="limited",
        name="clerk",
        role="finance",
        scopes=("a", "b"),
        groups="*",
        secret_hash="00",
        amount_day_max="500",
    )
    other = CreateKey(
        key="k2",
        name="x",
        role="admin",
        scopes=(),
        groups="vip",
        secret_hash="01",
        logins=(1001,),
        expires_at=NOW,
    )
    first = [
        define_group(permissions={"rate": 1.5}),
        define_group("vip", leverage=500, max_operation=200, margin_call="100", withdraw_policy="mt"),
        define_group("yen", "JPY"),
        define_symbol(description="Euro"),
        define_server("Europe/Athens", "00:00", "mon-fri", "EUR"),
        limited,
        other,
        *(open_account(login, name=f"Client {login}", email="a@b.c") for login in LOGINS),
        open_account(2001, group="yen", enable=False),
    ]
    assert set(codes_of(await desk.writer.submit_bulk([request(command) for command in first]))) == {"booked"}


def anything(chance: random.Random, clock: Clock) -> Command:
    login, other = chance.sample(LOGINS, 2)
    amount, earlier = chance.randint(1, 90), clock.now - timedelta(hours=chance.randint(0, 99))
    note: dict[str, Any] = {"comment": "été ☂", "metadata": {"order": 1.50}, "effective_at": earlier}
    paid = {"method": "card", "reference": f"p{chance.randint(1, 40)}"}
    expires_at = clock.now + timedelta(hours=chance.randint(1, 50))
    return chance.choice(
        [
            deposit(amount, login=login, **note),
            deposit(amount, login=login, **paid),
            deposit(amount, login=2001),
            withdraw(amount, login=login, **paid),
            credit(amount, login=login, expires_at=expires_at),
            credit(amount, login=login, **note),
            credit(-amount, login=login),
            transfer(amount, source=login, target=other, **paid),
            correct(balance=-amount, credit=amount, login=login),
            reverse(chance.randint(14, 250)),
            reverse(chance.randint(14, 250)),
            adjust("charge", -amount, login=login),
            adjust("bonus-conversion", amount, login=login),
            adjust("opening", amount, credit=amount, login=login),
            adjust("negative-balance", login=login),
            UpdateAccount(
                login=login, name="Anna", city="Köln", group=chance.choice(["vip", "standard", None])
            ),
            UpdateAccount(login=login, enable=True, leverage=amount),
            DisableAccount(login=login),
            EnableAccount(login=login),
            define_group("vip", leverage=amount, max_operation=amount * 100),
            deal(f"d{amount}", -amount, login=login, symbol="EURUSD", ticket=amount, lots="0.1"),
            define_symbol(margin_rate=str(amount)),
        ]
    )


def endings(ledger: LedgerUnderTest, clock: Clock) -> list[Command]:
    clock.forward(days=5)
    grants = ledger.rows(
        "SELECT login, (g ->> 0)::bigint FROM accounts, jsonb_array_elements(grants::jsonb) AS g ORDER BY 2"
    )
    assert grants
    return [
        *(ExpireCredit(login=login, grant=grant) for login, grant in grants),
        RevokeKey(key="k2", revoked_at=NOW),
        RevokeKey(key="k2", revoked_at=NOW + timedelta(days=9)),
        define_server("America/New_York", "17:00"),
        deposit(1),
    ]


def rebuilt(ledger: LedgerUnderTest) -> int:
    return rebuild.rebuild(ledger.database_url, ledger.name)


def migrated(ledger: LedgerUnderTest) -> list[str]:
    return install.migrate(ledger.database_url, ledger.name)


def until_someone_waits_for_views(ledger: LedgerUnderTest) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    with ledger.connect() as connection:
        within(HANG_S, lambda: connection.execute(waiting).fetchone() != (0,))


def waits(ledger: LedgerUnderTest, process: int) -> bool:
    """Tell whether a process of the server waits for another's lock."""
    return ledger.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", process) is True


def differences(ledger: LedgerUnderTest) -> list[str]:
    return list(rebuild.verify(ledger.database_url, ledger.name))


def tables(ledger: LedgerUnderTest) -> dict[str, list[str]]:
    """Give every read model's rows as text."""
    with ledger.connect() as connection:
        names = [name for name in schema.view_tables(connection) if name not in rebuild.PARTS]
        query = SQL("SELECT to_jsonb(t)::text FROM ({}) AS t ORDER BY 1")
        rows = {name: query.format(rebuild.compared(name, ledger.schema)) for name in names}
        return {name: [row for (row,) in connection.execute(rows[name]).fetchall()] for name in names}


def schemas(ledger: LedgerUnderTest) -> int:
    """Count the ledger's own schema and the shadows of it."""
    query = "SELECT count(*) FROM pg_namespace WHERE nspname = %s OR starts_with(nspname, %s)"
    return int(ledger.value(query, ledger.schema, f"shadow_{ledger.schema}_"))


def shadow_of_no_run(ledger: LedgerUnderTest) -> str:
    """Make a shadow that no rebuild works in; give its name."""
    shadow = f"shadow_{ledger.schema}_0123abcd"
    ledger.rows(f"CREATE SCHEMA {shadow} AUTHORIZATION {schema.OWNER}")
    ledger.rows(f"CREATE TABLE {shadow}.accounts (login bigint)")
    return shadow


def kill_rebuild(ledger: LedgerUnderTest) -> None:
    """Kill the one rebuild that runs: it holds the lock of its shadow."""
    held = (
        "SELECT pg_terminate_backend(pid, %s) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert ledger.value(held, 1000 * HANG_S)


def unknown_event(ledger: LedgerUnderTest) -> int:
    """Put an event of a type that nobody knows at the end of the log."""
    state = b'{"type":"moon-landed"}'
    return int(
        ledger.value(
            "INSERT INTO ledger_events SELECT max(notification_id) + 1, 'moon', 1, 'moon-landed', %s, %s"
            " FROM ledger_events RETURNING notification_id",
            state,
            leaf_hash(state),
        )
    )


def repeat_last_request(ledger: LedgerUnderTest) -> None:
    """Put the last event of the log there again, as the next operation."""
    [(position, stream, version, topic, state)] = ledger.rows(
        "SELECT notification_id, originator_id, originator_version, topic, state FROM ledger_events"
        " ORDER BY 1 DESC LIMIT 1"
    )
    event = decode(state)
    changes = {"position": position + 1, "operation": position + 1, "version": version + 1}
    again = encode(msgspec.structs.replace(event, **changes))
    row = [position + 1, stream, version + 1, topic, again, leaf_hash(again)]
    ledger.rows("INSERT INTO ledger_events VALUES (%s, %s, %s, %s, %s, %s) RETURNING 1", *row)


async def test_a_rebuild_gives_the_live_rows_of_a_mix_of_everything(busy: LedgerUnderTest) -> None:
    live = tables(busy)
    kinds = {kind for (kind,) in busy.rows("SELECT DISTINCT kind FROM history")}
    assert kinds >= {
        "deposit",
        "withdrawal",
        "credit",
        "transfer",
        "correction",
        "reversal",
        "charge",
        "opening",
        "trade",
    }
    assert busy.value("SELECT count(DISTINCT server_day) FROM days") > 3
    assert busy.value("SELECT count(*) FROM key_usage") > 0
    assert all(live.values())
    assert rebuilt(busy) == busy.positions()[-1]
    assert tables(busy) == live
    assert schemas(busy) == 1


async def test_a_verification_says_nothing_on_a_healthy_ledger(busy: LedgerUnderTest) -> None:
    assert differences(busy) == []
    assert schemas(busy) == 1


async def test_a_rebuild_in_small_chunks_is_the_same(
    busy: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tables(busy)
    for size in (2, 3, 50):
        monkeypatch.setattr(replay, "CHUNK", size)
        rebuilt(busy)
        assert tables(busy) == live


async def test_a_rebuild_that_keeps_few_accounts_at_hand_is_the_same(
    busy: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tables(busy)
    monkeypatch.setattr(replay, "CHUNK", 3)
    for few in (0, 1, 4):
        monkeypatch.setattr(replay, "KNOWN_MAX", few)
        rebuilt(busy)
        assert tables(busy) == live


async def test_a_rebuild_gives_texts_back_to_the_letter(ledger: LedgerUnderTest) -> None:
    chance = random.Random(5)
    texts = [*TEXTS, *("".join(chance.choices(TEXTS, k=4)) for _ in range(200))]
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        said = [
            deposit(1, comment=text, metadata={text: text}, effective_at=at("0001-01-01")) for text in texts
        ]
        asked = [*said, *(deposit(1, method=text, reference=text) for text in TEXTS)]
        outcomes = await desk.writer.submit_bulk([request(command) for command in asked])
    assert set(codes_of(outcomes)) == {"booked"}
    live = tables(ledger)
    rebuilt(ledger)
    assert tables(ledger) == live


async def test_a_rebuilt_table_has_the_indexes_and_constraints_of_a_new_one(busy: LedgerUnderTest) -> None:
    indexes, constraints = busy.rows(INDEXES), busy.rows(CONSTRAINTS)
    assert {*PUT_OFF} <= {name for (name,) in busy.rows("SELECT indexrelid::regclass::text FROM pg_index")}
    rebuilt(busy)
    assert busy.rows(INDEXES) == indexes
    assert busy.rows(CONSTRAINTS) == constraints


async def test_a_rebuild_refuses_a_request_that_the_log_has_twice(busy: LedgerUnderTest) -> None:
    live = tables(busy)
    repeat_last_request(busy)
    with pytest.raises(psycopg.errors.UniqueViolation, match="requests_pkey"):
        rebuilt(busy)
    assert tables(busy) == live
    assert schemas(busy) == 1


async def test_a_rebuild_puts_altered_rows_right(busy: LedgerUnderTest) -> None:
    live = tables(busy)
    busy.rows("UPDATE accounts SET balance = balance + 1, balance_before_day = 5")
    busy.rows("DELETE FROM history WHERE login = 1002")
    busy.rows("TRUNCATE requests")
    rebuilt(busy)
    assert tables(busy) == live


@pytest.mark.parametrize(
    ("table", "alteration", "row"),
    [
        ("accounts", "UPDATE accounts SET balance = balance + 1 WHERE login = 1003", '"login": 1003'),
        ("accounts", "UPDATE accounts SET balance_before_month = 7 WHERE login = 1003", '"login": 1003'),
        ("history", "UPDATE history SET comment = 'x' WHERE \"position\" = 20", '"position": 20'),
        (
            "history",
            'DELETE FROM history WHERE "position" = (SELECT max("position") FROM history)',
            "rebuilt only",
        ),
        ("requests", "INSERT INTO requests VALUES ('forged', 20, 1)", "forged"),
        ("key_usage", "UPDATE key_usage SET used = 0", "key_usage"),
        ("groups", "UPDATE groups SET leverage = 1 WHERE group_name = 'yen'", "yen"),
        ("keys", "UPDATE keys SET secret_hash = '99' WHERE key_id = 'k2'", "k2"),
        ("profiles", "UPDATE profiles SET name = 'Eve' WHERE login = 1004", "Eve"),
        ("server", "UPDATE server SET book_currency = 'GBP'", "book_currency"),
        ("days", "DELETE FROM days WHERE server_day = (SELECT min(server_day) FROM days)", "rebuilt only"),
    ],
)
async def test_a_verification_names_the_row_that_was_altered(
    busy: LedgerUnderTest, table: str, alteration: str, row: str
) -> None:
    busy.rows(alteration)
    found = differences(busy)
    assert found
    assert {line.split(",")[0] for line in found} == {table}
    assert any(row in line for line in found)
    assert schemas(busy) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE ledger_events SET leaf_hash = sha256('x') WHERE notification_id = 20", "leaf hash"),
        ("UPDATE ledger_events SET state = state || ' ' WHERE notification_id = 20", "leaf hash"),
        ("DELETE FROM ledger_events WHERE notification_id = 20", "missing"),
        ("UPDATE ledger_events SET originator_version = 999 WHERE notification_id = 20", "another place"),
        ("UPDATE ledger_events SET topic = 'account-opened' WHERE notification_id = 20", "another place"),
    ],
)  # fmt: skip
async def test_a_damaged_log_is_named_by_position_and_the_live_rows_stay(
    busy: LedgerUnderTest, damage: str, reason: str
) -> None:
    live = tables(busy)
    busy.rows(damage)
    [line] = differences(busy)
    assert "position 20" in line
    assert reason in line
    assert schemas(busy) == 1
    with pytest.raises(LogBroken, match="position 20"):
        rebuilt(busy)
    assert tables(busy) == live


async def test_a_replay_that_broke_off_does_not_go_on_after_what_it_lost(busy: LedgerUnderTest) -> None:
    with psycopg.connect(busy.superuser) as connection:
        run = replay.Replay(connection)
        connection.execute("UPDATE ledger_events SET leaf_hash = sha256('x') WHERE notification_id = 20")
        with pytest.raises(LogBroken, match="position 20"):
            run.catch_up()
        with pytest.raises(RuntimeError, match="begin it again"):
            run.catch_up()
        connection.rollback()


async def test_an_event_that_is_cut_off_at_the_end_is_missed(busy: LedgerUnderTest) -> None:
    busy.rows(
        "DELETE FROM ledger_events WHERE notification_id = (SELECT max(notification_id) FROM ledger_events)"
    )
    assert {line.split(",")[0] for line in differences(busy)} >= {"history", "requests", "accounts"}


async def test_an_event_of_an_unknown_type_stops_a_rebuild_by_its_position(busy: LedgerUnderTest) -> None:
    live = tables(busy)
    position = unknown_event(busy)
    with pytest.raises(UnknownEvent, match=f"position {position} of type 'moon-landed'"):
        rebuilt(busy)
    assert tables(busy) == live
    [line] = differences(busy)
    assert f"position {position}" in line


async def test_a_rebuild_that_was_stopped_can_be_repeated(busy: LedgerUnderTest) -> None:
    live = tables(busy)
    position = unknown_event(busy)
    with pytest.raises(UnknownEvent):
        rebuilt(busy)
    busy.rows("DELETE FROM ledger_events WHERE notification_id = %s", position)
    rebuilt(busy)
    assert tables(busy) == live
    assert schemas(busy) == 1


async def test_a_rebuild_within_a_rebuild_leaves_the_live_rows_right(
    busy: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tables(busy)
    inner: list[int] = []
    monkeypatch.setattr(replay, "CHUNK", 50)

    def rebuild_once(_: int) -> None:
        if not inner:
            inner.append(rebuilt(busy))
            assert tables(busy) == live
            assert schemas(busy) == 2

    busy.rows("UPDATE accounts SET balance = balance + 1")
    rebuild.rebuild(busy.database_url, busy.name, rebuild_once)
    assert inner == [busy.positions()[-1]]
    assert tables(busy) == live
    assert differences(busy) == []
    assert schemas(busy) == 1


async def test_rebuilds_at_the_same_time_leave_the_live_rows_right(
    busy: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tables(busy)
    monkeypatch.setattr(replay, "CHUNK", 50)
    reached = await asyncio.gather(*(asyncio.to_thread(rebuilt, busy) for _ in range(3)))
    assert set(reached) == {busy.positions()[-1]}
    assert tables(busy) == live
    assert schemas(busy) == 1


async def test_a_rebuild_drops_the_shadow_of_one_that_was_killed(
    busy: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tables(busy)
    monkeypatch.setattr(replay, "CHUNK", 50)
    with pytest.raises(psycopg.OperationalError):
        rebuild.rebuild(busy.database_url, busy.name, lambda _: kill_rebuild(busy))
    assert tables(busy) == live
    assert schemas(busy) == 2
    rebuilt(busy)
    assert tables(busy) == live
    assert schemas(busy) == 1


async def test_a_rebuild_leaves_a_shadow_whose_owner_lives(ledger: LedgerUnderTest) -> None:
    shadow = shadow_of_no_run(ledger)
    with ledger.connect() as owner:
        owner.execute("SELECT pg_advisory_lock(hashtext(%s))", [shadow])
        rebuilt(ledger)
        assert schemas(ledger) == 2
    rebuilt(ledger)
    assert schemas(ledger) == 1


async def test_the_ledger_is_served_while_it_is_rebuilt(busy: LedgerUnderTest) -> None:
    async with busy.desk(clock=Clock(at("2027-01-05 12:00"))) as desk:
        stop = asyncio.Event()
        booked: list[str] = []

        async def client(number: int) -> None:
            n = 0
            while not stop.is_set():
                booked.append(await desk.code(deposit(1, login=1001 + number), f"during-{number}-{n}"))
                n += 1

        clients = [asyncio.create_task(client(number)) for number in range(4)]
        for _ in range(3):
            await asyncio.to_thread(rebuilt, busy)
        stop.set()
        await asyncio.gather(*clients)
        assert set(booked) == {"booked"}
        assert await desk.code(deposit(1, login=1001), "during-0-0") == "request_applied"
        assert await desk.code(transfer("0.01"), "after") in {
            "booked",
            "not_enough_money",
            "account_disabled",
        }
    assert busy.value("SELECT count(*) FROM requests WHERE request_id LIKE 'during-%%'") == len(booked)
    assert differences(busy) == []


async def test_a_rebuilt_ledger_goes_on_where_it_was(busy: LedgerUnderTest) -> None:
    rebuilt(busy)
    before, last = busy.balance(1003), busy.positions()[-1]
    async with busy.desk(clock=Clock(at("2027-01-05 12:00"))) as desk:
        [event] = await desk.book(deposit(5, login=1003))
    assert event.position == last + 1
    assert busy.balance(1003) == before + cents(5)
    assert differences(busy) == []


async def test_an_empty_ledger_is_rebuilt_and_verified(ledger: LedgerUnderTest) -> None:
    assert rebuilt(ledger) == 0
    assert differences(ledger) == []


async def test_a_simulated_ledger_is_rebuilt(ledger: LedgerUnderTest) -> None:
    async with ledger.desk(clock=Clock(at("2020-01-01 00:00"))) as desk:
        await desk.book(define_group())
        await desk.book(StartSimulation(starts_at=at("2020-01-01 00:00")))
        await desk.book(define_server("Europe/Athens"))
        await desk.book(open_account(1001))
        await desk.book(deposit(1))
    live = tables(ledger)
    assert differences(ledger) == []
    rebuilt(ledger)
    assert tables(ledger) == live


@pytest.mark.parametrize("begins", ["2026-11-19 08:00", "2026-11-20 08:00", "2026-11-21 08:00"])
async def test_the_days_of_a_simulated_ledger_begin_with_its_simulation(
    ledger: LedgerUnderTest, begins: str
) -> None:
    clock = Clock(at("2026-11-19 15:00"))
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_group())
        clock.forward(days=1)
        await desk.book(define_group("vip"))
    clock = Clock(at(begins))
    today = clock.now.date()
    async with ledger.desk(clock=clock) as desk:
        await desk.book(StartSimulation(starts_at=clock.now))
        await desk.book(open_account(1001))
        clock.forward(hours=1)
        await desk.book(deposit(100))
    live = tables(ledger)
    assert ledger.rows("SELECT server_day FROM days") == [(today,)]
    async with await psycopg.AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        of_today = await history.page(connection, Filter(login=1001, from_day=today))
        until_yesterday = await history.page(connection, Filter(login=1001, to_day=today - timedelta(days=1)))
    assert [len(of_today.rows), len(until_yesterday.rows)] == [1, 0]
    assert differences(ledger) == []
    rebuilt(ledger)
    assert tables(ledger) == live


async def test_sums_over_nobody_that_are_not_zero_are_found(busy: LedgerUnderTest) -> None:
    busy.rows("INSERT INTO totals VALUES ('ghost', true, '-infinity', '-infinity', 0, 777, 0, 777, 777)")
    [difference] = differences(busy)
    assert "ghost" in difference


@pytest.mark.parametrize("replace", ["rebuild", "migrate"])
async def test_a_reader_in_the_middle_of_its_questions_is_not_thrown_out(
    busy: LedgerUnderTest, replace: str
) -> None:
    live = tables(busy)
    if replace == "migrate":
        busy.rows("UPDATE migrations SET digest = '' WHERE name = %s", schema.VIEWS)
    work = rebuilt if replace == "rebuild" else migrated
    with psycopg.connect(busy.superuser) as reader:
        reader.execute("SELECT count(*) FROM groups")
        task = asyncio.create_task(asyncio.to_thread(work, busy))
        await asyncio.to_thread(until_someone_waits_for_views, busy)
        reader.execute("SELECT count(*) FROM accounts")  # which has not gone, and can be locked
    await task
    assert tables(busy) == live


async def test_a_reader_during_the_swap_sees_all_that_was_booked(busy: LedgerUnderTest) -> None:
    loop = asyncio.get_running_loop()
    positions: list[int] = []
    asked: list[concurrent.futures.Future[tuple[int, int]]] = []
    async with (
        busy.desk(clock=Clock(at("2027-01-05 12:00"))) as desk,
        await AsyncConnection.connect(busy.service, autocommit=True) as connection,
    ):

        async def read() -> tuple[int, int]:
            async with snapshot(connection):
                found = await connection.execute(
                    'SELECT (SELECT max("position") FROM history), max(notification_id) FROM ledger_events'
                )
                [(rows, log)] = await found.fetchall()
                return rows, log

        def replayed_to(position: int) -> None:
            """Book after the first passes; when the last one is done, under all locks, have somebody read."""
            positions.append(position)
            if len(positions) < 3:
                asyncio.run_coroutine_threadsafe(desk.book(deposit(1)), loop).result(HANG_S)
            elif not asked:
                asked.append(asyncio.run_coroutine_threadsafe(read(), loop))
                within(HANG_S, lambda: waits(busy, connection.info.backend_pid))

        await asyncio.to_thread(rebuild.rebuild, busy.database_url, busy.name, replayed_to)
        rows, log = await asyncio.wrap_future(asked[0])
    assert rows == log == positions[-1]


async def test_a_verification_says_that_a_rebuild_came_between_and_blames_no_row(
    busy: LedgerUnderTest,
) -> None:
    again: list[int] = []

    def rebuild_once(_: int) -> None:
        if not again:
            again.append(rebuilt(busy))

    [said] = rebuild.verify(busy.database_url, busy.name, rebuild_once)
    assert "a rebuild has replaced the read models meanwhile" in said
    assert again == [busy.positions()[-1]]
    assert differences(busy) == []


async def test_a_ledger_that_does_not_exist_is_neither_rebuilt_nor_verified(database_url: str) -> None:
    with pytest.raises((schema.SchemaOutdated, psycopg.Error)):
        rebuild.rebuild(database_url, "nowhere")
    with pytest.raises((schema.SchemaOutdated, psycopg.Error)):
        list(rebuild.verify(database_url, "nowhere"))
