"""A broker whose accounts say everything in words and amounts of their own: a search tells whose they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from projections.accounts import PERSONAL
from tests.api.served import Caller, number
from tests.service import within

SYMBOL = {"digits": 5, "contractSize": 1000, "baseCurrency": "EUR", "profitCurrency": "USD"}


class Person(msgspec.Struct, frozen=True):
    """An account. All its texts begin with its mark; its amount is nobody else's."""

    who: str
    login: int
    group: str
    amount: str
    ticket: int
    operations: list[str] = []
    requests: list[str] = []
    figures: list[str] = []

    @property
    def mark(self) -> str:
        """What all its texts begin with."""
        return f"zebra-{self.who}-"

    @property
    def needles(self) -> tuple[str, ...]:
        """What tells that something of it is told: its number, its texts, its money, in minor units too."""
        return (str(self.login), self.mark, self.amount, self.amount.replace(".", ""), *self.figures)

    @property
    def personal(self) -> list[str]:
        """What its personal columns say, and have said."""
        return [self.text(name) for name in (*PERSONAL, "town")]

    def text(self, field: str) -> str:
        """Give its own text for a field."""
        return self.mark + field


class World(msgspec.Struct, frozen=True):
    """Two accounts in one group, one in another, one in a third of a currency of its own."""

    ann: Person
    ben: Person
    cem: Person
    dag: Person

    @property
    def everyone(self) -> tuple[Person, ...]:
        """All accounts."""
        return (self.ann, self.ben, self.cem, self.dag)


GROUP_NEEDLES = ("zebra-out", "zebra-far", "XQZ")


def new_world() -> World:
    """Give the accounts as they will be."""
    return World(
        ann=Person("ann", 710_000_011, "zebra-in", "515151.37", 880_001),
        ben=Person("ben", 720_000_022, "zebra-in", "828282.73", 880_002),
        cem=Person("cem", 730_000_033, "zebra-out", "939393.91", 880_003),
        dag=Person("dag", 740_000_044, "zebra-far", "646464.19", 880_004),
    )


def settle(admin: Caller) -> World:
    """Define the groups, open the accounts, and let all that can happen happen to each."""
    world = new_world()
    for group, currency in (("zebra-in", "USD"), ("zebra-out", "USD"), ("zebra-far", "XQZ")):
        assert admin.put(f"/groups/{group}", {"currency": currency}).status == 200
    assert admin.put("/symbols/ZEBRA", SYMBOL).status == 200
    assert admin.post("/feed/quotes", {"quotes": [["ZEBRA", 1.1, 1.2]]}).status == 200
    for person in world.everyone:
        _open(admin, person)
        live(admin, person)
        trade(admin, person, ticket=person.ticket)
        person.figures.append(str(admin.get(f"/users/{person.login}")["balance"]))
    _wait_for_refusals(admin, world)
    return world


def live(admin: Caller, person: Person, *, again: str = "") -> None:
    """Let money move in each way, also where it is refused."""
    login, amount = person.login, number(person.amount)
    note = {name: person.text(f"paid-{name}") + again for name in ("comment", "method", "reference")}
    metadata = {person.text("key"): [person.text("value")]}
    paid = _did(admin, person, "deposit", again, login=login, amount=amount, metadata=metadata, **note)
    _did(admin, person, "withdraw", again, login=login, amount=number("3.21"), comment=person.text("out"))
    _did(admin, person, "credit", again, login=login, amount=number("7.77"))
    _did(admin, person, "adjust", again, login=login, kind="charge", amount=number("-1.23"))
    reason = person.text("reason")
    _did(admin, person, "correction", again, login=login, balance=1, corrects=paid, reason=reason)
    mistake = _did(admin, person, "deposit", "wrong" + again, login=login, amount=1)
    _did(admin, person, f"operations/{mistake}/reverse", again, reason=reason)
    deal = {"dealId": person.text("deal") + again, "login": login, "profit": number("5.55")}
    assert admin.post("/feed/deals", {"deals": [deal]})["accepted"] == 1
    beyond = {"login": login, "amount": 999_999_999}
    headers = {"x-operator-id": person.text("operator"), "x-request-id": person.text("refused") + again}
    refused = admin.send("POST", "/balances/withdraw", beyond, headers=headers)
    assert refused.said == (400, "not_enough_money")


def trade(admin: Caller, person: Person, *, ticket: int) -> None:
    """Let it have an open position."""
    position = {"ticket": ticket, "login": person.login, "symbol": "ZEBRA", "side": "buy"}
    told = {"kind": "delta", "positions": [position | {"lots": 2, "openPrice": 1.05, "storage": -1}]}
    assert admin.post("/feed/positions", told)["accepted"] == 1


def asks_about(person: Person) -> dict[str, list[Any]]:
    """Give values of query parameters that ask for this account, by what only it has."""
    login, name, group = person.login, person.text("name"), person.group
    return {
        "login": [login],
        "groupFilter": [group, f"{group},nowhere"],
        "requestId": person.requests[:3],
        "reference": [person.text("paid-reference")],
        "operatorId": [person.text("operator")],
        "minAmount": [person.amount],
        "maxAmount": ["3.21"],
        "where": [
            json.dumps(rules)
            for rules in ([["login", "=", login]], [["name", "=", name]], [["email", "like", "%zebra%"]])
        ]
        + [json.dumps([["group", "=", group]]), f'[["balance",">",{person.amount[:-4]}]]'],
        "whereIn": [json.dumps([["login", [login]]]), json.dumps([["group", [group]]])],
        "whereBetween": [json.dumps([["login", [login, login]]])],
        "whereNot": [json.dumps([["login", login]])],
    }


def _open(admin: Caller, person: Person) -> None:
    texts = {name: person.text(name) for name in (*PERSONAL, "country")}
    body = texts | {"login": person.login, "group": person.group}
    _sent(admin, person, "POST", "/users", "open", body)
    _sent(admin, person, "PATCH", f"/users/{person.login}", "update", {"city": person.text("town")})


def _did(admin: Caller, person: Person, route: str, again: str, **body: Any) -> str:
    name = f"{route.rpartition('/')[2]}{again}"
    answer = _sent(admin, person, "POST", f"/balances/{route}", name, body)
    operation: str = answer["operationId"]
    person.operations.append(operation)
    return operation


def _sent(admin: Caller, person: Person, method: str, path: str, name: str, body: Any) -> Any:
    request_id = person.text(name)
    headers = {"x-operator-id": person.text("operator")}
    answer = admin.send(method, path, body, request_id=request_id, headers=headers)
    assert answer.status in {200, 201}, answer.text
    person.requests.append(request_id)
    return answer


def _wait_for_refusals(admin: Caller, world: World) -> None:
    """Refused attempts are kept a moment after their answer."""

    def kept() -> bool:
        told = admin.get("/audit/refusals", limit=10_000).text
        return all(person.text("refused") in told for person in world.everyone)

    within(30, kept)
