"""Every command on one page: what a caller may ask of a ledger, parsed but not yet decided."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from ledger.events import Event, GroupDefined, KeyCreated, KeyRevoked
from ledger.masks import ALL, Mask
from ledger.money import Amount


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts a caller reaches, and up to what amounts (in each account's own currency)."""

    mask: Mask = ALL
    logins: frozenset[int] | None = None
    amount_max: Amount | None = None
    amount_day_max: Amount | None = None

    @property
    def everything(self) -> bool:
        """Whether it reaches every account, of groups yet to come as well."""
        return self.logins is None and self.mask == ALL

    def reaches(self, login: int, group: str) -> bool:
        """Tell whether the account is inside the mask and the list of logins."""
        return (self.logins is None or login in self.logins) and self.mask.selects(group)

    def sees(self, event: Event, groups: Mapping[int, str]) -> bool:
        """Tell whether a caller may be told of an event, given the accounts' present groups by login."""
        if isinstance(event, KeyCreated | KeyRevoked):
            return self.everything
        if isinstance(event, GroupDefined):
            return self.mask.selects(event.group)
        login: int | None = getattr(event, "login", None)
        if login is None:
            return True
        return login in groups and self.reaches(login, groups[login])


EVERYTHING = Access()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the key that proved itself and the operator that it claims to act for."""

    key_id: str | None = None
    operator_id: str | None = None
    access: Access = EVERYTHING


SYSTEM = Caller(operator_id="system")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish. `NAME` is its kind in the comparison of repeated requests."""

    NAME: ClassVar[str]


class Note(Command, frozen=True, kw_only=True):
    """What any money command may carry along."""

    comment: str | None = None
    reference: str | None = None
    method: str | None = None
    effective_at: datetime | None = None
    metadata: dict[str, Any] | None = None


class Deposit(Note, frozen=True, kw_only=True):
    """Put client money in."""

    NAME: ClassVar[str] = "deposit"
    login: int
    amount: Amount


class Withdraw(Note, frozen=True, kw_only=True):
    """Take client money out, up to the withdrawable amount."""

    NAME: ClassVar[str] = "withdrawal"
    login: int
    amount: Amount


class GiveCredit(Note, frozen=True, kw_only=True):
    """Give the broker's bonus money, or take it out (negative)."""

    NAME: ClassVar[str] = "credit"
    login: int
    amount: Amount
    expires_at: datetime | None = None


class Transfer(Note, frozen=True, kw_only=True):
    """Move balance from one login to another of the same currency, both or none."""

    NAME: ClassVar[str] = "transfer"
    source: int
    target: int
    amount: Amount


class Correct(Note, frozen=True, kw_only=True):
    """Put a mistake right beside it: signed changes with a reason."""

    NAME: ClassVar[str] = "correction"
    login: int
    balance: Amount | None = None
    credit: Amount | None = None
    corrects: int | None = None
    reason: str


class Reverse(Command, frozen=True, kw_only=True):
    """Book the exact opposite of one operation, once."""

    NAME: ClassVar[str] = "reversal"
    operation: int
    reason: str


class Adjust(Note, frozen=True, kw_only=True):
    """Book one of the platforms' other kinds."""

    NAME: ClassVar[str] = "adjust"
    login: int
    kind: str
    amount: Amount | None = None
    credit: Amount | None = None


class BookDeal(Command, frozen=True, kw_only=True):
    """Book a closed deal of the trading server's, once."""

    NAME: ClassVar[str] = "trade"
    login: int
    deal_id: str
    profit: Amount
    storage: Amount | None = None
    commission: Amount | None = None
    taxes: Amount | None = None
    symbol: str | None = None
    ticket: int | None = None
    lots: str | None = None
    time: datetime | None = None


EXPIRY: Final = "~expiry/bal_"
"""Begins the request id of a grant's expiry."""


class ExpireCredit(Command, frozen=True, kw_only=True):
    """Take out what is left of a grant whose last server day has closed."""

    NAME: ClassVar[str] = "expiry"
    login: int
    grant: int


