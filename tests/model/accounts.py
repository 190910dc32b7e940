"""What opens and changes accounts, groups and the server's clock."""

from __future__ import annotations

from tests.model.days import ServerClock
from tests.model.model import DIGITS, Body, Model, Refused

ACCOUNT: Body = {
    "enable": 1,
    "enable_read_only": 0,
    "enable_change_password": 1,
    "magic": 0,
    "customer_id": 0,
    "version": 0,
}
GROUP: Body = {
    "leverage": 100,
    "equityMode": "gross",
    "withdrawPolicy": "protect_credit",
    "maxOperation": None,
    "refuseWhenStale": False,
}


def open_account(model: Model, asked: Body, request_id: str) -> Body:
    """Open an account, at the next free login unless one is given."""
    content = asked | {"kind": "open"}
    model.must_be_new(content, request_id)
    if asked["group"] not in model.groups:
        raise Refused(400, "unknown_group")
    login = asked.get("login", max([1000, *model.accounts]) + 1)
    if login in model.accounts:
        raise Refused(400, "login_taken")
    leverage = model.groups[asked["group"]]["leverage"]
    born = {"login": login, "leverage": leverage, "regdate": int(model.now.timestamp())}
    model.accounts[login] = ACCOUNT | born | asked
    return _told(model, login, content, request_id, switches=True)


def change_account(model: Model, login: int, asked: Body, request_id: str) -> Body:
    """Change some fields; the money goes along into another group."""
    content = asked | {"login": login, "kind": "change"}
    model.must_be_new(content, request_id)
    account = model.accounts[login]
    group, before = asked.get("group", account["group"]), account["group"]
    if group not in model.groups:
        raise Refused(400, "unknown_group")
    if model.groups[group]["currency"] != model.group_of(login)["currency"]:
        raise Refused(400, "currency_mismatch")
    account |= asked
    operation = _told(model, login, content, request_id, switches="enable" in asked)
    if group != before:
        balance, credit = model.held(login)
        moved = {"kind": "group-change", "serverDay": model.day}
        model.moves += [
            moved | {"group": before, "balance": -balance, "credit": -credit},
            moved | {"group": group, "balance": balance, "credit": credit},
        ]
    return operation


def switch(model: Model, login: int, request_id: str, *, on: bool) -> Body:
    """Disable or enable an account."""
    kind = "enable" if on else "disable"
    model.must_be_new({"login": login, "kind": kind}, request_id)
    account = model.accounts[login]
    if account["enable"] == int(on):
        raise Refused(409, f"already_{kind}d", known=account["switched"])
    account["enable"] = int(on)
    return _told(model, login, {"login": login, "kind": kind}, request_id, switches=True)


def define_group(model: Model, name: str, asked: Body, request_id: str) -> Body:
    """Define a group, whole: what is left out goes back to its default."""
    content = asked | {"group": name, "kind": "group"}
    model.must_be_new(content, request_id)
    if model.groups.get(name, asked)["currency"] != asked["currency"]:
        raise Refused(400, "currency_mismatch")
    model.groups[name] = GROUP | {"digits": DIGITS[asked["currency"]]} | asked
    return model.happened(content, request_id)


def define_server(model: Model, asked: Body, request_id: str) -> Body:
    """Set the clock and the book currency; the last that happens by the old clock."""
    content = asked | {"kind": "server"}
    model.must_be_new(content, request_id)
    operation = model.happened(content, request_id)
    model.clock = ServerClock(asked["timezone"], asked["dayEnd"], asked["overnightDays"])
    model.book_currency = asked["bookCurrency"]
    return operation


def _told(model: Model, login: int, content: Body, request_id: str, *, switches: bool) -> Body:
    """Keep the operation, and what it answers: the account as it stands then."""
    operation = model.happened(content, request_id, [login])
    if switches:
        model.accounts[login]["switched"] = operation
    operation["answer"] = model.profile(login)
    return operation
