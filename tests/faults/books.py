"""The books as the service shows them, held against what clients remember and against themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults.orders import Leg
from tests.service import BOUND_S, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import httpx

    from tests.faults.memory import Memory
    from tests.faults.orders import Order

    Held = Mapping[int, tuple[Decimal, Decimal]]

PAGE = 10_000


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """A line of history."""

    request_id: str
    login: int
    balance_change: Decimal
    credit_change: Decimal
    operation_id: str
    position: int
    recorded_at: str = ""

    @property
    def leg(self) -> Leg:
        """What was done to which account."""
        return Leg(self.login, self.balance_change, self.credit_change)


class Findings(msgspec.Struct):
    """What is wrong with the books, a sentence each."""

    lost: set[str] = msgspec.field(default_factory=set)
    doubled: set[str] = msgspec.field(default_factory=set)
    other: set[str] = msgspec.field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """Whatever is wrong."""
        return self.lost | self.doubled | self.other

    def take_over(self, more: Findings) -> None:
        """Add what else was found; what was found before counts once."""
        self.lost |= more.lost
        self.doubled |= more.doubled
        self.other |= more.other


class _Page(msgspec.Struct):
    rows: list[Line]
    next: str | None


class _Profile(msgspec.Struct):
    balance: Decimal
    credit: Decimal


def read_lines(client: httpx.Client, *, after: Line | None = None) -> list[Line]:
    """Read the history in the order of booking: all of it, or what stands after a line."""
    query: dict[str, Any] = {"order": "asc", "limit": PAGE} | ({"from": after.recorded_at} if after else {})
    lines: list[Line] = []
    while True:
        answer = final(client, "GET", "/balances/history", params=query)
        page = msgspec.json.decode(answer.content, type=_Page)
        lines += page.rows
        if page.next is None:
            return [line for line in lines if after is None or line.position > after.position]
        query["cursor"] = page.next


def read_held(client: httpx.Client, logins: Iterable[int]) -> Held:
    """Read what accounts hold: balance and credit."""
    answers = {login: final(client, "GET", f"/users/{login}").content for login in logins}
    profiles = {login: msgspec.json.decode(content, type=_Profile) for login, content in answers.items()}
    return {login: (profile.balance, profile.credit) for login, profile in profiles.items()}


def final(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask until the answer is final: after a fault one may be told to come again for a while."""
    answers: list[httpx.Response] = []

    def told() -> bool:
        answers.append(client.request(method, path, **options))
        return answers[-1].status_code != 503

    within(BOUND_S, told)
    return answers[-1]


def findings(memory: Memory, lines: Iterable[Line], *, all_of_it: bool = False) -> Findings:
    """Hold lines against a memory: is what was acknowledged there, is something there twice, or wrong?

    With `all_of_it`, also what nobody was told of must be there, unless it was refused.
    """
    found = Findings(other=set(memory.unexpected))
    there: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        there[line.request_id].append(line)
    found.other |= {f"{name} was never sent" for name in there.keys() - memory.sent.keys()}
    found.other |= {f"{name} was refused, and is booked" for name in memory.must_be_absent & there.keys()}
    wanted = memory.sent.keys() - memory.refused if all_of_it else memory.acknowledged.keys()
    found.lost |= {f"{name} is lost" for name in wanted - there.keys()}
    for name in there.keys() & memory.sent.keys():
        _hold(memory.sent[name], there[name], memory.acknowledged.get(name), found)
    positions = Counter(line.position for of_one in there.values() for line in of_one)
    found.other |= {f"position {position} is taken twice" for position, n in positions.items() if n > 1}
    return found


def sums(lines: Iterable[Line], before: Held | None = None) -> Held:
    """Add up lines, to what was added up before."""
    totals = defaultdict(lambda: (Decimal(0), Decimal(0)), before or {})
    for line in lines:
        balance, credit = totals[line.login]
        totals[line.login] = (balance + line.balance_change, credit + line.credit_change)
    return totals


def wrong_accounts(held: Held, added_up: Held) -> set[str]:
    """Name the accounts that hold something else than the sum of their lines."""
    nothing = (Decimal(0), Decimal(0))
    return {
        f"account {login} holds {held.get(login, nothing)}, its lines are {added_up.get(login, nothing)}"
        for login in held.keys() | added_up.keys()
        if held.get(login, nothing) != added_up.get(login, nothing)
    }


def _hold(order: Order, there: list[Line], operation_id: str | None, found: Findings) -> None:
    """Hold the lines of one order against it."""
    name, booked = order.request_id, sorted(line.leg for line in there)
    if len(booked) > len(order.legs):
        found.doubled.add(f"{name} is booked {len(booked)} times, in {len(order.legs)} legs")
    elif booked != sorted(order.legs):
        found.other.add(f"{name} is booked as {booked}")
    if operation_id and operation_id not in {line.operation_id for line in there}:
        found.other.add(f"{name} was acknowledged as {operation_id}")
