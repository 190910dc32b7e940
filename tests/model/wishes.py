"""What the machine may wish for, in symbols: the third account, all of its balance, the second operation."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from hypothesis import strategies as st

from tests.model.model import Body, Model

KINDS = ("charge", "commission", "agent", "rebate", "interest", "dividend", "tax")
ADJUSTMENTS = (*("charge",) * 3, *("bonus-conversion",) * 2, "negative-balance", "opening")
OPS = ("deposit", "withdraw", "credit", "transfer", "correction", "reverse", *ADJUSTMENTS)
LATE_S = (-1, -3600, -2 * 86400, -40 * 86400, 1)
EXPIRIES_S = (1, 3600, 3600, 86400, 3 * 86400, 35 * 86400)
UNKNOWN_LOGIN = 9999


class Sum(NamedTuple):
    """An amount: some smallest units, all of a figure and some more, or a text as it stands."""

    units: int = 0
    of: str = ""
    text: str = ""


class Wish(NamedTuple):
    """A money command."""

    op: str
    account: int
    amount: Sum
    out: bool = False
    other: int = 0
    credit: Sum | None = None
    payment: tuple[int, int] | None = None
    effective_s: int | None = None
    expires_s: int | None = None
    operation: int = 0
    note: str = ""


UNITS = (100, 1, 5, 33, 99, 250, 999, 1_000, 1_005, 2_500, 3_333, 5_000, 9_999, 12_345, 20_000, 50_000) * 2
ALL = [Sum(units, of) for of in ("balance", "credit", "withdrawable", "removable") for units in (0, 1, -1)]
ODD = [Sum(text=text) for text in ("0", "0.005", "250.125", "1000000000", "1000000000.01", "0.000000001")]
SUMS = st.sampled_from([*map(Sum, UNITS), *ALL, *ODD])


def one(*ops: str) -> st.SearchStrategy[Wish]:
    """Wish for one of these commands."""
    return st.builds(
        Wish,
        op=st.sampled_from(ops),
        account=st.integers(0, 31),
        amount=SUMS,
        out=st.booleans(),
        other=st.integers(0, 6),
        credit=st.none() | SUMS,
        payment=st.sampled_from((*(None,) * 20, (0, 0), (0, 1), (0, 2), (1, 0))),
        effective_s=st.sampled_from((*(None,) * 9, *LATE_S, *LATE_S[:4])),
        expires_s=st.sampled_from((None, None, *EXPIRIES_S, *EXPIRIES_S, 0)),
        operation=st.integers(0, 15),
        note=st.sampled_from(("", "note")),
    )


def a_few(*ops: str) -> st.SearchStrategy[list[Wish]]:
    """Wish for one of these commands, or for a few."""
    return st.lists(one(*ops), min_size=1, max_size=4)


def body_of(wish: Wish, model: Model) -> Body:
    """Say what is wished for as a body, of the accounts and operations that there are now."""
    logins = sorted(model.accounts)
    login = UNKNOWN_LOGIN if wish.account == 31 else logins[wish.account % len(logins)]
    amount = _text(wish.amount, login, model)
    signed = f"-{amount}" if wish.out and not amount.startswith("-") else amount
    credit = {} if wish.credit is None else {"credit": _text(wish.credit, login, model)}
    noted: Body = {"login": login} | _note(wish) | _payment(wish) | _effective(wish, model)
    match wish.op:
        case "deposit" | "withdraw":
            told = noted | {"amount": amount}
        case "credit":
            told = noted | {"amount": signed} | ({} if wish.out else _expires(wish, model))
        case "transfer":
            told = noted | {"from": login, "to": _other(wish, login, model), "amount": amount}
            del told["login"]
        case "correction":
            told = {"login": login, "reason": "why"} | _corrected(wish, signed, credit, model)
        case "reverse":
            told = {"operationId": _operation(wish, model), "reason": wish.note or "oops"}
        case "negative-balance":
            told = noted | credit
        case "bonus-conversion":
            told = noted | {"amount": amount}
        case "opening":
            told = noted | credit | {"amount": signed}
        case _:
            told = noted | {"amount": signed}
    return _named(wish) | told


def _named(wish: Wish) -> Body:
    if wish.op not in ADJUSTMENTS:
        return {"op": wish.op}
    return {"op": "adjust", "kind": KINDS[wish.other % len(KINDS)] if wish.op == "charge" else wish.op}


def _corrected(wish: Wish, amount: str, credit: Body, model: Model) -> Body:
    amounts = {"credit": amount} if wish.other % 2 else {"balance": amount} | credit
    corrects = {"corrects": _operation(wish, model)} if wish.other > 1 else {}
    return amounts | corrects | _effective(wish, model)


def _other(wish: Wish, login: int, model: Model) -> int:
    """Choose another account, mostly of the same currency."""
    currency = model.group_of(login)["currency"] if login in model.accounts else ""
    alike = [
        to for to in sorted(model.accounts) if to != login and model.group_of(to)["currency"] == currency
    ]
    logins = alike if alike and wish.other < 6 else sorted(model.accounts)
    return logins[wish.other % len(logins)]


def _text(wished: Sum, login: int, model: Model) -> str:
    if wished.text:
        return wished.text
    digits = model.group_of(login)["digits"] if login in model.accounts else 2
    of = model.figures(login)[wished.of] if wished.of and login in model.accounts else Decimal(0)
    amount: Decimal = of + Decimal(wished.units).scaleb(-digits)
    return f"{amount:f}"


def _operation(wish: Wish, model: Model) -> str:
    """Choose one of the last operations, or one that there is not."""
    ids = list(dict.fromkeys(leg["operation"]["id"] for leg in reversed(model.legs)))
    return "bal_999999" if wish.operation == 15 or not ids else str(ids[wish.operation % len(ids)])


def _note(wish: Wish) -> Body:
    return {"comment": wish.note, "metadata": {"from": wish.note}} if wish.note else {}


def _payment(wish: Wish) -> Body:
    if wish.payment is None:
        return {}
    method, reference = wish.payment
    return {"method": ("card", "wire")[method], "reference": f"psp-{reference}"}


def _effective(wish: Wish, model: Model) -> Body:
    if wish.effective_s is None:
        return {}
    return {"effectiveAt": (model.now + timedelta(seconds=wish.effective_s)).isoformat()}


def _expires(wish: Wish, model: Model) -> Body:
    if wish.expires_s is None:
        return {}
    return {"expiresAt": (model.now + timedelta(seconds=wish.expires_s)).isoformat()}
