"""Builders that show only the telling values: commands, recorded facts, and the book they add up to.

`given(...)` is a book in which group `standard` (USD) has the open accounts 1001 and 1002; `now` is
Wednesday noon. Amounts are written as a caller would: 100, "0.01".
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ledger.book import Book, Moment
from ledger.clock import ServerClock
from ledger.commands import (
    Access,
    Adjust,
    BookDeal,
    Caller,
    Command,
    Correct,
    DefineGroup,
    DefineServer,
    DefineSymbol,
    Deposit,
    GiveCredit,
    OpenAccount,
    Request,
    Reverse,
    Transfer,
    Withdraw,
)
from ledger.decide import decide
from ledger.definitions import Definitions
from ledger.events import (
    AccountDisabled,
    AccountEnabled,
    AccountOpened,
    AccountUpdated,
    Event,
    GrantChange,
    GroupDefined,
    MoneyMoved,
    ServerDefined,
)
from ledger.masks import parse_mask
from ledger.money import Amount, parse_amount_text
from ledger.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)  # a Wednesday
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_UNSET = datetime(1970, 1, 1, tzinfo=UTC)
_numbers = count(1)


def at(text: str) -> datetime:
    """Read an instant: `2026-11-18 12:00`, in UTC unless it says otherwise."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def money(written: int | str | Amount, field: str = "amount") -> Amount:
    """Read an amount as a caller writes it."""
    return written if isinstance(written, Amount) else parse_amount_text(str(written), field=field)


def cents(written: int | str) -> int:
    """Give an amount of dollars in minor units."""
    return money(written).minor(2)


# Commands.


def deposit(amount: int | str = 100, *, login: int = 1001, **note: Any) -> Deposit:
    """Ask for a deposit."""
    return Deposit(login=login, amount=money(amount), **note)


def withdraw(amount: int | str, *, login: int = 1001, **note: Any) -> Withdraw:
    """Ask for a withdrawal."""
    return Withdraw(login=login, amount=money(amount), **note)


def credit(amount: int | str, *, login: int = 1001, **note: Any) -> GiveCredit:
    """Ask for credit, in or (negative) out."""
    return GiveCredit(login=login, amount=money(amount), **note)


def transfer(amount: int | str, *, source: int = 1001, target: int = 1002, **note: Any) -> Transfer:
    """Ask for a transfer."""
    return Transfer(source=source, target=target, amount=money(amount), **note)


def correct(
    *,
    balance: int | str | None = None,
    credit: int | str | None = None,
    login: int = 1001,
    reason: str = "typing error",
    **note: Any,
) -> Correct:
    """Ask for a correction."""
    return Correct(
        login=login,
        balance=None if balance is None else money(balance, "balance"),
        credit=None if credit is None else money(credit, "credit"),
        reason=reason,
        **note,
    )


def reverse(operation: int, reason: str = "booked by mistake") -> Reverse:
    """Ask for a reversal."""
    return Reverse(operation=operation, reason=reason)


def adjust(
    kind: str,
    amount: int | str | None = None,
    *,
    credit: int | str | None = None,
    login: int = 1001,
    **note: Any,
) -> Adjust:
    """Ask for one of the platforms' other kinds."""
    return Adjust(
        login=login,
        kind=kind,
        amount=None if amount is None else money(amount),
        credit=None if credit is None else money(credit, "credit"),
        **note,
    )


def open_account(login: int | None = None, *, group: str = "standard", **profile: Any) -> OpenAccount:
    """Ask for an account."""
    return OpenAccount(login=login, group=group, **profile)


def define_group(group: str = "standard", currency: str = "USD", **definition: Any) -> DefineGroup:
    """Ask for a group."""
    ceiling = definition.pop("max_operation", None)
    max_operation = None if ceiling is None else money(ceiling, "maxOperation")
    return DefineGroup(group=group, currency=currency, max_operation=max_operation, **definition)


def define_symbol(symbol: str = "EURUSD", **definition: Any) -> DefineSymbol:
    """Ask for a symbol: by default a currency pair of its name, 100,000 a lot."""
    named: dict[str, Any] = {
        "digits": 5,
        "contract_size": "100000",
        "base_currency": symbol[:3],
        "profit_currency": symbol[3:6],
    }
    return DefineSymbol(symbol=symbol, **named | definition)


def deal(
    deal_id: str, profit: int | str, *, login: int = 1001, symbol: str | None = None, **rest: Any
) -> BookDeal:
    """Ask for a closed deal to be booked."""
    parts: dict[str, Any] = {
        name: money(rest.pop(name), name) for name in ("storage", "commission", "taxes") if name in rest
    }
    return BookDeal(
        login=login, deal_id=deal_id, profit=money(profit, "profit"), symbol=symbol, **parts, **rest
    )


