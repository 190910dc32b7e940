"""What clients ask for: money of every kind, alone, in batches, as deals; each order under its own id."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOGINS = range(1001, 1009)

Way = Literal["single", "batch", "atomic", "deals"]


class Leg(msgspec.Struct, frozen=True, order=True):
    """What an operation does to one account."""

    login: int
    balance: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)


class Order(msgspec.Struct, frozen=True):
    """One operation that is wanted, under the request id that the books will show."""

    request_id: str
    op: str
    legs: tuple[Leg, ...]
    fields: dict[str, Any]


class Call(msgspec.Struct, frozen=True):
    """What goes over the wire at once: an order, or several."""

    way: Way
    path: str
    body: bytes
    orders: tuple[Order, ...]

    @property
    def headers(self) -> dict[str, str]:
        """Name the request, where the orders do not name themselves."""
        return {"x-request-id": self.orders[0].request_id} if self.way == "single" else {}


def deposit(name: str, login: int, amount: Decimal, **fields: str) -> Order:
    """Want money put in."""
    return Order(name, "deposit", (Leg(login, amount),), {"login": login, "amount": amount, **fields})


def withdrawal(name: str, login: int, amount: Decimal) -> Order:
    """Want money taken out."""
    return Order(name, "withdraw", (Leg(login, -amount),), {"login": login, "amount": amount})


def transfer(name: str, source: int, target: int, amount: Decimal) -> Order:
    """Want money moved."""
    fields = {"from": source, "to": target, "amount": amount}
    return Order(name, "transfer", (Leg(source, -amount), Leg(target, amount)), fields)


def credit(name: str, login: int, amount: Decimal) -> Order:
    """Want credit given, or taken out."""
    return Order(name, "credit", (Leg(login, credit=amount),), {"login": login, "amount": amount})


def deal(name: str, login: int, profit: Decimal) -> Order:
    """Tell of a closed deal; the ledger makes its request id itself."""
    fields = {"dealId": name, "login": login, "profit": profit, "commission": Decimal("-0.25")}
    return Order(f"~deal/{name}", "deal", (Leg(login, profit - Decimal("0.25")),), fields)


def single(order: Order) -> Call:
    """Ask for one."""
    return Call("single", f"/balances/{order.op}", msgspec.json.encode(order.fields), (order,))


def batch(orders: Iterable[Order], *, atomic: bool = False) -> Call:
    """Ask for several in one call."""
    orders = tuple(orders)
    items = [{"op": order.op, "requestId": order.request_id} | order.fields for order in orders]
    body = msgspec.json.encode({"operations": items, "atomic": atomic})
    return Call("atomic" if atomic else "batch", "/balances/batch", body, orders)


def deals(orders: Iterable[Order]) -> Call:
    """Tell of several closed deals."""
    orders = tuple(orders)
    body = msgspec.json.encode({"deals": [order.fields for order in orders]})
    return Call("deals", "/feed/deals", body, orders)


class Mix:
    """Makes up calls, no two of them alike."""

    def __init__(self, mark: str = "load") -> None:
        self._mark = mark
        self._dice = random.Random()
        self._numbers = count(1)

    def call(self) -> Call:
        """Make up the next call."""
        match self._dice.choices(_WAYS, _WEIGHTS)[0]:
            case "batch":
                return batch(self._several(self._order, 20))
            case "atomic":
                return batch(self._several(self._order, 3), atomic=True)
            case "deals":
                return deals(self._several(self._deal, 5))
            case _:
                return single(self._order())

    def deposit(self) -> Order:
        """Make up a deposit."""
        return deposit(self._name(), self._login(), self._amount(200))

    def _order(self) -> Order:
        makers = (self.deposit, self._withdrawal, self._transfer, self._credit)
        return self._dice.choices(makers, (6, 4, 3, 3))[0]()

    def _withdrawal(self) -> Order:
        return withdrawal(self._name(), self._login(), self._amount(250))

    def _transfer(self) -> Order:
        source, target = self._dice.sample(LOGINS, 2)
        return transfer(self._name(), source, target, self._amount(150))

    def _credit(self) -> Order:
        sign = self._dice.choice((1, 1, -1))
        return credit(self._name(), self._login(), sign * self._amount(100))

    def _deal(self) -> Order:
        return deal(self._name(), self._login(), self._amount(60) - 20)

    def _several(self, make: Callable[[], Order], at_most: int) -> list[Order]:
        return [make() for _ in range(self._dice.randint(2, at_most))]

    def _name(self) -> str:
        return f"{self._mark}:{next(self._numbers)}"

    def _login(self) -> int:
        return self._dice.choice(LOGINS)

    def _amount(self, at_most: int) -> Decimal:
        return Decimal(self._dice.randint(1, at_most * 100)) / 100


_WAYS: tuple[Way, ...] = ("single", "batch", "atomic", "deals")
_WEIGHTS = (80, 7, 5, 8)
