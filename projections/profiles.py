"""Accounts as people know them: how the events that are not money change accounts and profiles."""

from __future__ import annotations

from ledger.events import AccountDisabled, AccountEnabled, AccountOpened, AccountUpdated, Event
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

_OPEN_ACCOUNT = (
    "INSERT INTO accounts (login, version, balance, credit, balance_before_day, balance_before_month,"
    " balance_day, balance_month, digits, enable, leverage, group_name, currency) VALUES (%(login)s, 0, 0, 0,"
    " 0, 0, %(trading_day)s, %(server_month)s, %(digits)s, %(enable)s, %(leverage)s, %(group)s, %(currency)s)"
)
_OPEN_PROFILE = (
    "INSERT INTO profiles (login, regdate, enable_read_only, enable_change_password, magic, customer_id,"
    " name, email, country, phone, address, city, zipcode, comment) VALUES (%(login)s, %(regdate)s,"
    " %(enable_read_only)s, %(enable_change_password)s, %(magic)s, %(customer_id)s, %(name)s, %(email)s,"
    " %(country)s, %(phone)s, %(address)s, %(city)s, %(zipcode)s, %(comment)s)"
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
_ENABLE = "UPDATE accounts SET enable = %(enable)s WHERE login = %(login)s"


def statements(event: Event) -> list[Statement]:
    """Give the statements by which the event changes these rows; money columns are not theirs."""
    match event:
        case AccountOpened():
            row = fields_of(event) | {"server_month": event.server_day.replace(day=1)}
            return [(_OPEN_ACCOUNT, row), (_OPEN_PROFILE, row)]
        case AccountUpdated():
            return [(_UPDATE_ACCOUNT, fields_of(event)), (_UPDATE_PROFILE, fields_of(event))]
        case AccountDisabled() | AccountEnabled():
            return [(_ENABLE, {"login": event.login, "enable": isinstance(event, AccountEnabled)})]
        case _:
            return []
