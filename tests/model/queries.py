"""What the machine may ask: rules over accounts, filters over history, mostly about what is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.model.model import Body, Model

MASKS = (
    *("*", "STD-*", "*,!STD-MT", "VIP-EUR,yen", "*-*", "!yen", "*USD , dinar", "s*"),
    *("!STD-*,*", "STD-US*USD", "*S*-*U*, yen", "!*n*, *-M*, *E**"),
)
NUMBERS = ("login", "leverage", "enable", "regdate", "magic")
MONEY = (
    *("balance", "credit", "prevbalance", "prevmonthbalance", "margin", "margin_free", "margin_level"),
    *("equity", "profit", "net_profit", "storage", "commission"),
)
TEXTS = ("currency", "group", "name", "email")
PATTERNS = ("%", "STD%", "%n%", "Ann _", "%1", "yen", "US%D", "")


def instants(model: Model) -> list[datetime]:
    """Give twenty instants at which something was booked or took effect, the last first, or nothing did."""
    told = {leg["operation"][name] for leg in model.legs for name in ("recordedAt", "effectiveAt")}
    known = [model.now, *sorted(told, reverse=True)]
    return [known[n % len(known)] for n in range(20)]


@st.composite
def questions_about(draw: st.DrawFn, model: Model) -> Body:
    """Draw a question to GET /accounts; its values are mostly those that some account has."""
    question: Body = {
        "groupFilter": draw(st.sampled_from(MASKS)),
        "limit": draw(st.sampled_from((100, 2, 1, 0))),
        "offset": draw(st.sampled_from((0, 0, 1, 3))),
    }
    rows = [model.profile(login) for login in sorted(model.accounts)]
    for _ in range(draw(st.integers(0, 3))):
        form = draw(
            st.sampled_from(
                ("where", "where", "whereNot", "whereIn", "whereNotIn", "whereBetween", "whereNotBetween")
            )
        )
        question.setdefault(form, []).append(_rule(draw, form, rows))
    if draw(st.booleans()):
        question["orderBy"] = [
            draw(st.sampled_from(NUMBERS + MONEY + TEXTS)),
            draw(st.sampled_from(("ASC", "DESC"))),
        ]
    if draw(st.booleans()):
        question["totalsCurrency"] = draw(st.sampled_from(("USD", "EUR", "JPY", "KWD")))
    return question


def _rule(draw: st.DrawFn, form: str, rows: list[Body]) -> list[object]:
    between = form.endswith("Between")
    field = draw(st.sampled_from(NUMBERS + MONEY if between else NUMBERS + MONEY + TEXTS))
    if field == "enable":
        values: list[Any] = [draw(st.integers(0, 1)), draw(st.integers(0, 1))]
        operators: tuple[str, ...] = ("=", "!=", ">", "<=")
    elif field in TEXTS:
        values = [draw(st.sampled_from(rows))[field], draw(st.sampled_from(PATTERNS))]
        operators = ("=", "==", "!=", "like")
    else:
        values = [
            Decimal(draw(st.sampled_from(rows))[field]) + Decimal(draw(st.sampled_from(("0", "0.01", "-1"))))
            for _ in range(2)
        ]
        operators = ("=", "==", "!=", ">", "<", ">=", "<=")
    match form:
        case "where":
            return [field, draw(st.sampled_from(operators)), draw(st.sampled_from(values))]
        case "whereNot":
            return [field, values[0]]
        case "whereIn" | "whereNotIn":
            return [field, values]
        case _:
            return [field, sorted(values)]


@st.composite
def queries_about(draw: st.DrawFn, model: Model) -> Body:
    """Draw a question to GET /balances/history."""
    query: Body = {"limit": draw(st.sampled_from((100, 3, 1)))}
    for name, values in _choices(model).items():
        if draw(st.integers(0, 3)) == 0:
            query[name] = draw(st.sampled_from(values))
    for low, high in (("from", "to"), ("fromDay", "toDay")):
        if low in query and high in query and query[low] > query[high]:
            query[low], query[high] = query[high], query[low]
    return query


def _choices(model: Model) -> dict[str, Sequence[Any]]:
    days = sorted({leg["serverDay"] for leg in model.legs} | {model.today()[0]})
    return {
        "login": sorted(model.accounts),
        "groupFilter": MASKS,
        "kind": (
            "deposit,withdrawal",
            "credit",
            "transfer,reversal",
            "correction",
            "opening,tax,negative-balance",
        ),
        "from": instants(model),
        "to": instants(model),
        "fromDay": days,
        "toDay": days,
        "bookedAfter": days,
        "reference": ("psp-0", "psp-1", "d1"),
        "basis": ("effective", "recorded"),
        "order": ("asc", "desc"),
        "offset": (0, 1, 5),
        "totals": ("true",),
        "minAmount": (Decimal("0.01"), Decimal(50)),
        "maxAmount": (Decimal(50), Decimal(200)),
    }
