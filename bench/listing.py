"""Claims about the accounts list: totals, filters, a page over HTTP, the previous balances of a page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import uvloop
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.numeric import Int8

from api.clocks import real_now
from api.database import Database
from bench import served
from bench.broker import MASK, Broker, broker_of
from bench.caller import Beside, Caller
from bench.claim import Claim
from bench.ground import Ground, Ledger
from bench.load import WrongAnswer
from bench.sample import Plan, Spread, alternately, percentile, ratios
from bench.served import Served
from ledger.definitions import Definitions
from ledger.masks import ALL, parse_mask
from projections.accounts import STRUCTURE
from projections.accounts_filter import Filter, Rule, make_rule
from projections.accounts_scope import Scope, resolve
from projections.batch import BatchViews
from projections.history import snapshot
from projections.sql import sql
from projections.totals import Moment, read_sums, read_totals

LIMIT: Final = 100
CALLS_MIN: Final = 3
WRITERS: Final = 16
PATH: Final = f"/accounts?groupFilter={quote(MASK)}&limit={LIMIT}&offset=0"
ENABLED: Final = make_rule("where[0]", "enable", "=", [Fraction(1)])
FILTERS: Final = (
    make_rule("where[1]", "balance", ">=", [Fraction(9_000)]),
    make_rule("where[1]", "prevbalance", ">", [Fraction(10_000)]),
    make_rule("where[1]", "leverage", "=", [Fraction(100)]),
    make_rule("where[1]", "login", "between", [Fraction(200_000), Fraction(400_000)]),
    make_rule("where[1]", "country", "=", ["Austria"]),
    make_rule("where[1]", "name", "like", ["%77%"]),
    make_rule("where[1]", "equity", ">", [Fraction(10_000)]),
    make_rule("where[1]", "profit", "<", [Fraction(0)]),
    make_rule("where[1]", "online", "=", [Fraction(1)]),
)
SCANNED: Final = "one sequential scan for the same sums"
_SCAN: Final = Path(__file__).with_name("totals_scan.sql").read_bytes()


class Reading(msgspec.Struct, frozen=True):
    """A ledger as a handler reads it: a connection, the definitions, and the times of quotes."""

    connection: AsyncConnection[Any]
    definitions: Definitions
    oldest: datetime
    newest: datetime

    @property
    def fresh(self) -> Moment:
        """A moment when no quote is old."""
        return _moment(self.oldest)

    @property
    def present(self) -> Moment:
        """A moment when the newest quote is of now."""
        return _moment(self.newest)

    @property
    def late(self) -> Moment:
        """A moment when no quote has come for an hour."""
        return _moment(self.newest + timedelta(hours=1))

    def scope(self, *rules: Rule, everything: bool = False) -> Scope:
        """Look a filter up."""
        mask = ALL if everything else parse_mask(MASK)
        return resolve(Filter(group_mask=mask, rules=rules), self.definitions)


Ask = Callable[[Reading], Awaitable[object]]


def totals(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare totals of groups and flags with a scan, also while deposits are booked."""
    broker = broker_of(ground, plan)
    asks: dict[str, Ask] = {
        "mask and enable": lambda reading: _totals(reading, reading.scope(ENABLED), reading.fresh),
        "no rule": lambda reading: _totals(reading, reading.scope(everything=True), reading.fresh),
        "both, one quote old": lambda reading: _totals(reading, reading.scope(ENABLED), reading.present),
        "both, all quotes old": lambda reading: _totals(reading, reading.scope(ENABLED), reading.late),
        "one scan": scan,
    }
    broker.age_last_quote()
    ledger, rates = broker.ledger, list[float]()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, served.durable(ledger) as service:
        sides = [_p50(runner, broker, ask, _shorter(plan)) for ask in asks.values()]
        runner.run(_check(ledger))
        quiet = alternately(plan, *sides)
        with Beside(lambda: rates.append(_deposits(service, broker, plan))):
            busy = alternately(plan, *sides)
            runner.run(_check(ledger))
    says = f"totals with a group mask and enable / {SCANNED}"
    all_says = f"totals of all accounts / {SCANNED}"
    busy_says = f"the slower of both / {SCANNED}, while deposits go on"
    old_says = f"totals with both, where a quote is old, or all are: the slower / {SCANNED}"
    notes = [broker.note, *_times(asks, quiet)]
    busy_notes = [f"meanwhile {Spread.of(rates)} deposits/s", *_times(asks, busy)]
    return [
        _against_scan("totals", says, 0.005, quiet, of=(0,), notes=notes),
        _against_scan("totals-all", all_says, 0.02, quiet, of=(1,)),
        _against_scan("totals-old-quotes", old_says, 0.02, quiet, of=(2, 3)),
        _against_scan("totals-writes", busy_says, 0.02, busy, of=(0, 1), notes=busy_notes),
    ]


