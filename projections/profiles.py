"""Accounts as people know them: how the events that are not money change accounts and profiles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ledger.events import AccountDisabled, AccountEnabled, AccountOpened, AccountUpdated, Event, to_json
from projections.sql import sql
from projections.statements import Statement, fields_of

TEXTS = ("name", "email", "country", "phone", "address", "city", "zipcode", "comment")
PROFILE_FIELDS = (
    "regdate",
    "enable_read_only",
    "enable_change_password",
    "magic",
    "customer_id",
    *TEXTS,
)

_UPDATE_ACCOUNT = (
    "UPDATE accounts SET group_name = coalesce(%(group)s, group_name), enable = coalesce(%(enable)s, enable),"
    " leverage = coalesce(%(leverage)s, leverage) WHERE login = %(login)s"
)
_UPDATE_PROFILE = (
    "UPDATE profiles SET regdate = coalesce(%(regdate)s, regdate),"
    " enable_read_only = coalesce(%(enable_read_only)s, enable_read_only),"
    " enable_change_password = coalesce(%(enable_change_password)s, enable_change_password),"
    " magic = coalesce(%(magic)s, magic), customer_id = coalesce(%(customer_id)s, customer_id),"
    " name = coalesce(%(name)s, name), email = coalesce(%(email)s, email),"
    " country = coalesce(%(country)s, country), phone = coalesce(%(phone)s, phone),"
    " address = coalesce(%(address)s, address), city = coalesce(%(city)s, city),"
    " zipcode = coalesce(%(zipcode)s, zipcode), comment = coalesce(%(comment)s, comment)"
    " WHERE login = %(login)s"
)
_REGROUP = 'INSERT INTO regroupings (login, "position") VALUES (%(login)s, %(position)s)'
_ENABLE = "UPDATE accounts SET enable = %(enable)s WHERE login = %(login)s"


def regrouping(event: Event) -> list[Statement]:
    """Give the statement that has the figures of the account's open positions valued and placed anew."""
    match event:
        case AccountUpdated(group=None, enable=None, leverage=None):
            return []
        case AccountUpdated() | AccountDisabled() | AccountEnabled():
            return [(_REGROUP, {"login": event.login, "position": event.position})]
        case _:
            return []


def openings(events: Iterable[Event]) -> list[Statement]:
    """Give the statement that adds the rows of all accounts that were opened, however many."""
    rows = [_opened(event) for event in events if isinstance(event, AccountOpened)]
    return [(sql("open_accounts"), {"rows": to_json(rows).decode()})] if rows else []


def statements(event: Event) -> list[Statement]:
    """Give the statements by which the event changes rows that exist; money columns are not theirs."""
    match event:
        case AccountUpdated():
            return [(_UPDATE_ACCOUNT, fields_of(event)), (_UPDATE_PROFILE, fields_of(event))]
        case AccountDisabled() | AccountEnabled():
            return [(_ENABLE, {"login": event.login, "enable": isinstance(event, AccountEnabled)})]
        case _:
            return []


def _opened(event: AccountOpened) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in _OPENED}
    return row | {"server_month": event.server_day.replace(day=1)}


_OPENED = ("login", "group", "currency", "digits", "leverage", "enable", "trading_day", *PROFILE_FIELDS)
