"""What the demo's clients and staff ask for: deposits, withdrawals, bonuses, mistakes and what mends them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from random import Random
from typing import Final

from api.demo.clients import Client
from api.demo.words import CHARGEBACKS, MISTAKES
from ledger.commands import (
    Adjust,
    Caller,
    Command,
    Correct,
    Deposit,
    DisableAccount,
    EnableAccount,
    GiveCredit,
    Request,
    Reverse,
    Transfer,
    UpdateAccount,
    Withdraw,
)
from ledger.events import AccountDisabled, AccountEnabled, AccountUpdated, Event, MoneyMoved
from ledger.money import Amount

SUSPENDED_MAX: Final = 20
METHODS: Final = {"card": 45, "bank-wire": 30, "e-wallet": 20, "crypto": 5}
OPERATORS: Final = {
    Deposit: "payments",
    Withdraw: "payments",
    Transfer: "client-portal",
    GiveCredit: "marketing",
    Adjust: "back-office",
    Correct: "anna.finance",
    Reverse: "marco.finance",
}
SMALL_KINDS: Final = {
    # kind: by how many dollars at least and at most it moves the balance
    "rebate": (1, 40),
    "agent": (5, 120),
    "charge": (-25, -5),
    "commission": (-30, -1),
    "interest": (1, 15),
    "dividend": (-20, 20),
    "tax": (-15, -1),
}


class Wishes:
    """Makes up requests, and follows what they do to the clients."""

    def __init__(self, rng: Random, clients: Sequence[Client]) -> None:
        self._rng = rng
        self._clients = {client.login: client for client in clients}
        self._pairs = _pairs(clients)
        self._joined: list[Client] = []
        self._number = 0

    def join(self, client: Client) -> None:
        """Take in a client whose account is open."""
        self._joined.append(client)

    def traders(self) -> list[Client]:
        """Give the clients who have money to trade with."""
        return [client for client in self._joined if client.balance > 0 and client.enabled]

    def some(self, count: int, now: datetime) -> list[Request]:
        """Make up so many requests, less those that come to nothing; accounts below zero go first."""
        below = [client for client in self._joined if client.balance < 0 and client.protected]
        kinds = self._rng.choices(list(_WISHES), list(_WISHES.values()), k=count)
        wished = [kind(self, self._rng.choice(self._joined), now) for kind in kinds]
        commands = [*map(self._stopped_out, below), *(command for command in wished if command is not None)]
        return [self.request(command) for command in commands]

    def request(self, command: Command) -> Request:
        """Ask for a command under a new request id, by whoever does such things."""
        self._number += 1
        caller = Caller(operator_id=OPERATORS.get(type(command), "support"))
        return Request(command=command, request_id=f"{command.NAME}-{self._number:06d}", caller=caller)

    def learn(self, events: Sequence[Event]) -> None:
        """Follow what was booked."""
        for event in events:
            client = self._clients.get(getattr(event, "login", 0))
            if client is not None:
                _follow(client, event)

    def deposit(self, client: Client, now: datetime) -> Command:
        """Pay in; a wire was on the client's statement the day before."""
        method = self._method()
        dollars = max(20, client.wealth * self._rng.randint(5, 60) // 1000 * 10)
        return Deposit(
            login=client.login,
            amount=self._amount(client, dollars),
            method=method,
            reference=self._reference(method),
            effective_at=now - timedelta(hours=self._rng.randint(12, 30)) if method == "bank-wire" else None,
        )

    def _withdrawal(self, client: Client, _: datetime) -> Command | None:
        amount = client.balance * self._rng.randint(10, 70) // 100
        if amount < client.minor(20) or not client.enabled:
            return None
        method = self._method()
        amount = amount // client.minor(5) * client.minor(5)
        return Withdraw(
            login=client.login,
            amount=Amount(amount, client.digits),
            method=method,
            reference=self._reference(method),
        )

    def _bonus(self, client: Client, now: datetime) -> Command:
        expires_at = now + timedelta(days=self._rng.randint(7, 45)) if self._rng.randrange(4) else None
        dollars = self._rng.choice((25, 50, 100, 250))
        return GiveCredit(
            login=client.login,
            amount=self._amount(client, dollars),
            expires_at=expires_at,
            comment="bonus" if expires_at is None else "seasonal bonus",
        )

    def _bonus_back(self, client: Client, _: datetime) -> Command | None:
        if not client.credit or client.balance < 0:
            return None
        amount = -(client.credit // 2 or 1)
        return GiveCredit(
            login=client.login, amount=Amount(amount, client.digits), comment="bonus taken back"
        )

    def _converted(self, client: Client, _: datetime) -> Command | None:
        if not client.credit:
            return None
        amount = Amount(client.credit, client.digits)
        return Adjust(login=client.login, kind="bonus-conversion", amount=amount, comment="volume reached")

    def _transfer(self, _: Client, __: datetime) -> Command | None:
        source, target = self._rng.choice(self._pairs)
        amount = source.balance // 4
        if amount < source.minor(10) or not source.enabled:
            return None
        return Transfer(source=source.login, target=target.login, amount=Amount(amount, source.digits))

    def _small(self, client: Client, _: datetime) -> Command | None:
        kind = self._rng.choice(list(SMALL_KINDS))
        low, high = SMALL_KINDS[kind]
        minor = client.minor(1) * self._rng.randint(low * 10, high * 10) // 10
        if not minor:
            return None
        return Adjust(login=client.login, kind=kind, amount=Amount(minor, client.digits))

    def _correction(self, client: Client, _: datetime) -> Command:
        minor = self._rng.choice((-1, 1)) * self._rng.randint(1, client.minor(30))
        return Correct(
            login=client.login,
            balance=Amount(minor, client.digits),
            corrects=client.deposits[-1] if client.deposits else None,
            reason=self._rng.choice(MISTAKES),
        )

    def _reversal(self, client: Client, _: datetime) -> Command | None:
        if not client.deposits:
            return None
        return Reverse(operation=client.deposits.pop(), reason=self._rng.choice(CHARGEBACKS))

    def _stopped_out(self, client: Client) -> Command:
        """Take a balance back to zero, as regulation demands for small clients."""
        credit = Amount(client.credit, client.digits) if client.credit else None
        return Adjust(login=client.login, kind="negative-balance", credit=credit, comment="stop-out")

    def _profile(self, client: Client, _: datetime) -> Command:
        """Change a phone, or the group of someone who has become a good client."""
        better = client.group.replace("standard", "vip")
        if client.balance > client.minor(20_000) and better != client.group and client.currency != "JPY":
            return UpdateAccount(login=client.login, group=better)
        return UpdateAccount(login=client.login, phone=f"+44 555 {self._rng.randrange(10**6):06d}")

    def _switch(self, client: Client, _: datetime) -> Command:
        """Suspend an account, or end one where several wait for it."""
        suspended = [other for other in self._joined if not other.enabled]
        if len(suspended) > SUSPENDED_MAX:
            return EnableAccount(login=suspended[0].login)
        return DisableAccount(login=client.login) if client.enabled else EnableAccount(login=client.login)

    def _amount(self, client: Client, dollars: int) -> Amount:
        return Amount(client.minor(dollars), client.digits)

    def _method(self) -> str:
        [method] = self._rng.choices(list(METHODS), list(METHODS.values()))
        return method

    def _reference(self, method: str) -> str:
        return f"{method[:2].upper()}{self._rng.getrandbits(48):012X}"


_WISHES: Final[dict[Callable[[Wishes, Client, datetime], Command | None], int]] = {
    Wishes.deposit: 90,
    Wishes._withdrawal: 60,
    Wishes._small: 30,
    Wishes._bonus: 12,
    Wishes._bonus_back: 3,
    Wishes._converted: 2,
    Wishes._transfer: 8,
    Wishes._profile: 4,
    Wishes._correction: 2,
    Wishes._reversal: 2,
    Wishes._switch: 1,
}
"""How often each is wished for, of all."""


def _pairs(clients: Sequence[Client]) -> list[tuple[Client, Client]]:
    """Find the accounts between which their owners may move money: both are there from the start."""
    owned: dict[tuple[int, str], list[Client]] = defaultdict(list)
    for client in clients:
        if client.account.regdate is not None and client.real:
            owned[(client.customer, client.currency)].append(client)
    return [pair for own in owned.values() for pair in combinations(own, 2)]


def _follow(client: Client, event: Event) -> None:
    match event:
        case MoneyMoved():
            client.balance, client.credit = event.balance, event.credit
            if event.kind == "deposit":
                client.deposits.append(event.operation)
        case AccountUpdated(group=str(group)):
            client.group = group
        case AccountDisabled() | AccountEnabled():
            client.enabled = isinstance(event, AccountEnabled)