def define_server(
    timezone: str = "UTC", day_end: str = "00:00", overnight_days: str = "all", book_currency: str = "USD"
) -> DefineServer:
    """Ask for a server clock."""
    return DefineServer(
        timezone=timezone, day_end=day_end, overnight_days=overnight_days, book_currency=book_currency
    )


def key(
    mask: str = "*",
    *,
    logins: Iterable[int] | None = None,
    amount_max: int | str | None = None,
    amount_day_max: int | str | None = None,
    key_id: str = "k1",
) -> Caller:
    """Come by a key with this reach and these limits."""
    return Caller(
        key_id=key_id,
        operator_id="alice",
        access=Access(
            mask=parse_mask(mask),
            logins=None if logins is None else frozenset(logins),
            amount_max=None if amount_max is None else money(amount_max),
            amount_day_max=None if amount_day_max is None else money(amount_day_max),
        ),
    )


def request(command: Command, request_id: str | None = None, *, caller: Caller | None = None) -> Request:
    """Wrap a command as one attempt, under a request id of its own unless one is given."""
    return Request(
        command=command, request_id=request_id or f"request-{next(_numbers)}", caller=caller or key()
    )


# Recorded facts. `given` fills in positions, versions, days and resulting balances.


def moved(
    kind: str, *, balance: int | str = 0, credit: int | str = 0, login: int = 1001, **rest: Any
) -> Event:
    """Build the fact that an account's money moved."""
    minor: dict[str, Any] = {"balance_change": cents(balance), "credit_change": cents(credit)}
    minor |= {name: rest.pop(name) for name in tuple(minor) if name in rest}
    amount = rest.pop("amount", minor["balance_change"] or minor["credit_change"])
    named: dict[str, Any] = {"group": "standard", "currency": "USD", "digits": 2} | rest
    return MoneyMoved(
        **_blank(named), login=login, kind=kind, amount=amount, **minor, balance=0, credit=0, **named
    )


def deposited(amount: int | str = 100, **rest: Any) -> Event:
    """Build the fact of a deposit."""
    return moved("deposit", balance=amount, **rest)


def withdrawn(amount: int | str, **rest: Any) -> Event:
    """Build the fact of a withdrawal."""
    return moved("withdrawal", balance=f"-{amount}", amount=cents(amount), **rest)


def credited(amount: int | str, **rest: Any) -> Event:
    """Build the fact of credit given."""
    return moved("credit", credit=amount, **rest)


def credit_out(amount: int | str, *used: tuple[int, datetime, int | str], **rest: Any) -> Event:
    """Build the fact of credit taken out of grants (position, expiry, amount)."""
    grants = tuple(GrantChange(grant, expires_at, -cents(taken)) for grant, expires_at, taken in used)
    return moved("credit", credit=f"-{amount}", grants=grants, **rest)


def transferred(
    amount: int | str, *, source: int = 1001, target: int = 1002, **rest: Any
) -> tuple[Event, Event]:
    """Build the two facts of a transfer."""
    out = moved(
        "transfer", balance=f"-{amount}", amount=cents(amount), login=source, peer=target, **dict(rest)
    )
    return out, moved("transfer", balance=amount, login=target, peer=source, **dict(rest))


def reversed_(operation: int, *, balance: int | str = 0, credit: int | str = 0, **rest: Any) -> Event:
    """Build the fact of a one-legged reversal."""
    return moved("reversal", balance=balance, credit=credit, corrects=operation, reason="mistake", **rest)


def account_opened(login: int = 1001, *, group: str = "standard", **rest: Any) -> AccountOpened:
    """Build the fact that an account was opened."""
    named: dict[str, Any] = {"currency": "USD", "digits": 2, "leverage": 100, "regdate": 0} | rest
    return AccountOpened(**_blank(named), login=login, group=group, **named)


def account_updated(login: int = 1001, **rest: Any) -> AccountUpdated:
    """Build the fact that a profile changed."""
    return AccountUpdated(**_blank(rest), login=login, **rest)


def account_disabled(login: int = 1001, **rest: Any) -> AccountDisabled:
    """Build the fact of a suspension."""
    return AccountDisabled(**_blank(rest), login=login, **rest)


def account_enabled(login: int = 1001, **rest: Any) -> AccountEnabled:
    """Build the fact of a suspension's end."""
    return AccountEnabled(**_blank(rest), login=login, **rest)


def group_defined(
    group: str = "standard", currency: str = "USD", digits: int = 2, **rest: Any
) -> GroupDefined:
    """Build the fact of a group's definition."""
    return GroupDefined(**_blank(rest), group=group, currency=currency, digits=digits, **rest)


