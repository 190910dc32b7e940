"""A naive reading of the accounts list, written from the rules alone: log and observations, then filters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.events import AccountDisabled, AccountEnabled, AccountOpened, AccountUpdated, Event, MoneyMoved
from projections.accounts import STRUCTURE

if TYPE_CHECKING:
    from ledger.commands import Access
    from tests.drive import LedgerUnderTest

Cell = str | Fraction
Row = dict[str, Any]
Asked = dict[str, Any]
Groups = Mapping[str, tuple[str, int, str]]
"""Currency, digits and equity mode by group."""

TEXTS = ("email", "country", "phone", "comment", "address", "city", "zipcode", "name")
MONEY = (
    *("balance", "credit", "profit", "net_profit", "storage", "commission", "margin", "margin_free"),
    *("equity", "prevbalance", "prevmonthbalance"),
)
PROFILE = (
    *("group", "enable", "enable_read_only", "enable_change_password", "leverage", "regdate", "magic"),
    *("customer_id", *TEXTS),
)
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "like": lambda a, b: matches(a, b, any_run="%"),
}


def all_rows(ledger: LedgerUnderTest, groups: Groups, *, trading_day: date, month: date) -> list[Row]:
    """Give every account by field: texts, and exact numbers as they are written; and whether it is stale."""
    log = ledger.log()
    online = {login for (login,) in ledger.rows("SELECT login FROM online")}
    columns = "login, orders, unvalued, profit, storage, commission, margin"
    figures = {login: found for login, *found in ledger.rows(f"SELECT {columns} FROM figures")}
    logins = [event.login for event in log if isinstance(event, AccountOpened)]
    return [
        _profile(log, login)
        | _worth(log, login, figures.get(login, [0] * 6), groups, trading_day=trading_day, month=month)
        | {"login": Fraction(login), "online": Fraction(login in online)}
        for login in sorted(logins)
    ]


def answer(rows: Iterable[Row], asked: Asked, access: Access) -> tuple[list[list[Any]], list[Row]]:
    """Give the rows of the page, and everything that matches."""
    matched = sorted((row for row in rows if _passes(row, asked, access)), key=lambda row: row["login"])
    field, direction = asked.get("orderBy", ("login", "ASC"))
    matched.sort(key=lambda row: row[field], reverse=direction == "DESC")  # equal ones stay in their order
    page = matched[asked["offset"] : asked["offset"] + asked["limit"]]
    return [[row[name] for name in STRUCTURE] for row in page], matched


def sums(rows: Iterable[Row]) -> dict[str, dict[str, Fraction]]:
    """Add money up by currency."""
    found: dict[str, dict[str, Fraction]] = defaultdict(lambda: dict.fromkeys(MONEY, Fraction(0)))
    for row in rows:
        for name in MONEY:
            found[row["currency"]][name] += row[name]
    return dict(found)


def exact(value: Any) -> Any:
    """Give what is written: numbers come as raw JSON."""
    return Fraction(bytes(value).decode()) if isinstance(value, msgspec.Raw) else value


def matches(text: str, pattern: str, *, any_run: str) -> bool:
    """Tell whether a pattern covers a text; one character of it stands for any run of others."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split(any_run))), text, re.DOTALL) is not None


def _selects(mask: str, group: str) -> bool:
    items = [item.strip() for item in mask.split(",")]
    found = [item for item in items if matches(group, item.lstrip("!"), any_run="*")]
    return bool(found) and not any(item.startswith("!") for item in found)


def _passes(row: Row, asked: Asked, access: Access) -> bool:
    checks = (
        access.logins is None or row["login"] in access.logins,
        _selects(access.mask.text, row["group"]),
        _selects(asked["groupFilter"], row["group"]),
        *(COMPARISONS[op](row[field], exact(value)) for field, op, value in asked.get("where", [])),
        *(row[field] != exact(value) for field, value in asked.get("whereNot", [])),
        *(row[field] in map(exact, values) for field, values in asked.get("whereIn", [])),
        *(row[field] not in map(exact, values) for field, values in asked.get("whereNotIn", [])),
        *(exact(a) <= row[field] <= exact(b) for field, (a, b) in asked.get("whereBetween", [])),
        *(
            row[field] < exact(a) or row[field] > exact(b)
            for field, (a, b) in asked.get("whereNotBetween", [])
        ),
    )
    return all(checks)


def _profile(log: Iterable[Event], login: int) -> Row:
    profile: Row = {}
    for event in log:
        if getattr(event, "login", None) != login:
            continue
        if isinstance(event, AccountOpened | AccountUpdated):
            told = {name: getattr(event, name) for name in PROFILE}
            profile |= {name: value for name, value in told.items() if value is not None}
        if isinstance(event, AccountDisabled | AccountEnabled):
            profile["enable"] = isinstance(event, AccountEnabled)
    return {name: value if isinstance(value, str) else Fraction(value) for name, value in profile.items()}


def _worth(
    log: list[Event], login: int, figures: list[int], groups: Groups, *, trading_day: date, month: date
) -> Row:
    currency, digits, mode = groups[_profile(log, login)["group"]]
    legs = [event for event in log if isinstance(event, MoneyMoved) and event.login == login]
    orders, unvalued, profit, storage, commission, margin = figures
    balance, credit = sum(leg.balance_change for leg in legs), sum(leg.credit_change for leg in legs)
    net_profit = profit + storage + commission
    equity = balance + credit + (net_profit if mode == "net" else profit)
    minor = {
        "balance": balance,
        "credit": credit,
        "profit": profit,
        "net_profit": net_profit,
        "storage": storage,
        "commission": commission,
        "margin": margin,
        "margin_free": equity - margin,
        "equity": equity,
        "prevbalance": sum(leg.balance_change for leg in legs if leg.trading_day < trading_day),
        "prevmonthbalance": sum(leg.balance_change for leg in legs if leg.server_day < month),
    }
    level = round(Fraction(equity * 10_000, margin)) if margin else 0  # Python rounds half to even
    written: Row = {name: Fraction(value, 10**digits) for name, value in minor.items()}
    return written | {
        "currency": currency,
        "margin_level": Fraction(level, 100),
        "stale": orders > 0 and unvalued > 0,
    }
