"""The claim about a peer: deposits over HTTP, and django-hordak's in process on the same server."""

from __future__ import annotations

from typing import NamedTuple

from bench import served
from bench.claim import Claim
from bench.deposits import rates
from bench.ground import Ground
from bench.hordak import bank, environment
from bench.hordak.bank import Bank
from bench.hordak.environment import NotInstalled
from bench.load import Answered
from bench.sample import Plan, Spread, alternately, ratios
from bench.served import Served

CLIENTS = 8


class Both(NamedTuple):
    """A round of both, with all clients and with one."""

    http: Answered
    hordak: Answered
    http_alone: Answered
    hordak_alone: Answered


def hordak(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare deposits over HTTP with those of django-hordak, which has no HTTP in between."""
    try:
        python = environment.python()
    except NotInstalled as why:
        return [_claim([], [str(why)])]
    with served.durable(ground.ledger()) as service, bank.opened(ground, python, tellers=CLIENTS) as peer:
        rounds = _rounds(service, peer, plan)
        transactions = peer.count()
    held = f"hordak has each of {transactions:,} transactions, no other, and the balances that follow"
    return [_claim(ratios((each.http.rate, each.hordak.rate) for each in rounds), [*_told(rounds), held])]


def _rounds(service: Served, peer: Bank, plan: Plan) -> list[Both]:
    return [
        Both(*sides)
        for sides in alternately(
            plan,
            lambda: service.answers(connections=CLIENTS, seconds=plan.seconds),
            lambda: peer.deposits(tellers=CLIENTS, seconds=plan.seconds),
            lambda: service.answers(connections=1, seconds=plan.seconds),
            lambda: peer.deposits(tellers=1, seconds=plan.seconds),
        )
    ]


def _told(rounds: list[Both]) -> list[str]:
    alone = Spread.of(ratios((each.http_alone.rate, each.hordak_alone.rate) for each in rounds))
    return [
        rates(f"over HTTP, {CLIENTS} clients", [each.http for each in rounds]),
        rates(f"hordak, {CLIENTS} clients", [each.hordak for each in rounds]),
        rates("over HTTP, 1 client", [each.http_alone for each in rounds]),
        rates("hordak, 1 client", [each.hordak_alone for each in rounds]),
        f"over HTTP / hordak, 1 client: {alone}",
    ]


def _claim(values: list[float], notes: list[str]) -> Claim:
    return Claim(
        name="hordak",
        says=f"deposits over HTTP, {CLIENTS} clients / django-hordak's in process, as many clients",
        sense="at least",
        target=5.0,
        values=values,
        notes=notes,
    )
