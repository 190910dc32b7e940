"""What moves money, and what is refused instead, in the order of precedence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.model.model import NOTHING, Body, Model, Refused, written

MOST = Decimal(1_000_000_000)
KINDS = {"withdraw": "withdrawal", "reverse": "reversal"}
POSITIVE = {"deposit", "withdrawal", "transfer", "bonus-conversion", "negative-balance"}
AMOUNTS = ("balance", "amount", "credit")
LOGINS = ("login", "from", "to")
PAYMENT = ("kind", "method", "reference")
PAID = (*LOGINS, "amount", "credit")
DEAL = ("profit", "storage", "commission", "taxes")
Wishes = Sequence[tuple[Body, str]]


def book(model: Model, wish: Body, request_id: str) -> Body:
    """Carry a money command out; give the operation."""
    asked = content_of(wish)
    if asked.get("effectiveAt", model.now) > model.now:
        raise Refused(400, "bad_effective_time")
    _must_know(model, asked)
    model.must_be_new(asked, request_id)
    _must_be_unpaid(model, asked)
    legs = _opposite(model, asked) if asked["kind"] == "reversal" else _decided(model, asked)
    return _enter(model, asked, request_id, legs)


def book_each(model: Model, wishes: Wishes) -> list[Body | Refused]:
    """Carry out each for itself."""
    return [_attempt(model, wish, request_id) for wish, request_id in wishes]


def rehearse(model: Model, wishes: Wishes) -> list[Body | Refused]:
    """Say what each would come to, on top of those before it."""
    _must_be_fit(wishes, together=False)
    return book_each(model.twin(), wishes)


def book_together(model: Model, wishes: Wishes) -> list[Body | Refused]:
    """Carry out all or none; Refused tells the `index` of what stands in the way."""
    _must_be_fit(wishes, together=True)
    results = book_each(model.twin(), wishes)
    refused = [(index, result) for index, result in enumerate(results) if isinstance(result, Refused)]
    if not refused:
        return book_each(model, wishes)
    index, first = refused[0]
    if first.status == 409 and any(getattr(result, "status", 201) != 409 for result in results):
        raise Refused(400, "batch_partly_applied")
    raise Refused(first.status, first.code, known=first.known, **first.told, index=index)


def close_deal(model: Model, deal: Body) -> Body | None:
    """Book what a closed deal came to, whatever the limits; None where that was done before."""
    if deal["login"] not in model.accounts:
        raise Refused(400, "unknown_login")
    parts = {name: Decimal(deal.get(name, 0)) for name in DEAL}
    asked = {"kind": "trade", "login": deal["login"], "reference": deal["dealId"]} | parts
    known = model.operations.get(f"~deal/{deal['dealId']}", {"asked": asked | {"amount": None}})["asked"]
    if any(known[name] != value for name, value in asked.items()):
        raise Refused(400, "deal_reused")
    if known["amount"] is not None:
        return None
    digits = model.group_of(deal["login"])["digits"]
    if any(_decimals(part) > digits for part in parts.values()):
        raise Refused(400, "too_many_decimals")
    amount = sum(parts.values(), NOTHING)
    told = dict.fromkeys(("symbol", "ticket", "lots", "time")) | {"dealId": deal["dealId"]}
    noted = {"metadata": told | {name: written(part, digits) for name, part in parts.items()}}
    leg = _leg(deal["login"], amount)
    return _enter(model, asked | noted | {"amount": amount}, f"~deal/{deal['dealId']}", [leg])


def expire(model: Model) -> None:
    """Take out what is left of each grant whose server day has closed."""
    for _, at in sorted((leg["login"], leg["position"]) for leg in model.legs if leg["left"]):
        [grant] = [leg for leg in model.legs if leg["position"] == at]
        close = _close_of(model, grant)
        if close <= model.now:
            asked = {"kind": "credit", "effectiveAt": close, "comment": "credit expired"}
            legs = [_leg(grant["login"], credit=-grant["left"], first=[at])]
            _enter(model, asked | {"corrects": f"bal_{at}"}, f"~expiry/bal_{at}", legs)


def content_of(wish: Body) -> Body:
    """Parse a money command: what two requests have to share to be the same."""
    kind = wish.get("kind") or KINDS.get(wish["op"], wish["op"])
    asked = {name: value for name, value in wish.items() if name != "op" and value not in (None, "")}
    for name in [name for name in AMOUNTS if name in wish]:
        asked[name] = _amount(wish[name], positive=kind in POSITIVE)
    for name in [name for name in ("effectiveAt", "expiresAt") if name in asked]:
        asked[name] = datetime.fromisoformat(wish[name])
    return asked | {"kind": kind}


def _attempt(model: Model, wish: Body, request_id: str) -> Body | Refused:
    try:
        return book(model, wish, request_id)
    except Refused as refused:
        return refused


def _wrong(wish: Body) -> Refused | None:
    try:
        content_of(wish)
    except Refused as refused:
        return refused
    return None


def _amount(text: str, *, positive: bool) -> Decimal:
    amount = Decimal(text)
    for code, wrong in (
        ("too_many_decimals", _decimals(amount) > 8),
        ("amount_too_large", abs(amount) > MOST),
        ("amount_zero", not amount),
        ("amount_not_positive", positive and amount < 0),
    ):
        if wrong:
            raise Refused(400, code)
    return amount


def _decimals(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent


def _must_know(model: Model, asked: Body) -> None:
    if any(asked[name] not in model.accounts for name in LOGINS if name in asked):
        raise Refused(400, "unknown_login")
    for name, status in (("corrects", 400), ("operationId", 404)):
        if name in asked and not model.legs_of(asked[name]):
            raise Refused(status, "unknown_operation")


def _must_be_unpaid(model: Model, asked: Body) -> None:
    """Refuse a payment that was booked under another request id, unless it was reversed since."""
    if any(name not in asked for name in PAYMENT):
        return
    for first in model.operations.values():
        paid = first["asked"]
        if "reversedBy" not in first and all(asked[name] == paid.get(name) for name in PAYMENT):
            if all(asked.get(name) == paid.get(name) for name in PAID):
                raise Refused(409, "reference_applied", known=first)
            raise Refused(400, "reference_reused", known=first)


def _must_be_fit(wishes: Wishes, *, together: bool) -> None:
    """Refuse a request id that comes twice; together also a wrong body, before anything is looked up."""
    seen: list[str] = []
    for index, (wish, request_id) in enumerate(wishes):
        if (wrong := _wrong(wish)) is not None:
            if together:
                raise Refused(wrong.status, wrong.code, index=index)
        elif request_id in seen:
            raise Refused(400, "repeated_field", index=index)
        else:
            seen.append(request_id)


def _decided(model: Model, asked: Body) -> list[Body]:
    """Give the legs of anything but a reversal."""
    kind, login = asked["kind"], asked["from"] if "from" in asked else asked["login"]
    amount, credit = asked.get("amount", NOTHING), asked.get("credit", NOTHING)
    if kind in {"withdrawal", "transfer"} and not model.accounts[login]["enable"]:
        raise Refused(403, "account_disabled")
    if kind == "transfer":
        _must_match(model, login, asked["to"])
    for touched in [asked[name] for name in LOGINS if name in asked]:
        _must_fit(model.group_of(touched), [asked[name] for name in AMOUNTS if name in asked])
    match kind:
        case "withdrawal" | "transfer":
            stale = _must_be_free(model, login, amount, "withdrawable", "not_enough_money")
            given = [_leg(asked["to"], amount)] if kind == "transfer" else []
            return [_leg(login, -amount, stale=stale), *given]
        case "credit":
            expires = asked.get("expiresAt")
            if expires and (amount < 0 or expires <= model.now):
                raise Refused(400, "bad_expiration")
            stale = amount < 0 and _must_be_free(model, login, -amount, "removable", "not_enough_credit")
            return [_leg(login, credit=amount, expires=expires, stale=stale)]
        case "correction":
            mistaken = [leg["position"] for leg in model.legs_of(asked.get("corrects"))]
            leg = _leg(login, asked.get("balance", NOTHING), credit, first=mistaken)
        case "bonus-conversion":
            leg = _leg(login, amount, -amount)
        case "negative-balance":
            balance, _ = model.held(login)
            if balance >= 0:
                raise Refused(400, "balance_not_negative")
            leg = _leg(login, -balance, -credit)
        case _:
            leg = _leg(login, amount, credit)
    _must_leave_credit(model, leg)
    return [leg]


def _opposite(model: Model, asked: Body) -> list[Body]:
    legs = model.legs_of(asked["operationId"])
    first = legs[0]["operation"]
    if first["asked"]["kind"] == "reversal":
        raise Refused(400, "not_reversible")
    if "reversedBy" in first:
        raise Refused(409, "already_reversed", known=first["reversedBy"])
    opposite = [
        _leg(leg["login"], -leg["balance"], -leg["credit"], first=[leg["position"]], back=leg["used"])
        for leg in legs
    ]
    for leg in opposite:
        _must_leave_credit(model, leg)
    return opposite


def _must_match(model: Model, login: int, other: int) -> None:
    if login == other:
        raise Refused(400, "same_login")
    if model.group_of(login)["currency"] != model.group_of(other)["currency"]:
        raise Refused(400, "currency_mismatch")


def _must_fit(group: Body, amounts: Sequence[Decimal]) -> None:
    for amount in amounts:
        if _decimals(amount) > group["digits"]:
            raise Refused(400, "too_many_decimals")
        if abs(amount) > (group["maxOperation"] or MOST):
            raise Refused(400, "amount_too_large")


def _must_be_free(model: Model, login: int, amount: Decimal, limit: str, code: str) -> bool:
    """Refuse more than there is; tell whether that rests on stale figures."""
    figures, group = model.figures(login), model.group_of(login)
    if figures["stale"] and group["refuseWhenStale"]:
        raise Refused(503, "figures_stale")
    if amount > figures[limit]:
        told: dict[str, Any] = {"stale": True} if figures["stale"] else {}
        raise Refused(400, code, available=written(figures[limit], group["digits"]), **told)
    return bool(figures["stale"])


def _must_leave_credit(model: Model, leg: Body) -> None:
    _, credit = model.held(leg["login"])
    if leg["credit"] < 0 and credit + leg["credit"] < 0:
        available = written(credit, model.group_of(leg["login"])["digits"])
        raise Refused(400, "not_enough_credit", available=available)


def _leg(
    login: int,
    balance: Decimal = NOTHING,
    credit: Decimal = NOTHING,
    *,
    expires: datetime | None = None,
    first: Sequence[int] = (),
    back: Sequence[tuple[Body, Decimal]] = (),
    stale: bool = False,
) -> Body:
    """Make one account's part: the grants that it takes first, and what it gives back to which."""
    left = credit if expires else NOTHING
    told = {"login": login, "balance": balance, "credit": credit, "expires": expires, "left": left}
    return told | {"first": first, "back": back, "used": [], "stale": stale}


