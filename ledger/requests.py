"""What a request asked, as comparable values: the content by which a repeat is told from a reuse.

The content of a command and the content of the events that it caused are the same dictionary, keyed
by the published field names; so nothing but the events needs to be kept (domain rule 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ledger.commands import (
    Adjust,
    BookDeal,
    Command,
    Correct,
    DefineGroup,
    GiveCredit,
    Note,
    Profile,
    Reverse,
    Transfer,
)
from ledger.events import (
    AccountDisabled,
    AccountEnabled,
    AccountOpened,
    AccountUpdated,
    Event,
    GroupDefined,
    MoneyMoved,
    SymbolDefined,
)
from ledger.money import Amount

Content = dict[str, Any]

ENVELOPE = frozenset(Event.__struct_fields__)
_DEAL_AMOUNTS = ("profit", "storage", "commission", "taxes")
PROFILES = (Profile, AccountOpened, AccountUpdated, AccountDisabled, AccountEnabled)


def content_of_command(command: Command) -> Content:
    """Give what the command asks, without what was not given."""
    return _given(_asked(command))


def content_of_events(events: Sequence[Event]) -> Content:
    """Give what the request asked that caused these events of one operation."""
    return _given(_recorded(events))


def differences(first: Content, second: Content) -> list[str]:
    """Name the fields in which two contents differ, sorted."""
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def _given(content: Content) -> Content:
    return {key: value for key, value in content.items() if value is not None}


def _amount(amount: Amount | None) -> tuple[int, int] | None:
    return None if amount is None else amount.normalized()


def _amount_not_zero(amount: Amount | None) -> tuple[int, int] | None:
    return None if amount is None or amount.is_zero else amount.normalized()


def _minor(minor: int, digits: int) -> tuple[int, int] | None:
    return Amount(minor, digits).normalized() if minor else None


def _note(note: Note | MoneyMoved) -> Content:
    return {
        "comment": note.comment,
        "reference": note.reference,
        "method": note.method,
        "effectiveAt": note.effective_at,
        "metadata": _tree(note.metadata),
    }


def _tree(value: object) -> object:
    """Give free-form JSON as values that differ where it does: true is not 1."""
    if isinstance(value, dict):
        return {key: _tree(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tree(inner) for inner in value]
    return ("flag", value) if isinstance(value, bool) else value


def _asked(command: Command) -> Content:
    match command:
        case Transfer(source=source, target=target):
            amount = _amount(command.amount)
            return {"kind": "transfer", "from": source, "to": target, "amount": amount, **_note(command)}
        case Correct():
            balance, credit = _amount(command.balance), _amount(command.credit)
            asked = {"kind": "correction", "login": command.login, "balance": balance, "credit": credit}
            return asked | {"corrects": command.corrects, "reason": command.reason} | _note(command)
        case Reverse():
            return {"kind": "reversal", "operationId": command.operation, "reason": command.reason}
        case Adjust():
            amounts = {"amount": _amount(command.amount), "credit": _amount(command.credit)}
            return {"kind": command.kind, "login": command.login, **amounts, **_note(command)}
        case Note():
            amount = _amount(getattr(command, "amount", None))
            asked = {"kind": command.NAME, "login": getattr(command, "login", None), "amount": amount}
            expires_at = command.expires_at if isinstance(command, GiveCredit) else None
            return asked | {"expiresAt": expires_at} | _note(command)
        case BookDeal():
            amounts = {name: _amount_not_zero(getattr(command, name)) for name in _DEAL_AMOUNTS}
            return {"kind": "trade", **_fields(command), **amounts}
        case DefineGroup(max_operation=ceiling, permissions=permissions):
            trees = {"maxOperation": _amount(ceiling), "permissions": _tree(permissions)}
            return {"kind": command.NAME, **_fields(command), **trees}
        case _:
            return {"kind": command.NAME, **_fields(command)}


def _recorded(events: Sequence[Event]) -> Content:
    first = events[0]
    if isinstance(first, MoneyMoved):
        return _MONEY.get(first.kind, _adjusted)(events)
    tag = str(type(first).__struct_config__.tag)
    if isinstance(first, AccountOpened | GroupDefined | SymbolDefined):
        return {"kind": tag, **{_published(first, name): _definition(first, name) for name in first.asked}}
    return {"kind": tag, **_fields(first)}


def _definition(event: Event, name: str) -> object:
    value = getattr(event, name)
    if name == "max_operation" and isinstance(event, GroupDefined):
        return Amount(value, event.digits).normalized()
    return _tree(value) if name == "permissions" else value


def _fields(struct: msgspec.Struct) -> Content:
    names = [name for name in struct.__struct_fields__ if name not in ENVELOPE]
    return {_published(struct, name): getattr(struct, name) for name in names}


def _published(struct: msgspec.Struct, name: str) -> str:
    """Give the field's name on the wire: accounts keep underscores, everything else is camelCase."""
    if isinstance(struct, PROFILES):
        return name
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _simple(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    amount = _minor(event.amount, event.digits)
    asked = {"kind": event.kind, "login": event.login, "amount": amount, "expiresAt": event.expires_at}
    return asked | _note(event)


def _credited(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    if event.corrects is None:
        return _simple(events)
    return {"kind": "expiry", "login": event.login, "grant": event.corrects}


def _transferred(events: Sequence[Event]) -> Content:
    out, into = map(_money, events)
    amount = _minor(out.amount, out.digits)
    return {"kind": "transfer", "from": out.login, "to": into.login, "amount": amount, **_note(out)}


def _corrected(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    changes = {
        "balance": _minor(event.balance_change, event.digits),
        "credit": _minor(event.credit_change, event.digits),
    }
    asked = {"kind": "correction", "login": event.login, **changes, "corrects": event.corrects}
    return asked | {"reason": event.reason} | _note(event)


def _reversed(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    return {"kind": "reversal", "operationId": event.corrects, "reason": event.reason}


def _traded(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    assert event.deal is not None
    amounts = {name: _minor(getattr(event.deal, name), event.digits) for name in _DEAL_AMOUNTS}
    return {"kind": "trade", "login": event.login, **_fields(event.deal), **amounts}


def _adjusted(events: Sequence[Event]) -> Content:
    event = _money(events[0])
    amount, credit = _minor(event.balance_change, event.digits), None
    if event.kind == "opening":
        credit = _minor(event.credit_change, event.digits)
    if event.kind == "negative-balance":
        amount, credit = None, _minor(-event.credit_change, event.digits)
    return {"kind": event.kind, "login": event.login, "amount": amount, "credit": credit, **_note(event)}


def _money(event: Event) -> MoneyMoved:
    assert isinstance(event, MoneyMoved)
    return event


_MONEY: dict[str, Callable[[Sequence[Event]], Content]] = {
    "deposit": _simple,
    "withdrawal": _simple,
    "credit": _credited,
    "transfer": _transferred,
    "correction": _corrected,
    "reversal": _reversed,
    "trade": _traded,
}
