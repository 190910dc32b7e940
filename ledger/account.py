"""An account as the write side sees it: its state, and how each event changes it.

Money is in integer minor units of the account's currency. The day and month columns hold what
prevbalance and prevmonthbalance need: the balance before the first change of the trading day and of
the server month in which the balance last changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import reduce

import msgspec

from ledger.events import (
    AccountDisabled,
    AccountEnabled,
    AccountOpened,
    AccountUpdated,
    Event,
    GrantChange,
    MoneyMoved,
)


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What is left of credit that expires. `grant` is the position of the event that gave it."""

    grant: int
    expires_at: datetime
    left: int


class Account(msgspec.Struct, frozen=True, gc=False):
    """One account's state after `version` events of its stream."""

    login: int
    group: str
    currency: str
    digits: int
    enable: bool
    version: int
    balance: int
    credit: int
    balance_day: date
    balance_before_day: int
    balance_month: date
    balance_before_month: int
    grants: tuple[Grant, ...] = ()

    @property
    def stream(self) -> str:
        """The name of the account's stream in the log."""
        return f"account:{self.login}"

    def prevbalance(self, trading_day: date) -> int:
        """Give the balance at the end of the trading day before `trading_day`."""
        return self.balance_before_day if self.balance_day == trading_day else self.balance

    def prevmonthbalance(self, server_day: date) -> int:
        """Give the balance at the end of the month before the one of `server_day`."""
        same = self.balance_month == server_day.replace(day=1)
        return self.balance_before_month if same else self.balance


def evolve(account: Account | None, event: Event) -> Account:
    """Apply a recorded fact. Never refuses: it already happened."""
    if account is None:
        return _opened(event)
    if isinstance(event, MoneyMoved):
        return _moved(account, event)
    if isinstance(event, AccountDisabled | AccountEnabled):
        enable = isinstance(event, AccountEnabled)
        return msgspec.structs.replace(account, enable=enable, version=event.version)
    if isinstance(event, AccountUpdated):
        return _updated(account, event)
    return msgspec.structs.replace(account, version=event.version)


def fold(events: Iterable[Event]) -> Account | None:
    """Give the account that a stream of events adds up to."""
    return reduce(evolve, events, None)


def credit_taken(account: Account, amount: int, *, first: int | None = None) -> Iterator[GrantChange]:
    """Name the expiring grants that taking `amount` of credit uses up: `first`, then soonest first."""
    for grant in sorted(account.grants, key=lambda g: (g.grant != first, g.expires_at, g.grant)):
        taken = min(amount, grant.left)
        amount -= taken
        if taken:
            yield GrantChange(grant.grant, grant.expires_at, -taken)


def _opened(event: Event) -> Account:
    assert isinstance(event, AccountOpened), f"a stream cannot begin with {type(event).__name__}"
    return Account(
        event.login,
        event.group,
        event.currency,
        event.digits,
        event.enable,
        event.version,
        balance=0,
        credit=0,
        balance_day=event.trading_day,
        balance_before_day=0,
        balance_month=event.server_day.replace(day=1),
        balance_before_month=0,
    )


def _updated(account: Account, event: AccountUpdated) -> Account:
    return msgspec.structs.replace(
        account,
        group=account.group if event.group is None else event.group,
        enable=account.enable if event.enable is None else event.enable,
        version=event.version,
    )


def _moved(account: Account, event: MoneyMoved) -> Account:
    day, before_day = account.balance_day, account.balance_before_day
    month, before_month = account.balance_month, account.balance_before_month
    if event.balance_change:
        if event.trading_day > day:
            day, before_day = event.trading_day, account.balance
        if (first := event.server_day.replace(day=1)) > month:
            month, before_month = first, account.balance
    return Account(
        account.login,
        account.group,
        account.currency,
        account.digits,
        account.enable,
        event.version,
        account.balance + event.balance_change,
        account.credit + event.credit_change,
        day,
        before_day,
        month,
        before_month,
        _grants(account.grants, event),
    )


def _grants(grants: tuple[Grant, ...], event: MoneyMoved) -> tuple[Grant, ...]:
    if event.expires_at is not None:
        return (*grants, Grant(event.position, event.expires_at, event.credit_change))
    if not event.grants:
        return grants
    left = {grant.grant: grant for grant in grants}
    for change in event.grants:
        before = left[change.grant].left if change.grant in left else 0
        left[change.grant] = Grant(change.grant, change.expires_at, before + change.amount)
    return tuple(grant for grant in left.values() if grant.left > 0)