def server_defined(
    timezone: str = "UTC", day_end: str = "00:00", overnight_days: str = "all", **rest: Any
) -> ServerDefined:
    """Build the fact of a server clock."""
    named: dict[str, Any] = {"book_currency": "USD"} | rest
    return ServerDefined(
        **_blank(named), timezone=timezone, day_end=day_end, overnight_days=overnight_days, **named
    )


# Given, when, then.


def given(*facts: Event | tuple[Event, ...], now: datetime = NOW) -> Book:
    """Give the book in which these facts follow the standing ones; the first has position 4."""
    standing = [group_defined(at=_LONG_AGO), *(account_opened(login, at=_LONG_AGO) for login in (1001, 1002))]
    return given_only(*standing, *facts, now=now)


def given_only(*facts: Event | tuple[Event, ...], now: datetime = NOW) -> Book:
    """Give the book of these facts alone, as a new batch would find it at `now`."""
    book = Book(moment=_moment(ServerClock("UTC", "00:00", "all"), now), head=0, definitions=Definitions())
    for fact in facts:
        legs = fact if isinstance(fact, tuple) else (fact,)
        book.apply([_placed(book, leg, number, now) for number, leg in enumerate(legs)])
    book.head, book.booked = len(book.booked), []
    book.moment = _moment(book.definitions.clock, now)
    return book


def when(
    book: Book, command: Command, request_id: str | None = None, *, caller: Caller | None = None
) -> list[Event]:
    """Decide a command, and take what it causes into the book."""
    events = decide(book, request(command, request_id, caller=caller))
    book.apply(events)
    return events


def only(events: list[Event]) -> MoneyMoved:
    """Give the one money event."""
    [event] = events
    assert isinstance(event, MoneyMoved)
    return event


def booked(book: Book, command: Command, **rest: Any) -> MoneyMoved:
    """Decide a money command of one leg, and give its event."""
    return only(when(book, command, **rest))


def refused(
    book: Book,
    command: Command,
    code: str,
    request_id: str | None = None,
    *,
    caller: Caller | None = None,
) -> Refusal:
    """Check that a command is refused with this code and changes nothing; give the refusal."""
    before = state_of(book)
    with pytest.raises(Refusal) as caught:
        decide(book, request(command, request_id, caller=caller))
    assert caught.value.code == code, caught.value.detail
    assert state_of(book) == before
    return caught.value


def state_of(book: Book) -> bytes:
    """Give everything in a book as bytes, to see whether it changed."""
    plain = {name: getattr(book, name) for name in Book.__struct_fields__}
    plain["limited"] = sorted(book.limited)
    for name in ("references", "used"):
        plain[name] = sorted((repr(key), repr(value)) for key, value in plain[name].items())
    return msgspec.json.encode(plain)


def _blank(named: dict[str, Any]) -> dict[str, Any]:
    recorded_at = named.pop("at", _UNSET)
    envelope: dict[str, Any] = {
        "position": 0,
        "stream": "",
        "version": 0,
        "operation": 0,
        "recorded_at": recorded_at,
        "server_day": date.min,
        "trading_day": date.min,
        "schema": 1,
    }
    for name in ("request_id", "operator_id", "key_id"):
        envelope[name] = named.pop(name, None)
    return envelope


def _placed(book: Book, event: Event, leg: int, now: datetime) -> Event:
    recorded_at = now if event.recorded_at == _UNSET else event.recorded_at
    moment = _moment(book.definitions.clock, recorded_at)
    operation = book.next_position
    envelope: dict[str, Any] = {
        "position": operation + leg,
        "operation": operation,
        "recorded_at": moment.recorded_at,
        "server_day": moment.server_day,
        "trading_day": moment.trading_day,
        **_streamed(book, event),
    }
    return msgspec.structs.replace(event, **envelope)


def _streamed(book: Book, event: Event) -> dict[str, Any]:
    if isinstance(event, GroupDefined):
        known = book.definitions.groups.get(event.group)
        return {"stream": f"group:{event.group}", "version": known.version + 1 if known else 1}
    if isinstance(event, ServerDefined):
        return {"stream": "ledger", "version": book.definitions.server_version + 1}
    login: int = getattr(event, "login", 0)
    account = book.accounts.get(login)
    if account is None:
        return {"stream": f"account:{login}", "version": 1}
    placed: dict[str, Any] = {"stream": account.stream, "version": account.version + 1}
    if isinstance(event, MoneyMoved):
        placed["balance"] = account.balance + event.balance_change
        placed["credit"] = account.credit + event.credit_change
    return placed


def _moment(clock: ServerClock, instant: datetime) -> Moment:
    server_day = clock.server_day(instant)
    return Moment(instant, server_day, clock.trading_day(server_day))
