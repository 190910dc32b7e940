"""Every event on one page: what can be a fact in a ledger's log, and its stored form.

An event is stored as the JSON bytes of its struct; those bytes are the canonical bytes that the
leaf hash covers. Shapes are for ever: add a field with a default, never rename, retype or reuse one.
Money is in integer minor units of `currency`, which has `digits` decimals. Times are UTC.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, get_args

import msgspec

from ledger.money import format_minor

SCHEMA: Final = 1


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag_field="type"):
    """What every event carries. `operation` is the position of its operation's first event."""

    TOPIC: ClassVar[str]

    position: int
    stream: str
    version: int
    operation: int
    recorded_at: datetime
    server_day: date
    trading_day: date
    schema: int
    request_id: str | None = None
    operator_id: str | None = None
    key_id: str | None = None

    @property
    def originator_id(self) -> str:
        """The event store library's name for the stream."""
        return self.stream

    @property
    def originator_version(self) -> int:
        """The event store library's name for the stream version."""
        return self.version


class GrantChange(msgspec.Struct, frozen=True, array_like=True):
    """Credit that left (-) or came back to (+) an expiring grant; `grant` is the grant's position."""

    grant: int
    expires_at: datetime
    amount: int


class Deal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The closed deal behind a trade: lots as written, money in minor units of the account's currency."""

    deal_id: str
    symbol: str | None = None
    ticket: int | None = None
    lots: str | None = None
    profit: int = 0
    storage: int = 0
    commission: int = 0
    taxes: int = 0
    time: datetime | None = None


class MoneyMoved(Event, frozen=True, kw_only=True, tag="money-moved"):
    """Balance, credit or both of one account changed.

    `amount` is as asked; the changes are signed and are what sums are taken over; `balance` and
    `credit` are what the account held afterwards. `effective_at` is absent when it is `recorded_at`.
    `corrects` is the operation that a correction, reversal or expiry answers.
    """

    TOPIC: ClassVar[str] = "money-moved"

    login: int
    group: str
    kind: str
    currency: str
    digits: int
    amount: int
    balance_change: int = 0
    credit_change: int = 0
    balance: int
    credit: int
    effective_at: datetime | None = None
    comment: str | None = None
    reference: str | None = None
    method: str | None = None
    metadata: dict[str, Any] | None = None
    expires_at: datetime | None = None
    corrects: int | None = None
    reason: str | None = None
    peer: int | None = None
    grants: tuple[GrantChange, ...] = ()
    warnings: tuple[str, ...] = ()
    deal: Deal | None = None

    @property
    def effective(self) -> datetime:
        """When it happened in the world."""
        return self.effective_at or self.recorded_at


class AccountOpened(Event, frozen=True, kw_only=True, tag="account-opened"):
    """An account began. `asked` names the fields that the caller gave; the others are defaults."""

    TOPIC: ClassVar[str] = "account-opened"

    login: int
    group: str
    currency: str
    digits: int
    leverage: int
    regdate: int
    enable: bool = True
    enable_read_only: bool = False
    enable_change_password: bool = True
    name: str = ""
    email: str = ""
    country: str = ""
    phone: str = ""
    address: str = ""
    city: str = ""
    zipcode: str = ""
    comment: str = ""
    magic: int = 0
    customer_id: int = 0
    asked: tuple[str, ...] = ()


class AccountUpdated(Event, frozen=True, kw_only=True, tag="account-updated"):
    """Profile fields of an account changed: only those that are present."""

    TOPIC: ClassVar[str] = "account-updated"

    login: int
    group: str | None = None
    leverage: int | None = None
    regdate: int | None = None
    enable: bool | None = None
    enable_read_only: bool | None = None
    enable_change_password: bool | None = None
    name: str | None = None
    email: str | None = None
    country: str | None = None
    phone: str | None = None
    address: str | None = None
    city: str | None = None
    zipcode: str | None = None
    comment: str | None = None
    magic: int | None = None
    customer_id: int | None = None


class AccountDisabled(Event, frozen=True, kw_only=True, tag="account-disabled"):
    """The account was suspended; its history stays readable."""

    TOPIC: ClassVar[str] = "account-disabled"

    login: int


