"""The demo's groups and clients: who they are, what they bring along, and what the demo knows of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from api.demo.words import COUNTRIES, FAMILY_NAMES, FIRST_NAMES, Country
from ledger.commands import DefineGroup, OpenAccount
from ledger.money import Amount, default_digits

ACCOUNTS: Final = 2_000
TAKEN_OVER: Final = 1_400
"""So many come from the broker's last platform, with opening money; the others join one by one."""

GROUPS: Final = (
    DefineGroup(group="standard-usd", currency="USD", leverage=100, margin_call="100", stop_out="50"),
    DefineGroup(group="standard-eur", currency="EUR", leverage=30, margin_call="100", stop_out="50"),
    DefineGroup(
        group="standard-jpy",
        currency="JPY",
        leverage=25,
        margin_call="100",
        stop_out="100",
        max_operation=Amount(50_000_000, 0, "maxOperation"),
    ),
    DefineGroup(group="vip-usd", currency="USD", leverage=150, equity_mode="net", withdraw_policy="mt"),
    DefineGroup(group="vip-eur", currency="EUR", leverage=100, equity_mode="net", withdraw_policy="mt"),
    DefineGroup(group="demo-usd", currency="USD", leverage=300),
    DefineGroup(group="coverage-usd", currency="USD", leverage=100, coverage=True),
)
SHARES: Final = {
    "standard-usd": 44,
    "standard-eur": 28,
    "standard-jpy": 10,
    "vip-usd": 5,
    "vip-eur": 3,
    "demo-usd": 10,
}
UNITS: Final = {"USD": 100, "EUR": 100, "JPY": 150}
"""About as many minor units as a dollar has."""

LOGIN_FIRST: Final = 100_001
COVERAGE_LOGIN_FIRST: Final = 900_001
COVERAGE_ACCOUNTS: Final = 4


class Client(msgspec.Struct, kw_only=True):
    """An account and what its answers have told so far; amounts in minor units."""

    account: OpenAccount
    login: int
    group: str
    currency: str
    customer: int
    wealth: int
    balance: int = 0
    credit: int = 0
    enabled: bool = True
    deposits: list[int] = []
    """The operations that may still be reversed."""

    def minor(self, dollars: int) -> int:
        """Give an amount of about so many dollars, in the account's own currency."""
        return dollars * UNITS[self.currency]

    @property
    def digits(self) -> int:
        """The decimals of its currency."""
        return default_digits(self.currency)

    @property
    def protected(self) -> bool:
        """Whether the law brings its balance back to zero when it has fallen below."""
        return self.group.startswith("standard")

    @property
    def real(self) -> bool:
        """Whether a client's real money is on it."""
        return not self.group.startswith(("coverage", "demo"))

    @property
    def coverage(self) -> bool:
        """Whether it is the broker's own with a liquidity provider."""
        return self.group.startswith("coverage")


def clients(rng: Random, *, begins: datetime) -> Iterator[Client]:
    """Make up all clients, those who are taken over first, coverage accounts last."""
    customer, person = 1, _person(rng, 1)
    for number in range(ACCOUNTS - COVERAGE_ACCOUNTS):
        if number and rng.randrange(8):  # the others open a second account
            customer += 1
            person = _person(rng, customer)
        yield _client(rng, LOGIN_FIRST + number, customer, person, begins=begins, old=number < TAKEN_OVER)
    for number in range(COVERAGE_ACCOUNTS):
        yield _coverage(COVERAGE_LOGIN_FIRST + number, f"Liquidity provider {number + 1}", begins=begins)


def _client(
    rng: Random, login: int, customer: int, person: dict[str, Any], *, begins: datetime, old: bool
) -> Client:
    [group] = rng.choices(list(SHARES), list(SHARES.values()))
    wealth = 10 ** rng.randint(2, 4) * rng.randint(1, 9) * (10 if group.startswith("vip") else 1)
    registered = begins - timedelta(days=rng.randint(30, 1_500), seconds=rng.randrange(86_400))
    account = OpenAccount(
        login=login,
        group=group,
        **person,
        customer_id=customer,
        magic=rng.randrange(2) and rng.randint(1, 50),
        leverage=rng.choice((None, None, 50)),
        regdate=int(registered.timestamp()) if old else None,
    )
    return Client(
        account=account,
        login=login,
        group=group,
        currency=group[-3:].upper(),
        customer=customer,
        wealth=wealth,
    )


def _coverage(login: int, name: str, *, begins: datetime) -> Client:
    account = OpenAccount(login=login, group="coverage-usd", name=name, regdate=int(begins.timestamp()))
    return Client(
        account=account, login=login, group="coverage-usd", currency="USD", customer=0, wealth=3_000_000
    )


def _person(rng: Random, number: int) -> dict[str, Any]:
    first, family, country = rng.choice(FIRST_NAMES), rng.choice(FAMILY_NAMES), rng.choice(COUNTRIES)
    return {
        "name": f"{first} {family}",
        "email": f"{first}.{family}.{number}@example.{rng.choice(('com', 'net', 'org'))}".lower(),
        "country": country.code,
        "phone": f"{country.dial} 555 {rng.randrange(10**6):06d}",
        **_home(rng, country),
    }


def _home(rng: Random, country: Country) -> dict[str, str]:
    return {
        "address": f"{rng.choice(country.streets)} {rng.randint(1, 120)}",
        "city": rng.choice(country.cities),
        "zipcode": f"{rng.randrange(10**5):05d}",
    }
