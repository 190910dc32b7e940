"""The rules of everything that is not money: accounts, groups, symbols, the server's clock, keys."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger import clock, money
from ledger.book import Book
from ledger.commands import (
    CreateKey,
    DefineGroup,
    DefineServer,
    DefineSymbol,
    DisableAccount,
    EnableAccount,
    OpenAccount,
    Request,
    RevokeKey,
    StartSimulation,
    UpdateAccount,
)
from ledger.definitions import Definitions, Group
from ledger.events import (
    SCHEMA,
    AccountDisabled,
    AccountEnabled,
    AccountOpened,
    AccountUpdated,
    Event,
    GroupDefined,
    KeyCreated,
    KeyRevoked,
    ServerDefined,
    SimulationStarted,
    SymbolDefined,
)
from ledger.refusals import AlreadyApplied, NotFound, ValidationError

LOGIN_FIRST = 1001
LOGIN_MAX = 2**53 - 1
LEDGER_STREAM = "ledger"


def open_account(book: Book, request: Request, command: OpenAccount) -> list[Event]:
    """Open an account in a defined group, at the given login or the next free one."""
    group = _group(book, command.group)
    login = command.login or max(book.login_max + 1, LOGIN_FIRST)
    if login in book.accounts:
        raise ValidationError("login_taken", f"login {login} is taken", field="login")
    if login > LOGIN_MAX:
        raise ValidationError("bad_login", "no login is free above the highest one", field="login")
    given = _given(command)
    defaults: dict[str, Any] = {
        "leverage": group.leverage,
        "regdate": int(book.moment.recorded_at.timestamp()),
        "currency": group.currency,
        "digits": group.digits,
    }
    event = AccountOpened(
        **_envelope(book, request, f"account:{login}", version=1),
        **(defaults | given | {"login": login}),
        asked=tuple(given),
    )
    return [event]


def update_account(book: Book, request: Request, command: UpdateAccount) -> list[Event]:
    """Change the given fields of an account; its currency never changes."""
    account = book.accounts[command.login]
    if command.group is not None:
        group = _group(book, command.group)
        if group.currency != account.currency:
            raise ValidationError("currency_mismatch", f"the account is in {account.currency}", field="group")
    envelope = _envelope(book, request, account.stream, version=account.version + 1)
    return [AccountUpdated(**envelope, **_given(command))]


def disable_account(book: Book, request: Request, command: DisableAccount) -> list[Event]:
    """Suspend an account that is not suspended."""
    account = book.accounts[command.login]
    if not account.enable:
        raise AlreadyApplied(
            "already_disabled", f"account {account.login} is disabled already", switched=account.login
        )
    envelope = _envelope(book, request, account.stream, version=account.version + 1)
    return [AccountDisabled(**envelope, login=account.login)]


def enable_account(book: Book, request: Request, command: EnableAccount) -> list[Event]:
    """End the suspension of a suspended account."""
    account = book.accounts[command.login]
    if account.enable:
        raise AlreadyApplied(
            "already_enabled", f"account {account.login} is enabled already", switched=account.login
        )
    envelope = _envelope(book, request, account.stream, version=account.version + 1)
    return [AccountEnabled(**envelope, login=account.login)]


def define_group(book: Book, request: Request, command: DefineGroup) -> list[Event]:
    """Define a group; digits belong to the currency, and a group keeps its currency."""
    known = book.definitions.groups.get(command.group)
    if known is not None and known.currency != command.currency:
        raise ValidationError("currency_mismatch", f"the group is in {known.currency}", field="currency")
    digits = _digits(book.definitions, command)
    given = _given(command)
    if command.max_operation is not None:
        given["max_operation"] = command.max_operation.minor(digits)
    version = 1 if known is None else known.version + 1
    envelope = _envelope(book, request, f"group:{command.group}", version=version)
    return [GroupDefined(**envelope, **(given | {"digits": digits}), asked=tuple(given))]


def define_symbol(book: Book, request: Request, command: DefineSymbol) -> list[Event]:
    """Define a symbol, or give it another definition."""
    version = book.symbols.get(command.symbol, 0) + 1
    envelope = _envelope(book, request, f"symbol:{command.symbol}", version=version)
    given = _given(command)
    return [SymbolDefined(**envelope, **given, asked=tuple(given))]


def define_server(book: Book, request: Request, command: DefineServer) -> list[Event]:
    """Set the clock and book currency; what is booked stays on the day where it was booked."""
    clock.server_clock(
        timezone=command.timezone, day_end=command.day_end, overnight_days=command.overnight_days
    )
    money.check_currency(command.book_currency, field="bookCurrency")
    return [ServerDefined(**_ledger_envelope(book, request), **_given(command))]


def start_simulation(book: Book, request: Request, command: StartSimulation) -> list[Event]:
    """Mark a ledger without real operations as simulated."""
    if book.definitions.simulated_from is not None:
        raise AlreadyApplied("already_simulated", "the ledger is simulated already")
    if book.login_max:
        raise ValidationError("ledger_is_real", "a ledger with real operations cannot be simulated")
    return [SimulationStarted(**_ledger_envelope(book, request), starts_at=command.starts_at)]


def create_key(book: Book, request: Request, command: CreateKey) -> list[Event]:
    """Hand out a key."""
    if command.key in book.keys:
        raise ValidationError("key_taken", f"there is a key {command.key} already", field="key")
    envelope = _envelope(book, request, f"key:{command.key}", version=1)
    return [KeyCreated(**envelope, **_given(command))]


def revoke_key(book: Book, request: Request, command: RevokeKey) -> list[Event]:
    """Kill a key."""
    version = book.keys.get(command.key)
    if version is None:
        raise NotFound("unknown_key", f"there is no key {command.key}", field="key")
    envelope = _envelope(book, request, f"key:{command.key}", version=version + 1)
    return [KeyRevoked(**envelope, **_given(command))]


def _given(command: msgspec.Struct) -> dict[str, Any]:
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def _group(book: Book, name: str | None) -> Group:
    group = book.definitions.groups.get(name or "")
    if group is None:
        raise ValidationError("unknown_group", f"there is no group {name}", field="group")
    return group


def _digits(definitions: Definitions, command: DefineGroup) -> int:
    fixed = definitions.digits.get(command.currency)
    if fixed is None:
        return money.default_digits(command.currency) if command.digits is None else command.digits
    if command.digits not in {None, fixed}:
        raise ValidationError(
            "digits_mismatch", f"{command.currency} has {fixed} digits in this ledger", field="digits"
        )
    return fixed


def _ledger_envelope(book: Book, request: Request) -> dict[str, Any]:
    return _envelope(book, request, LEDGER_STREAM, version=book.definitions.server_version + 1)


def _envelope(book: Book, request: Request, stream: str, *, version: int) -> dict[str, Any]:
    return {
        "position": book.next_position,
        "stream": stream,
        "version": version,
        "operation": book.next_position,
        "recorded_at": book.moment.recorded_at,
        "server_day": book.moment.server_day,
        "trading_day": book.moment.trading_day,
        "schema": SCHEMA,
        "request_id": request.request_id,
        "operator_id": request.caller.operator_id,
        "key_id": request.caller.key_id,
    }
