"""POST /balances/...: the commands that move money."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import post
from litestar.params import FromPath

from api import bodies
from api.exchange import Answer, HttpRequest, WriteQuery, body_of, carry_out
from ledger.commands import Reverse

_deposit = bodies.decoder(bodies.DepositBody)
_withdraw = bodies.decoder(bodies.WithdrawBody)
_credit = bodies.decoder(bodies.CreditBody)
_transfer = bodies.decoder(bodies.TransferBody)
_correction = bodies.decoder(bodies.CorrectionBody)
_adjust = bodies.decoder(bodies.AdjustBody)
_reverse = bodies.decoder(bodies.ReverseBody)


def _money(path: str, *, scope: str, body: type) -> Callable[..., Any]:
    opt = {"scope": scope, "body": body, "query": WriteQuery, "tag": "Funding"}
    return post(path, opt=opt, status_code=201)


@_money("/balances/deposit", scope="funding:deposit", body=bodies.DepositBody)
async def deposit(request: HttpRequest) -> Answer:
    """Put client money in."""
    return await carry_out(request, _deposit(await body_of(request)).command(), status=201)


@_money("/balances/withdraw", scope="funding:withdraw", body=bodies.WithdrawBody)
async def withdraw(request: HttpRequest) -> Answer:
    """Take client money out, up to the withdrawable amount."""
    return await carry_out(request, _withdraw(await body_of(request)).command(), status=201)


@_money("/balances/credit", scope="funding:credit", body=bodies.CreditBody)
async def credit(request: HttpRequest) -> Answer:
    """Give credit, with or without an expiry, or take it out."""
    return await carry_out(request, _credit(await body_of(request)).command(), status=201)


@_money("/balances/transfer", scope="funding:transfer", body=bodies.TransferBody)
async def transfer(request: HttpRequest) -> Answer:
    """Move balance from one login to another, both legs or none."""
    return await carry_out(request, _transfer(await body_of(request)).command(), status=201)


@_money("/balances/correction", scope="funding:correct", body=bodies.CorrectionBody)
async def correction(request: HttpRequest) -> Answer:
    """Put a mistake right beside it, with a reason."""
    return await carry_out(request, _correction(await body_of(request)).command(), status=201)


@_money("/balances/adjust", scope="funding:adjust", body=bodies.AdjustBody)
async def adjust(request: HttpRequest) -> Answer:
    """Book one of the platforms' other kinds."""
    return await carry_out(request, _adjust(await body_of(request)).command(), status=201)


@_money("/balances/operations/{operation_id:str}/reverse", scope="funding:correct", body=bodies.ReverseBody)
async def reverse(request: HttpRequest, operation_id: FromPath[str]) -> Answer:
    """Book the exact opposite of one operation, once."""
    body = _reverse(await body_of(request))
    reason = bodies.required_text(body.reason, field="reason")
    command = Reverse(operation=bodies.position(operation_id), reason=reason)
    return await carry_out(request, command, status=201)


HANDLERS = [deposit, withdraw, credit, transfer, correction, adjust, reverse]
