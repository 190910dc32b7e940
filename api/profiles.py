"""What is told of accounts, groups and the server: their bodies, personal columns blank where due."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from api.answers import Body, money
from ledger.definitions import Definitions, Group, group_of
from ledger.events import GroupDefined, ServerDefined
from ledger.figures import Worth
from projections.accounts import PERSONAL, STRUCTURE, AccountView

_MONEY = ("balance", "credit", "prevbalance", "prevmonthbalance")
_OF_POSITIONS = ("margin", "profit", "net_profit", "storage", "commission")
_FLAGS = ("enable", "enable_read_only", "enable_change_password", "online")


def account_body(view: AccountView, group: Group, *, scopes: frozenset[str], now: datetime) -> Body:
    """Give the published fields of an account by name, and ours."""
    worth = view.worth(group)
    fields = {name: _field(view, worth, name) for name in STRUCTURE}
    if "users:pii" not in scopes:
        fields |= dict.fromkeys(PERSONAL, "")
    return fields | {
        "withdrawable": money(worth.withdrawable, view.digits),
        "digits": view.digits,
        "stale": view.stale(now),
        "version": view.version,
    }


def group_body(group: Group) -> Body:
    """Give a group's definition."""
    ceiling = group.max_operation
    return {
        "group": group.group,
        "currency": group.currency,
        "digits": group.digits,
        "leverage": group.leverage,
        "equityMode": group.equity_mode,
        "withdrawPolicy": group.withdraw_policy,
        "refuseWhenStale": group.refuse_when_stale,
        "marginCall": _level(group.margin_call),
        "stopOut": _level(group.stop_out),
        "maxOperation": None if ceiling is None else money(ceiling, group.digits),
        "coverage": group.coverage,
        "permissions": group.permissions or {},
    }


def server_body(definitions: Definitions) -> Body:
    """Give the clock and book currency in force, and whether the clock is a simulated one."""
    clock = definitions.clock
    return {
        "timezone": clock.timezone,
        "dayEnd": clock.day_end,
        "overnightDays": clock.overnight_days,
        "bookCurrency": definitions.book_currency,
        "simulated": definitions.simulated_from is not None,
        "simulatedFrom": definitions.simulated_from,
    }


def group_body_of(event: GroupDefined) -> Body:
    """Give a group's definition as an event set it."""
    return group_body(group_of(event))


def server_body_of(event: ServerDefined) -> Body:
    """Give the clock as an event set it."""
    return {
        "timezone": event.timezone,
        "dayEnd": event.day_end,
        "overnightDays": event.overnight_days,
        "bookCurrency": event.book_currency,
    }


def _field(view: AccountView, worth: Worth, name: str) -> Any:
    match name:
        case name if name in _MONEY:
            return money(getattr(view, name), view.digits)
        case "margin_free" | "equity":
            return money(getattr(worth, name), view.digits)
        case "margin_level":
            return money(worth.margin_level, 2)
        case name if name in _OF_POSITIONS:
            return money(getattr(worth.figures, name), view.digits)
        case name if name in _FLAGS:
            return int(getattr(view, name))
        case _:
            return getattr(view, name)


def _level(text: str | None) -> Any:
    return None if text is None else Decimal(text)