class AccountEnabled(Event, frozen=True, kw_only=True, tag="account-enabled"):
    """The suspension of the account ended."""

    TOPIC: ClassVar[str] = "account-enabled"

    login: int


class GroupDefined(Event, frozen=True, kw_only=True, tag="group-defined"):
    """A group got this definition, whole. `max_operation` is in minor units."""

    TOPIC: ClassVar[str] = "group-defined"

    group: str
    currency: str
    digits: int
    leverage: int = 100
    equity_mode: str = "gross"
    withdraw_policy: str = "protect_credit"
    refuse_when_stale: bool = False
    margin_call: str | None = None
    stop_out: str | None = None
    max_operation: int | None = None
    coverage: bool = False
    permissions: dict[str, Any] | None = None
    asked: tuple[str, ...] = ()


class SymbolDefined(Event, frozen=True, kw_only=True, tag="symbol-defined"):
    """A symbol got this definition, whole. Decimals are text; `digits` are those of its prices."""

    TOPIC: ClassVar[str] = "symbol-defined"

    symbol: str
    digits: int
    contract_size: str
    base_currency: str
    profit_currency: str
    margin_rate: str = "1"
    swap_long: str = "0"
    swap_short: str = "0"
    spread: int = 0
    trade_mode: str = "full"
    description: str = ""
    asked: tuple[str, ...] = ()


class ServerDefined(Event, frozen=True, kw_only=True, tag="server-defined"):
    """The trading server's clock and the ledger's book currency were set."""

    TOPIC: ClassVar[str] = "server-defined"

    timezone: str
    day_end: str
    overnight_days: str
    book_currency: str


class SimulationStarted(Event, frozen=True, kw_only=True, tag="simulation-started"):
    """The ledger runs on a simulated clock, and is marked so for ever."""

    TOPIC: ClassVar[str] = "simulation-started"

    starts_at: datetime


class KeyCreated(Event, frozen=True, kw_only=True, tag="key-created"):
    """A key was handed out. `secret_hash` is the keyed hash of its secret part, in hex.

    The limits are decimals as text, in each account's own currency.
    """

    TOPIC: ClassVar[str] = "key-created"

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


class KeyRevoked(Event, frozen=True, kw_only=True, tag="key-revoked"):
    """The key is dead from `revoked_at` on (the real clock's time; rotation leaves an overlap)."""

    TOPIC: ClassVar[str] = "key-revoked"

    key: str
    revoked_at: datetime


AccountEvent = MoneyMoved | AccountOpened | AccountUpdated | AccountDisabled | AccountEnabled
AnyEvent = (
    AccountEvent | GroupDefined | SymbolDefined | ServerDefined | SimulationStarted | KeyCreated | KeyRevoked
)

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(AnyEvent, float_hook=Decimal)


def topics() -> list[str]:
    """Name every type of event that this version can read and write."""
    return [event.TOPIC for event in get_args(AnyEvent)]


def encode(event: Event) -> bytes:
    """Give the canonical bytes of an event."""
    return _encoder.encode(event)


def to_json(value: object) -> bytes:
    """Give the JSON of plain values, decimals as exact numbers."""
    return _encoder.encode(value)


def decode(state: bytes) -> AnyEvent:
    """Read an event back from its canonical bytes; msgspec.ValidationError for an unknown type."""
    event: AnyEvent = _decoder.decode(state)
    return event


def published(deal: Deal, digits: int) -> dict[str, Any]:
    """Give a deal as people read it: money as exact decimals."""
    money = {name: msgspec.Raw(format_minor(getattr(deal, name), digits).encode()) for name in _DEAL_MONEY}
    told = {"dealId": deal.deal_id, "symbol": deal.symbol, "ticket": deal.ticket, "lots": deal.lots}
    return told | money | {"time": deal.time}


_DEAL_MONEY = ("profit", "storage", "commission", "taxes")


def operation_id(event: Event) -> str:
    """Give the public id of the event's operation: `bal_17` where money moved, else `op_17`."""
    return f"{'bal' if isinstance(event, MoneyMoved) else 'op'}_{event.operation}"
