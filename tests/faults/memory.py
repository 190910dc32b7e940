"""What clients have asked for, and what they were told: the list that the books are held against."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.faults.orders import Call, Order

    Said = tuple[int, Mapping[str, Any]]

REFUSED = {"not_enough_money", "not_enough_credit"}
"""What an order may be told for good: it is not booked."""

REPEAT = {"code": "request_applied"}


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)


class Memory:
    """Remembers orders by their request ids."""

    def __init__(self) -> None:
        self.sent: dict[str, Order] = {}
        self.acknowledged: dict[str, str] = {}
        """Each with the operation that it was told, "" where an atomic call was told of its first alone."""

        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        """An attempt was left without an answer, or with one that says that nobody knows."""

        self.repeated: set[str] = set()
        """Booked by an attempt without an answer, as a repeat was told: booked again it would be a double."""

        self.codes: Counter[str] = Counter()
        """How often orders were told what."""

        self.hung_up = 0
        """How many calls were left without an answer."""

        self.unexpected: list[str] = []
        self.told_at: list[float] = []

    def asks(self, call: Call) -> None:
        """Take note of a call before it is sent."""
        self.sent |= {order.request_id: order for order in call.orders}

    def left(self, call: Call) -> None:
        """Take note that nothing came back."""
        self.unanswered |= {order.request_id for order in call.orders}
        self.hung_up += 1

    def told(self, call: Call, answer: Answer) -> bool:
        """Take note of an answer; say whether it is final for all orders of the call."""
        if answer.status == 503 and "retry-after" not in answer.headers:
            self.unexpected.append(f"no Retry-After: {answer.body.decode()}")
        by_order = zip(call.orders, _said(call, answer), strict=True)
        final = [self._one(order, *said) for order, said in by_order]
        return all(final)

    @property
    def must_be_absent(self) -> set[str]:
        """What was refused whenever it was asked for."""
        return self.refused - self.unanswered

    @property
    def gap_longest_s(self) -> float:
        """The longest time between two acknowledgements."""
        return max((b - a for a, b in zip(self.told_at, self.told_at[1:], strict=False)), default=0.0)

    def take_over(self, other: Memory) -> None:
        """Remember also what another remembers."""
        self.sent |= other.sent
        self.acknowledged |= other.acknowledged
        self.refused |= other.refused
        self.unanswered |= other.unanswered
        self.repeated |= other.repeated
        self.codes += other.codes

    def _one(self, order: Order, status: int, body: Mapping[str, Any]) -> bool:
        name, code = order.request_id, body.get("code", "booked")
        self.codes[code] += 1
        if status == 503:
            self.unanswered.add(name)
            return False
        if status == 201 or (code == "request_applied" and self._may_be_booked(name)):
            self._acknowledge(name, body["operationId"], repeat=status != 201)
        elif code in REFUSED and name not in self.acknowledged:
            self.refused.add(name)
        else:
            self.unexpected.append(f"{name}: {status} {body}")
        return True

    def _may_be_booked(self, name: str) -> bool:
        return name in self.unanswered or name in self.acknowledged

    def _acknowledge(self, name: str, operation_id: str, *, repeat: bool) -> None:
        if name not in self.acknowledged:
            self.told_at.append(time.monotonic())
            if repeat:
                self.repeated.add(name)
        elif not repeat:
            self.unexpected.append(f"{name} was booked anew as {operation_id}")
        known = self.acknowledged.get(name) or operation_id
        if operation_id and operation_id != known:
            self.unexpected.append(f"{name} was {known} and is now {operation_id}")
        self.acknowledged[name] = known
        self.refused.discard(name)


def _said(call: Call, answer: Answer) -> Iterator[Said]:
    """Give what the answer says of each order: status and body."""
    body = answer.json()
    if answer.status == 200:
        of_one = _of_deal if call.way == "deals" else _of_item
        yield from map(of_one, body["results"])
    elif "idempotent-replayed" in answer.headers:
        yield 409, body | REPEAT
    else:
        yield answer.status, body
        for _ in call.orders[1:]:  # an atomic call that was applied before names the operation of its first
            yield answer.status, body | {"operationId": ""}


def _of_item(result: Mapping[str, Any]) -> Said:
    return result["httpStatus"], result


def _of_deal(result: Mapping[str, Any]) -> Said:
    match result["status"]:
        case "accepted":
            return 201, result
        case "ignored":
            return 409, {**REPEAT, **result}
        case _:
            return 400, result