def filters(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare totals of other filters with a scan."""
    broker = broker_of(ground, plan)
    asks: dict[str, Ask] = {_name(rule): _filtered(rule) for rule in FILTERS} | {"one scan": scan}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = alternately(plan, *(_p50(runner, broker, ask, _shorter(plan)) for ask in asks.values()))
    says = f"totals with a mask, enable and another rule: the slowest of {len(FILTERS)} / {SCANNED}"
    every = range(len(FILTERS))
    return [_against_scan("filters", says, 0.7, rounds, of=every, notes=_times(asks, rounds))]


def page(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare a first page over HTTP with the same route answering from memory."""
    broker = broker_of(ground, plan)
    with served.durable(broker.ledger) as service, served.from_memory(broker.ledger) as memory:
        _check_page(service, memory)
        caller, seconds = Caller(service), plan.seconds / 2

        def read() -> float:
            caller.tell_quotes(broker)  # an hour without quotes is another question
            return service.answers(connections=1, seconds=seconds, what="get", path=PATH).waits.p50_us

        rounds = alternately(
            plan,
            read,
            lambda: memory.answers(connections=1, seconds=seconds, what="get", path=PATH).waits.p50_us,
        )
    return [
        Claim(
            name="accounts-page",
            says=f"first page of {LIMIT} accounts with totals, mask, over HTTP, p50 / the same from memory",
            sense="at most",
            target=5.0,
            values=ratios((ledger, kept) for ledger, kept in rounds),
            notes=_times(("from the ledger", "from memory"), rounds),
        )
    ]


def prev_columns(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the rows of a page with the same rows without the two previous balances."""
    broker = broker_of(ground, plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = [runner.run(_with_and_without(broker.ledger, plan.seconds)) for _ in range(plan.rounds)]
    return [
        Claim(
            name="prev-columns",
            says=f"rows of a page of {LIMIT} / the same without prevbalance and prevmonthbalance",
            sense="at most",
            target=1.1,
            values=ratios(rounds),
            notes=_times(("with both", "without"), rounds),
        )
    ]


@asynccontextmanager
async def reading(ledger: Ledger) -> AsyncIterator[Reading]:
    """Read a ledger as the service does, in this process."""
    database = Database(ledger.url, ledger.name)
    await database.open()
    async with database.reading() as connection:
        definitions = await BatchViews().load_definitions(connection)
        found = await connection.execute("SELECT min(quoted_at), max(quoted_at) FROM quotes")
        [[oldest, newest]] = await found.fetchall()
        yield Reading(connection, definitions, oldest, newest)
    await database.close()


async def scan(reading: Reading) -> list[tuple[Any, ...]]:
    """Add up by one sequential scan, in one process of PostgreSQL's."""
    await reading.connection.execute("SET max_parallel_workers_per_gather = 0")
    cursor = reading.connection.cursor(binary=True)
    return await (await cursor.execute(_SCAN, reading.fresh.params, prepare=True)).fetchall()


def _shorter(plan: Plan) -> Plan:
    """Give each of many sides a part of the time."""
    return msgspec.structs.replace(plan, seconds=plan.seconds / 4)


def _moment(quoted: datetime) -> Moment:
    today = real_now().date()
    return Moment(now=quoted, server_day=today, trading_day=today)


async def _totals(reading: Reading, scope: Scope, moment: Moment) -> object:
    return await read_totals(reading.connection, scope, reading.definitions, moment)


def _filtered(rule: Rule) -> Ask:
    return lambda reading: _totals(reading, reading.scope(ENABLED, rule), reading.fresh)


def _name(rule: Rule) -> str:
    return f"{rule.field} {rule.test} {', '.join(map(str, rule.values))}"


def _deposits(service: Served, broker: Broker, plan: Plan) -> float:
    return service.answers(connections=WRITERS, seconds=plan.seconds, **broker.deposits).rate


def _p50(runner: asyncio.Runner, broker: Broker, ask: Ask, plan: Plan) -> Callable[[], float]:
    return lambda: runner.run(_median_us(broker.ledger, ask, plan.seconds))


async def _median_us(ledger: Ledger, ask: Ask, seconds: float) -> float:
    times: list[float] = []
    async with reading(ledger) as here:
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < seconds or len(times) < CALLS_MIN:
            await ask(here)
            times.append(time.perf_counter() - start)
    return percentile(sorted(times), 0.5) * 1e6


async def _check(ledger: Ledger) -> None:
    """Compare, in one snapshot, what is kept with what a scan finds: they must agree to the unit."""
    async with reading(ledger) as here, snapshot(here.connection):
        kept = await read_sums(here.connection, here.scope(ENABLED), here.fresh)
        found = [(group, *map(int, numbers)) for group, *numbers in await scan(here)]
    if [msgspec.structs.astuple(sums)[:10] for sums in kept] != found:
        raise WrongAnswer("the totals that are kept are not what a scan finds")


def _check_page(service: Served, memory: Served) -> None:
    from_ledger, from_memory = Caller(service).get(PATH), Caller(memory).get(PATH)
    if from_ledger["rows"] != from_memory["rows"] or len(from_ledger["rows"]) != LIMIT:
        raise WrongAnswer("the page from memory is another")


async def _with_and_without(ledger: Ledger, seconds: float) -> tuple[float, float]:
    """Read the same rows in turn with and without the two columns; give the medians of both."""
    whole, less = _rows(STRUCTURE), _rows([name for name in STRUCTURE if not name.startswith("prev")])
    times: tuple[list[float], list[float]] = ([], [])
    async with reading(ledger) as here:
        params = {"logins": await _first_logins(here)} | here.fresh.params
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for statement, taken in zip((whole, less), times, strict=True):
                start = time.perf_counter()
                cursor = here.connection.cursor(binary=True)
                await (await cursor.execute(statement, params, prepare=True)).fetchall()
                taken.append(time.perf_counter() - start)
    return percentile(sorted(times[0]), 0.5) * 1e6, percentile(sorted(times[1]), 0.5) * 1e6


def _rows(columns: Sequence[str]) -> bytes:
    """Give the statement for the rows of a page, as the list has it, with some columns."""
    names = SQL(", ".join(f'v."{name}"' for name in columns))
    return (
        SQL(sql("accounts_rows")).format(columns=names, accounts=SQL(sql("figures_of_accounts"))).as_bytes()
    )


async def _first_logins(here: Reading) -> list[Int8]:
    query = "SELECT login FROM accounts WHERE group_name LIKE 'std-%%' ORDER BY login LIMIT %s"
    rows = await (await here.connection.execute(query, [LIMIT])).fetchall()
    return [Int8(login) for (login,) in rows]


def _against_scan(
    name: str,
    says: str,
    target: float,
    rounds: Sequence[tuple[float, ...]],
    *,
    of: Iterable[int],
    notes: Sequence[str] = (),
) -> Claim:
    """Claim that even the slowest of some sides keeps to a share of the last side, the scan."""
    values = [max(times[place] for place in of) / times[-1] for times in rounds]
    return Claim(name=name, says=says, sense="at most", target=target, values=values, notes=list(notes))


def _times(sides: Iterable[str], rounds: Sequence[tuple[float, ...]]) -> list[str]:
    named = zip(sides, zip(*rounds, strict=True), strict=True)
    return [f"{side}: p50 {Spread.of(us / 1_000 for us in times)} ms" for side, times in named]
