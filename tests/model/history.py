"""What GET /balances/history and /balances/asof must answer: every leg, filtered one by one."""

from __future__ import annotations

from datetime import date, datetime

from tests.model.answers import instant, row_of
from tests.model.masks import selects
from tests.model.model import NOTHING, Body, Model, summed, written

TIMES = {"from", "to", "fromDay", "toDay"}
NO_FILTERS = {"login", "order", "basis", "limit", "offset", "totals"}


def history(model: Model, query: Body) -> Body:
    """Give all matched rows in order, their totals, and what the account held before and after them."""
    placed = _placed(model, effective=query.get("basis") == "effective")
    within = [leg for leg in placed if _starts(leg, query) and _ends(leg, query)]
    matched = [leg for leg in within if _matches(leg, query)]
    rows = [row_of(model, leg) for leg in matched]
    return {
        "rows": rows if query.get("order") == "asc" else rows[::-1],
        "count": len(rows),
        "totals": _totals(model, matched),
        **_bounds(model, query, placed),
    }


def asof(model: Model, login: int, at: datetime, *, effective: bool) -> Body:
    """Give what an account held at an instant."""
    legs = [leg for leg in _placed(model, effective=effective) if leg["login"] == login and leg["at"] <= at]
    currency = model.group_of(login)["currency"]
    return {"login": login, "currency": currency, "at": instant(at)} | _stand(model, login, legs)


def _placed(model: Model, *, effective: bool) -> list[Body]:
    """Give the legs in order of time, with what the account held after each by that order.

    On the effective basis the days are those of the present clock (docs/decisions.md, "Finding the rows of a
    server day").
    """
    if not effective:
        return [leg | {"at": leg["operation"]["recordedAt"], "day": leg["serverDay"]} for leg in model.legs]
    legs = sorted(model.legs, key=lambda leg: (leg["operation"]["effectiveAt"], leg["position"]))
    placed: list[Body] = []
    for number, leg in enumerate(legs):
        at = leg["operation"]["effectiveAt"]
        stood = summed([other for other in legs[: number + 1] if other["login"] == leg["login"]])
        placed.append(leg | {"at": at, "day": model.clock.day_of(at), "stood": stood})
    return placed


def _starts(leg: Body, query: Body) -> bool:
    late_enough: bool = query.get("from", leg["at"]) <= leg["at"]
    return late_enough and not query.get("fromDay", leg["day"]) > leg["day"]


def _ends(leg: Body, query: Body) -> bool:
    early_enough: bool = "to" not in query or leg["at"] < query["to"]
    return early_enough and not query.get("toDay", leg["day"]) < leg["day"]


def _bounds(model: Model, query: Body, placed: list[Body]) -> Body:
    """Give opening and closing, where one login and a time are all that is asked."""
    if "login" not in query or not TIMES & query.keys() or query.keys() - TIMES - NO_FILTERS:
        return {"opening": None, "closing": None}
    mine = [leg for leg in placed if leg["login"] == query["login"]]
    before = [leg for leg in mine if not _starts(leg, query)]
    within = [leg for leg in mine if _starts(leg, query) and _ends(leg, query)]
    opening, closing = (_stand(model, query["login"], legs) for legs in (before, before + within))
    return {"opening": opening, "closing": closing}


def _stand(model: Model, login: int, legs: list[Body]) -> Body:
    digits = model.group_of(login)["digits"]
    balance, credit = (written(amount, digits) for amount in summed(legs))
    return {
        "balance": balance,
        "credit": credit,
        "position": max((leg["position"] for leg in legs), default=None),
    }


def _matches(leg: Body, query: Body) -> bool:
    operation = leg["operation"]
    asked, size = operation["asked"], max(abs(leg["balance"]), abs(leg["credit"]))
    return all(
        (
            query.get("login", leg["login"]) == leg["login"],
            selects(query.get("groupFilter", "*"), leg["group"]),
            asked["kind"] in query.get("kind", asked["kind"]).split(","),
            query.get("requestId", operation["requestId"]) == operation["requestId"],
            query.get("reference", asked.get("reference")) == asked.get("reference"),
            "bookedAfter" not in query or _is_late(leg, query["bookedAfter"]),
            query.get("minAmount", NOTHING) <= size <= query.get("maxAmount", size),
        )
    )


def _is_late(leg: Body, day: date) -> bool:
    """Tell of a leg that took effect before it was booked, and was booked after a server day."""
    operation: Body = leg["operation"]
    return bool(leg["serverDay"] > day and operation["effectiveAt"] < operation["recordedAt"])


def _totals(model: Model, legs: list[Body]) -> Body:
    found: Body = {}
    for leg in legs:
        currency, kind = model.group_of(leg["login"])["currency"], leg["operation"]["asked"]["kind"]
        found.setdefault(currency, {}).setdefault(kind, []).append(leg)
    return {
        currency: {kind: {"count": len(legs)} | _changes(model, legs) for kind, legs in kinds.items()}
        for currency, kinds in found.items()
    }


def _changes(model: Model, legs: list[Body]) -> Body:
    digits = model.group_of(legs[0]["login"])["digits"]
    balance, credit = summed(legs)
    return {"balanceChange": written(balance, digits), "creditChange": written(credit, digits)}
