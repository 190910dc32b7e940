"""What GET /accounts must answer: every rule read literally, over every account."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.model.masks import like, selects
from tests.model.model import DIGITS, Body, Model, written

STRUCTURE = [
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
]
SUMS = [
    "balance",
    "credit",
    "profit",
    "net_profit",
    "storage",
    "commission",
    "margin",
    "margin_free",
    "equity",
    "prevbalance",
    "prevmonthbalance",
]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "like": lambda text, pattern: like(text, pattern, "%"),
}
RATES = {"USD": Fraction(1), "EUR": Fraction(3, 2), "JPY": Fraction(1, 160), "KWD": Fraction(13, 4)}
"""What one of each is worth in USD."""


def listed(model: Model, question: Body) -> Body:
    """Answer a question; its numbers are decimals."""
    everybody = [model.profile(login) for login in sorted(model.accounts)]
    matched = [row for row in everybody if _passes(row, question)]
    field, direction = question.get("orderBy", ("login", "ASC"))
    ordered = sorted(matched, key=lambda row: row[field], reverse=direction == "DESC")  # ties stay by login
    by_currency = _by_currency(matched)
    page = ordered[question["offset"] : question["offset"] + question["limit"]]
    return {
        "structure": STRUCTURE,
        "rows": [[row[name] for name in STRUCTURE] for row in page],
        "count": len(matched),
        "totals_by_currency": by_currency,
        "stale": any(row["stale"] for row in matched),
        "position": model.position,
    } | _converted(by_currency, question.get("totalsCurrency"), model.book_currency)


def _passes(row: Body, question: Body) -> bool:
    checks = (
        selects(question["groupFilter"], row["group"]),
        *(COMPARE[op](row[field], value) for field, op, value in question.get("where", [])),
        *(row[field] != value for field, value in question.get("whereNot", [])),
        *(row[field] in values for field, values in question.get("whereIn", [])),
        *(row[field] not in values for field, values in question.get("whereNotIn", [])),
        *(low <= row[field] <= high for field, (low, high) in question.get("whereBetween", [])),
        *(not low <= row[field] <= high for field, (low, high) in question.get("whereNotBetween", [])),
    )
    return all(checks)


def _by_currency(rows: list[Body]) -> Body:
    found: Body = {}
    for currency in {row["currency"] for row in rows}:
        own = [row for row in rows if row["currency"] == currency]
        sums = {name: sum((Decimal(row[name]) for row in own), Decimal(0)) for name in SUMS}
        written_out = {name: written(amount, DIGITS[currency]) for name, amount in sums.items()}
        found[currency] = {"count": len(own)} | written_out
    return found


def _converted(by_currency: Body, wanted: str | None, book_currency: str) -> Body:
    """Convert each currency's exact sum, add up, and round once at the end: half to even."""
    target = wanted or (next(iter(by_currency)) if len(by_currency) == 1 else book_currency)
    answer: Body = {"totals_currency": target}
    for name in SUMS:
        worth = sum((Fraction(sums[name]) * RATES[own] for own, sums in by_currency.items()), Fraction(0))
        minor = round(worth / RATES[target] * 10 ** DIGITS[target])
        answer[f"total_{name}"] = written(Decimal(minor).scaleb(-DIGITS[target]), DIGITS[target])
    return answer
