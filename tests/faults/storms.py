"""Duplicate storms: a thousand posts at once of what may be booked once, or as far as the money goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

from tests.faults.memory import Memory
from tests.faults.orders import deposit, single, withdrawal
from tests.faults.outcome import more
from tests.faults.rivals import two_in
from tests.faults.wire import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.faults.memory import Answer
    from tests.faults.orders import Call
    from tests.faults.outcome import Outcome
    from tests.faults.shop import Shop

    Told = Sequence[tuple[Call, Answer]]

POSTS = 1_000
CONNECTIONS = 50
HELD = 500
_numbers = count(1)


def storms(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Let every storm break over one service, then over two at once."""
    with two_in(scratch) as shop:
        while more(shop.outcome.rounds, rounds, until):
            urls = shop.urls[: 1 + shop.outcome.rounds % 2]
            for storm in (one_request_id, one_idempotency_key, one_reference, changed_bodies, overdraft):
                storm(Storm(shop, urls, f"{storm.__name__}:{next(_numbers)}"))
            shop.outcome.rounds += 1
        return shop.finish()


def one_request_id(storm: Storm) -> None:
    """The same request a thousand times: booked once, and all others are told of that."""
    call = single(deposit(storm.name, storm.login, Decimal("12.34")))
    told = storm.breaks([call] * POSTS)
    storm.expect(told, {(201, "booked"): 1, (409, "request_applied"): POSTS - 1})
    booked = [answer.json() for _, answer in told if answer.status == 201]
    repeats = [answer.json()["operation"] for _, answer in told if answer.status == 409]
    storm.holds(all(operation in booked for operation in repeats), "told of another operation")


def one_idempotency_key(storm: Storm) -> None:
    """The other habit: everyone gets the first answer, and all but one that it is a replay."""
    call = single(deposit(storm.name, storm.login, Decimal("12.34")))
    told = storm.breaks([call] * POSTS, header="Idempotency-Key")
    storm.expect(told, {(201, "booked"): 1, (201, "replayed"): POSTS - 1})
    storm.holds(len({answer.body for _, answer in told}) == 1, "answers that differ")


def one_reference(storm: Storm) -> None:
    """One payment under a thousand request ids: booked once, and all others are told of that."""
    payment = {"method": "card", "reference": storm.name}
    calls = [
        single(deposit(f"{storm.name}:{n}", storm.login, Decimal("5.00"), **payment)) for n in range(POSTS)
    ]
    told = storm.breaks(calls)
    storm.expect(told, {(201, "booked"): 1, (409, "reference_applied"): POSTS - 1})
    storm.holds(len({answer.json()["operationId"] for _, answer in told}) == 1, "more than one operation")


def changed_bodies(storm: Storm) -> None:
    """One request id with two bodies: one of them is booked, the other is refused every time."""
    calls = [single(deposit(storm.name, storm.login, Decimal(amount))) for amount in ("5.00", "6.00")]
    told = storm.breaks(calls * (POSTS // 2))
    half = POSTS // 2
    repeats, refused = (409, "request_applied"), (400, "request_id_reused")
    storm.expect(told, {(201, "booked"): 1, repeats: half - 1, refused: half})
    storm.holds(len({answer.json()["operationId"] for _, answer in told}) == 1, "more than one operation")


def overdraft(storm: Storm) -> None:
    """A thousand withdrawals of 1 from 500: half of them get it, and nothing is left."""
    storm.breaks([single(deposit(f"{storm.name}:before", storm.login, Decimal(HELD)))])
    names = [f"{storm.name}:{n}" for n in range(POSTS)]
    told = storm.breaks([single(withdrawal(name, storm.login, Decimal(1))) for name in names])
    storm.expect(told, {(201, "booked"): HELD, (400, "not_enough_money"): POSTS - HELD})
    with storm.shop.client() as client:
        storm.holds(client.get(f"/users/{storm.login}").json()["balance"] == 0, "something is left")


class Storm:
    """Posts on many connections, to one service or several, about an account of their own."""

    def __init__(self, shop: Shop, urls: Sequence[str], name: str) -> None:
        self.shop = shop
        self.name = name
        self.login = shop.open_account()
        self._urls = urls

    def breaks(self, calls: Iterable[Call], *, header: str = "x-request-id") -> Told:
        """Send the calls all at once; give who was told what. What was booked is held against the books."""
        told = asyncio.run(self._send(iter(calls), header))
        memory = Memory()
        for call, answer in told:
            if _code(answer) == (201, "booked"):
                memory.asks(call)
                memory.told(call, answer)
        self.shop.check(memory)
        return told

    def expect(self, told: Told, wanted: dict[tuple[int, str], int]) -> None:
        """Hold how often which answer came against how often it should."""
        came = Counter(_code(answer) for _, answer in told)
        self.holds(came == wanted, f"{dict(came)}")

    def holds(self, right: object, words: str) -> None:
        """Take note of what is wrong where something does not hold."""
        self.shop.expect(right, f"{self.name} at {len(self._urls)} services: {words}")

    async def _send(self, calls: Iterator[Call], header: str) -> Told:
        told: list[tuple[Call, Answer]] = []

        async def work(number: int) -> None:
            caller = Caller(self._urls[number % len(self._urls)], self.shop.key)
            for call in calls:
                named = {header: call.orders[0].request_id}
                told.append((call, await caller.post(call.path, call.body, named)))
            caller.close()

        await asyncio.gather(*map(work, range(CONNECTIONS)))
        return told


def _code(answer: Answer) -> tuple[int, str]:
    if "idempotent-replayed" in answer.headers:
        return answer.status, "replayed"
    return answer.status, answer.json().get("code", "booked")
