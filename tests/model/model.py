"""What a ledger holds, said a second time in plain Python: from the rules alone, not from the code."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.model.days import ServerClock

Body = dict[str, Any]
NOTHING = Decimal(0)
DIGITS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
STALE_AFTER = timedelta(seconds=60)
TEXTS = ("email", "country", "phone", "comment", "address", "city", "zipcode", "name")
FLOATING = ("profit", "storage", "commission", "margin")


class Refused(Exception):
    """What a caller is told instead; `known` is the operation that stands in the way."""

    def __init__(self, status: int, code: str, *, known: Body | None = None, **told: Any) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.known, self.told = status, code, known, told


class Model:
    """One ledger. What accounts hold is kept nowhere: it is the sum of their legs, each time anew."""

    def __init__(self, now: datetime) -> None:
        self.now = self.told_at = now
        self.position = 2  # a key, and the start of the simulation
        self.clock, self.book_currency = ServerClock(), "USD"
        self.day = self.trading_day = date.min
        self.groups: dict[str, Body] = {}
        self.accounts: dict[int, Body] = {}
        self.operations: dict[str, Body] = {}  # by request id
        self.legs: list[Body] = []
        self.moves: list[Body] = []  # what accounts took along into another group
        self.tickets: dict[int, Body] = {}  # the open positions that the trading server told of

    def twin(self) -> Model:
        """Give a copy, to try something out."""
        twin: Model = pickle.loads(pickle.dumps(self))  # noqa: S301 - our own, and faster than a deep copy
        return twin

    def today(self) -> tuple[date, date]:
        """Give the server day and the trading day of now: never before those of the last event."""
        day, trading_day = self.clock.day_of(self.now), self.clock.trading_day_of(self.now)
        return max(day, self.day), max(trading_day, self.trading_day)

    def group_of(self, login: int) -> Body:
        """Give the definition of an account's group."""
        return self.groups[self.accounts[login]["group"]]

    def legs_of(self, operation_id: str | None) -> list[Body]:
        """Give the legs of an operation; none where no money moved."""
        return [leg for leg in self.legs if leg["operation"]["id"] == operation_id]

    def held(self, login: int) -> tuple[Decimal, Decimal]:
        """Give balance and credit of an account."""
        return summed([leg for leg in self.legs if leg["login"] == login])

    def figures(self, login: int) -> Body:
        """Give what an account is worth, with its open positions."""
        group, (balance, credit) = self.group_of(login), self.held(login)
        tickets = [ticket for ticket in self.tickets.values() if ticket["login"] == login]
        told: Body = {name: sum((ticket[name] for ticket in tickets), NOTHING) for name in FLOATING}
        net_profit = told["profit"] + told["storage"] + told["commission"]
        equity = balance + credit + (net_profit if group["equityMode"] == "net" else told["profit"])
        free, margin = equity - told["margin"], Fraction(told["margin"])
        level = round(Fraction(equity) / margin * 10_000) if margin else 0  # Python rounds half to even
        protected = credit if group["withdrawPolicy"] == "protect_credit" else NOTHING
        return told | {
            "balance": balance,
            "credit": credit,
            "net_profit": net_profit,
            "equity": equity,
            "margin_free": free,
            "margin_level": Decimal(level).scaleb(-2),
            "withdrawable": max(NOTHING, min(balance, free - protected)),
            "removable": max(NOTHING, min(credit, free)),
            "stale": bool(tickets) and self.now - self.told_at > STALE_AFTER,
        }

    def profile(self, login: int) -> Body:
        """Give the published fields of an account and those beside them, as they are written."""
        account, figures, group = self.accounts[login], self.figures(login), self.group_of(login)
        day, trading_day = self.today()
        mine = [leg for leg in self.legs if leg["login"] == login]
        figures["prevbalance"], _ = summed([leg for leg in mine if leg["tradingDay"] < trading_day])
        month = day.replace(day=1)
        figures["prevmonthbalance"], _ = summed([leg for leg in mine if leg["serverDay"] < month])
        stale, _ = figures.pop("stale"), figures.pop("removable")
        money = {name: written(amount, group["digits"]) for name, amount in figures.items()}
        own = {name: value for name, value in account.items() if name != "switched"}
        level = {"margin_level": written(figures["margin_level"], 2), "stale": stale, "online": 0}
        told = {"currency": group["currency"], "digits": group["digits"]}
        return dict.fromkeys(TEXTS, "") | own | money | level | told

    def must_be_new(self, asked: Body, request_id: str) -> None:
        """Refuse a repeat: the same content is applied already, another one is a mistake."""
        if (first := self.operations.get(request_id)) is not None:
            names = sorted(asked.keys() | first["asked"].keys())
            differ = [name for name in names if asked.get(name) != first["asked"].get(name)]
            if differ:
                raise Refused(400, "request_id_reused", known=first, fields=differ)
            raise Refused(409, "request_applied", known=first)

    def happened(self, asked: Body, request_id: str, logins: Sequence[int] = (), *, mark: str = "op") -> Body:
        """Keep an operation: an event for each account that it is about, or one."""
        self.day, self.trading_day = self.today()
        for login in logins:
            self.accounts[login]["version"] += 1
        told = {"id": f"{mark}_{self.position + 1}", "position": self.position + 1, "recordedAt": self.now}
        self.position += len(logins) or 1
        self.operations[request_id] = told | {"asked": asked, "requestId": request_id, "legs": []}
        return self.operations[request_id]


def written(amount: Decimal, digits: int) -> Decimal | int:
    """Give money as answers write it: with exactly its digits."""
    return amount.quantize(Decimal(1).scaleb(-digits)) + 0 if digits else int(amount)


def summed(legs: Sequence[Body]) -> tuple[Decimal, Decimal]:
    """Add up balance and credit."""
    return sum((leg["balance"] for leg in legs), NOTHING), sum((leg["credit"] for leg in legs), NOTHING)
