"""What is told of accounts, groups and the server: their bodies, personal columns blank where due."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from api.answers import Body, money
from api.middleware import Ask
from ledger.definitions import Definitions, Group, group_of
from ledger.events import Event, GroupDefined, ServerDefined, operation_id
from ledger.refusals import NotFound, PermissionDenied
from projections import accounts
from projections.accounts import PERSONAL, STRUCTURE, AccountView

if TYPE_CHECKING:
    from api.service import Service

_NO_POSITIONS = ("margin", "profit", "net_profit", "storage", "commission")


async def told(service: Service, event: Event, ask: Ask) -> Body:
    """Give the answer to a write that moves no money, as it stood after it."""
    operation = {"operationId": operation_id(event), "requestId": event.request_id}
    match event:
        case GroupDefined():
            return group_body(group_of(event)) | operation
        case ServerDefined():
            async with service.reading() as connection:
                days = await service.days(connection)
            return server_body_of(event, days.definitions) | operation
        case _:
            return await _account_after(service, event, ask) | operation


async def profile(service: Service, login: int, ask: Ask) -> Body:
    """Give an account's profile; NotFound, or PermissionDenied outside of the key's reach."""
    async with service.reading() as connection:
        days = await service.days(connection)
        view = await accounts.view(
            connection, login, server_day=days.server_day, trading_day=days.trading_day
        )
    if view is None:
        raise NotFound("unknown_login", f"there is no account {login}", field="login")
    if not ask.access.reaches(login, view.group):
        raise PermissionDenied("outside_mask", f"account {login} is outside this key's reach", login=login)
    return account_body(view, days.definitions.groups[view.group], ask)


def account_body(view: AccountView, group: Group, ask: Ask) -> Body:
    """Give the published fields of an account by name, and ours."""
    fields = {name: _field(view, name) for name in STRUCTURE}
    if "users:pii" not in ask.scopes:
        fields |= dict.fromkeys(PERSONAL, "")
    return fields | {
        "withdrawable": money(view.withdrawable(group), view.digits),
        "digits": view.digits,
        "stale": False,
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


def server_body_of(event: ServerDefined, definitions: Definitions) -> Body:
    """Give the clock as an event set it."""
    return server_body(definitions) | {
        "timezone": event.timezone,
        "dayEnd": event.day_end,
        "overnightDays": event.overnight_days,
        "bookCurrency": event.book_currency,
    }


async def _account_after(service: Service, event: Event, ask: Ask) -> Body:
    login: int = event.login  # type: ignore[attr-defined]
    async with service.reading() as connection:
        days = await service.days(connection)
        view = await accounts.view(
            connection, login, server_day=days.server_day, trading_day=days.trading_day
        )
        if view is None or view.version != event.version:
            view = accounts.view_of(await service.database.stream(event.stream, until=event.version))
    return account_body(view, days.definitions.groups[view.group], ask)


def _field(view: AccountView, name: str) -> Any:
    match name:
        case "balance" | "credit" | "prevbalance" | "prevmonthbalance" | "margin_free":
            return money(getattr(view, name), view.digits)
        case "equity":
            return money(view.balance + view.credit, view.digits)
        case "margin_level":
            return money(0, 2)
        case "online":
            return 0
        case name if name in _NO_POSITIONS:
            return money(0, view.digits)
        case "enable" | "enable_read_only" | "enable_change_password":
            return int(getattr(view, name))
        case _:
            return getattr(view, name)


def _level(text: str | None) -> Any:
    return None if text is None else Decimal(text)
