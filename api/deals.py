"""POST /feed/deals: closed deals become trade events, once for each dealId, each with its own outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from api import bodies
from api.answers import Body
from api.feed import error_body
from api.feed_bodies import DealItem, DealsBody
from api.middleware import Ask
from api.service import Service
from ledger.commands import Request
from ledger.events import operation_id
from ledger.refusals import AlreadyApplied, Fault, ManagerOffline, Refusal
from ledger.tickets import Outcome
from ledger.writer import offline
from projections.feed import ItemRefused

_deal = bodies.decoder(DealItem)
_peek = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def book_deals(
    service: Service, ask: Ask, body: DealsBody, *, keep: Callable[[Sequence[Refusal]], Awaitable[None]]
) -> Body:
    """Have the deals booked; `keep` is told which are refused. ManagerOffline where a repeat may help."""
    parsed = [_parse(raw, ask) for raw in body.deals]
    requests = [request for request in parsed if isinstance(request, Request)]
    outcomes = iter(await service.carry_out_each(requests) if requests else [])
    results = [next(outcomes) if isinstance(found, Request) else found for found in parsed]
    check_decided(results)
    await keep([outcome for outcome in results if isinstance(outcome, Refusal)])
    return _answer(body.deals, results)


def _parse(raw: msgspec.Raw, ask: Ask) -> Request | Refusal:
    try:
        command = _deal(raw).command()
    except Refusal as refusal:
        return refusal.at_rest()
    # A request id outside of the callers' alphabet: nobody else can use it up.
    return Request(command=command, request_id=f"~deal/{command.deal_id}", caller=ask.caller)


def check_decided(outcomes: Sequence[Outcome]) -> None:
    """Refuse the whole call where a deal was not decided: feeders send again what 503 answers."""
    for outcome in outcomes:
        if isinstance(outcome, ManagerOffline):
            raise outcome
        if isinstance(outcome, Fault):
            raise offline("batch_failed", "the ledger could not book a deal of this call") from outcome


def _answer(deals: Sequence[msgspec.Raw], outcomes: Sequence[Outcome]) -> Body:
    results = [_result(raw, outcome) for raw, outcome in zip(deals, outcomes, strict=True)]
    errors = [
        error_body(ItemRefused(index, outcome, {"dealId": results[index]["dealId"]}))
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, Refusal) and not _repeated(outcome)
    ]
    statuses = [result["status"] for result in results]
    return {
        "accepted": statuses.count("accepted"),
        "ignored": statuses.count("ignored"),
        "errors": errors,
        "results": results,
    }


def _result(raw: msgspec.Raw, outcome: Outcome) -> Body:
    told: Body = {"dealId": _deal_id(raw)}
    if not isinstance(outcome, Refusal):
        return told | {"status": "accepted", "operationId": operation_id(outcome[0])}
    if not _repeated(outcome):
        return told | {"status": "refused", "code": outcome.code}
    first = outcome.extra.get("operation")
    return told | {
        "status": "ignored",
        "operationId": operation_id(first[0]) if isinstance(first, tuple) else None,
    }


def _repeated(refusal: Refusal) -> bool:
    return isinstance(refusal, AlreadyApplied) and refusal.code == "request_applied"


def _deal_id(raw: msgspec.Raw) -> str | int | None:
    """Give the deal's own id as it came, however wrong the rest of it is."""
    try:
        return msgspec.json.decode(_peek.decode(raw)["dealId"], type=str | int)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return None
