"""Accounts as they are read: one row with its profile, its present figures and its previous ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from ledger import account as accounts
from ledger.account import Account
from ledger.commands import EXPIRY
from ledger.definitions import Group
from ledger.events import AccountOpened, AccountUpdated, Event
from ledger.figures import NO_POSITIONS, Figures, Worth
from projections.profiles import PROFILE_FIELDS
from projections.sql import with_fed_at

STRUCTURE = (
    "login",
    "enable",
    "enable_read_only",
    "enable_change_password",
    "leverage",
    "currency",
    "group",
    "email",
    "country",
    "phone",
    "comment",
    "address",
    "city",
    "zipcode",
    "name",
    "regdate",
    "prevbalance",
    "prevmonthbalance",
    "balance",
    "credit",
    "margin",
    "margin_free",
    "margin_level",
    "equity",
    "profit",
    "net_profit",
    "storage",
    "commission",
    "online",
    "magic",
    "customer_id",
)
PERSONAL = ("name", "email", "phone", "address", "city", "zipcode", "comment")


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its profile; money in minor units of its currency.

    `figures` are those of now; None of an account as it once was, whose open positions nobody has kept.
    """

    login: int
    group: str
    currency: str
    digits: int
    enable: bool
    leverage: int
    version: int
    balance: int
    credit: int
    prevbalance: int
    prevmonthbalance: int
    regdate: int
    enable_read_only: bool
    enable_change_password: bool
    magic: int
    customer_id: int
    name: str
    email: str
    country: str
    phone: str
    address: str
    city: str
    zipcode: str
    comment: str
    online: bool = False
    figures: Figures | None = None

    def worth(self, group: Group) -> Worth:
        """Give what the account is worth under its group's policies."""
        figures = NO_POSITIONS if self.figures is None else self.figures
        return Worth(balance=self.balance, credit=self.credit, group=group, figures=figures)

    @property
    def unvalued(self) -> bool:
        """Whether open positions lack a quote or a rate."""
        return self.figures is not None and self.figures.unvalued > 0

    def stale(self, now: datetime) -> bool:
        """Tell whether the figures are not those of now."""
        return self.figures is None or self.figures.stale(now)


async def view(
    connection: AsyncConnection[Any], login: int, *, server_day: date, trading_day: date
) -> AccountView | None:
    """Read one account, with its previous balances as of the ledger's present days."""
    params = {"login": login, "server_day": server_day, "trading_day": trading_day}
    cursor = connection.cursor(binary=True)
    await cursor.execute(with_fed_at("account").encode(), params, prepare=True)
    row = await cursor.fetchone()
    if row is None:
        return None
    told = dict(zip(_TOLD, row[: len(_TOLD)], strict=True))
    return AccountView(**told, figures=Figures(**dict(zip(_FIGURES, row[len(_TOLD) :], strict=True))))


async def any_account(connection: AsyncConnection[Any]) -> bool:
    """Tell whether the ledger has an account: then it is real, unless it is simulated."""
    return await (await connection.execute(_ANY)).fetchone() is not None


async def group_of(connection: AsyncConnection[Any], login: int) -> str | None:
    """Give the account's present group, or None where there is no account."""
    row = await (await connection.execute(_GROUP_OF, [login])).fetchone()
    return None if row is None else str(row[0])


def view_of(events: Iterable[Event]) -> AccountView:
    """Fold an account's events into what it looked like after the last of them."""
    account: Account | None = None
    profile: dict[str, Any] = {}
    last: Event | None = None
    for event in events:
        account = accounts.evolve(account, event)
        profile |= _profile_changes(event)
        last = event
    assert account is not None
    assert last is not None
    return AccountView(
        login=account.login,
        group=account.group,
        currency=account.currency,
        digits=account.digits,
        enable=account.enable,
        version=account.version,
        balance=account.balance,
        credit=account.credit,
        prevbalance=account.prevbalance(last.trading_day),
        prevmonthbalance=account.prevmonthbalance(last.server_day),
        figures=NO_POSITIONS if isinstance(last, AccountOpened) else None,
        **profile,
    )


async def expired_grants(connection: AsyncConnection[Any], close: datetime) -> list[tuple[int, int]]:
    """Name login and grant of all credit that is to expire: its last server day ended by `close`."""
    rows = await (await connection.execute(_EXPIRED, {"close": close, "expiry": EXPIRY})).fetchall()
    return [(login, grant) for login, grant in rows]


_TOLD = AccountView.__struct_fields__[:-1]
_FIGURES = Figures.__struct_fields__
_ANY = "SELECT 1 FROM accounts LIMIT 1"
_GROUP_OF = "SELECT group_name FROM accounts WHERE login = %s"
_EXPIRED = """
SELECT login, (g ->> 0)::bigint FROM accounts, jsonb_array_elements(grants::jsonb) AS g
WHERE grants_expire_at < %(close)s AND (g ->> 1)::timestamptz < %(close)s
    -- A grant expires once. OFFSET 0: looked up for what is due, however many the planner takes it for.
    AND NOT EXISTS (SELECT FROM requests WHERE request_id = %(expiry)s || (g ->> 0) OFFSET 0)
ORDER BY login, 2
"""


def _profile_changes(event: Event) -> dict[str, Any]:
    if not isinstance(event, AccountOpened | AccountUpdated):
        return {}
    values = {name: getattr(event, name) for name in ("leverage", *PROFILE_FIELDS)}
    return {name: value for name, value in values.items() if value is not None}