class Profile(Command, frozen=True, kw_only=True):
    """The fields of an account that a caller may set; None means not given."""

    group: str | None = None
    name: str | None = None
    leverage: int | None = None
    email: str | None = None
    country: str | None = None
    phone: str | None = None
    address: str | None = None
    city: str | None = None
    zipcode: str | None = None
    comment: str | None = None
    magic: int | None = None
    customer_id: int | None = None
    enable: bool | None = None
    enable_read_only: bool | None = None
    enable_change_password: bool | None = None
    regdate: int | None = None


class OpenAccount(Profile, frozen=True, kw_only=True):
    """Open an account; without a login the ledger gives the next free one."""

    NAME: ClassVar[str] = "account-opened"
    login: int | None = None


class UpdateAccount(Profile, frozen=True, kw_only=True):
    """Change the given fields of an account."""

    NAME: ClassVar[str] = "account-updated"
    login: int


class DisableAccount(Command, frozen=True, kw_only=True):
    """Suspend an account."""

    NAME: ClassVar[str] = "account-disabled"
    login: int


class EnableAccount(Command, frozen=True, kw_only=True):
    """End the suspension of an account."""

    NAME: ClassVar[str] = "account-enabled"
    login: int


class DefineGroup(Command, frozen=True, kw_only=True):
    """Define a group, or give it another definition; None means not given."""

    NAME: ClassVar[str] = "group-defined"
    group: str
    currency: str
    digits: int | None = None
    leverage: int | None = None
    equity_mode: str | None = None
    withdraw_policy: str | None = None
    refuse_when_stale: bool | None = None
    margin_call: str | None = None
    stop_out: str | None = None
    max_operation: Amount | None = None
    coverage: bool | None = None
    permissions: dict[str, Any] | None = None


class DefineSymbol(Command, frozen=True, kw_only=True):
    """Define a symbol, or give it another definition; None means not given. Decimals are text."""

    NAME: ClassVar[str] = "symbol-defined"
    symbol: str
    digits: int
    contract_size: str
    base_currency: str
    profit_currency: str
    margin_rate: str | None = None
    swap_long: str | None = None
    swap_short: str | None = None
    spread: int | None = None
    trade_mode: str | None = None
    description: str | None = None


class DefineServer(Command, frozen=True, kw_only=True):
    """Set the trading server's clock and the book currency."""

    NAME: ClassVar[str] = "server-defined"
    timezone: str
    day_end: str
    overnight_days: str
    book_currency: str


class StartSimulation(Command, frozen=True, kw_only=True):
    """Mark the ledger simulated."""

    NAME: ClassVar[str] = "simulation-started"
    starts_at: datetime


class CreateKey(Command, frozen=True, kw_only=True):
    """Hand out a key; the secret itself never comes here."""

    NAME: ClassVar[str] = "key-created"
    key: str
    name: str
    role: str
    scopes: tuple[str, ...]
    groups: str
    secret_hash: str
    logins: tuple[int, ...] | None = None
    amount_max: str | None = None
    amount_day_max: str | None = None
    expires_at: datetime | None = None
    replaces: str | None = None


class RevokeKey(Command, frozen=True, kw_only=True):
    """Kill a key from an instant of the real clock on."""

    NAME: ClassVar[str] = "key-revoked"
    key: str
    revoked_at: datetime


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a caller to have a command carried out."""

    command: Command
    request_id: str
    caller: Caller = SYSTEM
    dry_run: bool = False


def expiry_of(grant: int) -> str:
    """Name the request by which a grant expires, once; no caller can use such an id."""
    return f"{EXPIRY}{grant}"


def limited_key(request: Request) -> str | None:
    """Give the key whose daily use counts, if the request comes by one."""
    return request.caller.key_id if request.caller.access.amount_day_max is not None else None


def needs_request_id(command: Command) -> bool:
    """Tell whether a caller has to name the request: where money moves, but for deals, which have a name."""
    return isinstance(command, Note | Reverse | ExpireCredit)


def logins_of(command: Command) -> tuple[int, ...]:
    """Name the logins that the command itself names."""
    if isinstance(command, Transfer):
        return (command.source, command.target)
    login = getattr(command, "login", None)
    return () if login is None else (login,)