def _enter(model: Model, asked: Body, request_id: str, legs: list[Body]) -> Body:
    """Keep an operation and its legs, each with what the account held after it."""
    operation = model.happened(asked, request_id, [leg["login"] for leg in legs], mark="bal")
    operation |= {"legs": legs, "effectiveAt": asked.get("effectiveAt", model.now)}
    for number, leg in enumerate(legs):
        account = model.accounts[leg["login"]]
        warnings = [] if account["enable"] else ["account_disabled"]
        leg |= {"operation": operation, "position": operation["position"] + number}
        leg |= {"serverDay": model.day, "tradingDay": model.trading_day, "group": account["group"]}
        leg |= {"warnings": warnings + (["figures_stale"] if leg["stale"] else [])}
        _use_grants(model, leg)
        model.legs.append(leg)
        leg["balanceAfter"], leg["creditAfter"] = model.held(leg["login"])
    if asked["kind"] == "reversal":
        model.legs_of(asked["operationId"])[0]["operation"]["reversedBy"] = operation
    return operation


def _use_grants(model: Model, leg: Body) -> None:
    """Take credit from the grants that are named, then soonest expiry first; give it back to open ones."""
    grants = [grant for grant in model.legs if grant["login"] == leg["login"] and grant["left"]]
    grants.sort(
        key=lambda grant: (grant["position"] not in leg["first"], grant["expires"], grant["position"])
    )
    out = max(NOTHING, -leg["credit"])
    for grant in grants:
        if taken := min(out, grant["left"]):
            grant["left"] -= taken
            out -= taken
            leg["used"].append((grant, taken))
    for grant, taken in leg["back"]:
        expired = f"~expiry/bal_{grant['position']}" in model.operations
        if not expired and _close_of(model, grant) > model.now:  # else it stays without an expiry
            grant["left"] += taken


def _close_of(model: Model, grant: Body) -> datetime:
    return model.clock.close_of(model.clock.day_of(grant["expires"]))
