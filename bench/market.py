"""Claims about the feed: deposits beside it and beside an export, and figures after prices moved."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import msgspec
import psycopg

from bench import figures, served
from bench.broker import Broker, broker_of
from bench.caller import Beside, Caller
from bench.claim import Claim
from bench.deposits import CONNECTIONS, rates
from bench.exporting import PATH, check_whole
from bench.ground import Ground
from bench.load import Answered, WrongAnswer
from bench.sample import Plan, alternately, ratios
from bench.served import Served

QUOTES: Final = 25
DELTA: Final = 100
EACH_S: Final = 0.25
KNOWN: Final = 10_000


def side_by_side(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare deposits beside a users export and a feed with deposits alone."""
    broker = broker_of(ground, plan)
    before = broker.ledger.length()
    with served.durable(broker.ledger) as service:
        Caller(service).tell_quotes(broker)
        rounds = alternately(
            plan,
            lambda: _beside_both(service, broker, plan),
            lambda: _deposits(service, broker, plan),
        )
    booked, answered = broker.ledger.length() - before, sum(side.sent for pair in rounds for side in pair)
    if booked != answered:
        raise WrongAnswer(f"{answered} deposits were answered, {booked} are in the log")
    beside, alone = zip(*rounds, strict=True)
    says = "deposits beside users exports of all accounts and a feed / alone"
    return [
        Claim(
            name="side-by-side",
            says=f"{says}: operations a second",
            sense="at least",
            target=0.7,
            values=ratios((both.rate, alone.rate) for both, alone in rounds),
            notes=[broker.note, rates("beside both", beside), rates("alone", alone)],
        ),
        Claim(
            name="side-by-side-p99",
            says=f"{says}: p99",
            sense="at most",
            target=2.0,
            values=ratios((both.waits.p99_us, alone.waits.p99_us) for both, alone in rounds),
        ),
    ]


class Moved(msgspec.Struct, frozen=True):
    """Deposits, and what each call took that moved all prices meanwhile, in seconds."""

    answered: Answered
    calls_s: list[float] = []


def quotes(ground: Ground, plan: Plan) -> list[Claim]:
    """Move all prices at once; measure until all figures are right, and what is left for deposits."""
    broker = broker_of(ground, plan)
    with served.durable(broker.ledger) as service:
        Caller(service).tell_quotes(broker)
        calls = [call for (call,) in alternately(plan, lambda: _moved_alone(service, broker))]
        rounds = alternately(
            plan,
            lambda: _moved_busy(service, broker, plan),
            lambda: Moved(_deposits(service, broker, plan)),
        )
    beside, alone = zip(*rounds, strict=True)
    moves = f"{len(broker.symbols)} symbols, {broker.size.positions:,} positions"
    says = f"a call that moves {moves}: until figures are right"
    return [
        Claim(
            name="quotes",
            says=says,
            sense="at most",
            target=2.0,
            unit=" s",
            values=calls,
            notes=[broker.note],
        ),
        Claim(
            name="quotes-busy",
            says=f"{says}, call upon call beside deposits",
            sense="at most",
            target=2.0,
            unit=" s",
            values=[median(moved.calls_s) for moved in beside],
        ),
        Claim(
            name="quotes-deposits",
            says="deposits beside such calls / alone: operations a second",
            sense="at least",
            target=0.5,
            values=ratios((busy.answered.rate, quiet.answered.rate) for busy, quiet in rounds),
            notes=[
                rates("beside", [moved.answered for moved in beside]),
                rates("alone", [moved.answered for moved in alone]),
            ],
        ),
    ]


def _deposits(service: Served, broker: Broker, plan: Plan) -> Answered:
    return service.answers(connections=CONNECTIONS, seconds=plan.seconds, **broker.deposits)


def _beside_both(service: Served, broker: Broker, plan: Plan) -> Answered:
    exporter, feeder, turns = Caller(service), Caller(service), _feeding(broker)

    def take_export() -> None:
        check_whole(broker, exporter.export(PATH).lines)

    with Beside(take_export), Beside(lambda: next(turns)(feeder), every_s=EACH_S):
        return _deposits(service, broker, plan)


def _feeding(broker: Broker) -> Iterator[Callable[[Caller], object]]:
    """Give by turns a call of quotes and one of changes of positions."""
    known = _known_positions(broker)
    while True:
        yield lambda caller: caller.tell_quotes(broker, count=QUOTES)
        yield lambda caller: caller.tell_positions(_changed(random.sample(known, DELTA)))


def _known_positions(broker: Broker) -> list[tuple[Any, ...]]:
    query = (
        "SELECT ticket, login, symbol, buy, lots::text, open_price::text FROM positions WHERE ticket <= %s"
    )
    with psycopg.connect(broker.ledger.superuser) as connection:
        return connection.execute(query, [KNOWN]).fetchall()


def _changed(rows: list[tuple[Any, ...]]) -> list[dict[str, object]]:
    return [
        {
            "ticket": ticket,
            "login": login,
            "symbol": symbol,
            "side": "buy" if buy else "sell",
            "lots": lots,
            "openPrice": open_price,
            "storage": -random.randrange(50),
        }
        for ticket, login, symbol, buy, lots, open_price in rows
    ]


def _moved_alone(service: Served, broker: Broker) -> float:
    caller, began = Caller(service), time.perf_counter()
    told = caller.tell_quotes(broker)
    took = time.perf_counter() - began
    figures.check(broker, told)
    return took


def _moved_busy(service: Served, broker: Broker, plan: Plan) -> Moved:
    caller, times, told = Caller(service), list[float](), list[list[list[object]]]()

    def move() -> None:
        began = time.perf_counter()
        told.append(caller.tell_quotes(broker))
        times.append(time.perf_counter() - began)

    with Beside(move):
        answered = _deposits(service, broker, plan)
    figures.check(broker, told[-1])
    return Moved(answered, times)
