"""POST /balances/batch: many operations in one call, each with its own outcome, or all in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from api import answers, bodies, problems
from api.answers import Body
from api.bodies import BatchBody, Comment, OperationId
from api.middleware import Ask, item_request_id
from api.service import Service
from ledger.commands import Command, Request, Reverse
from ledger.refusals import AlreadyApplied, Refusal, ValidationError
from ledger.tickets import Outcome


class DepositItem(bodies.DepositBody, frozen=True, kw_only=True, tag_field="op", tag="deposit"):
    """A deposit in a batch."""

    request_id: str | None = None


class WithdrawItem(bodies.WithdrawBody, frozen=True, kw_only=True, tag_field="op", tag="withdraw"):
    """A withdrawal in a batch."""

    request_id: str | None = None


class CreditItem(bodies.CreditBody, frozen=True, kw_only=True, tag_field="op", tag="credit"):
    """Credit in a batch."""

    request_id: str | None = None


class TransferItem(bodies.TransferBody, frozen=True, kw_only=True, tag_field="op", tag="transfer"):
    """A transfer in a batch."""

    request_id: str | None = None


class CorrectionItem(bodies.CorrectionBody, frozen=True, kw_only=True, tag_field="op", tag="correction"):
    """A correction in a batch."""

    request_id: str | None = None


class AdjustItem(bodies.AdjustBody, frozen=True, kw_only=True, tag_field="op", tag="adjust"):
    """An adjustment in a batch."""

    request_id: str | None = None


class ReverseItem(bodies.Body, frozen=True, kw_only=True, tag_field="op", tag="reverse"):
    """A reversal in a batch."""

    request_id: str | None = None
    operation_id: OperationId
    reason: Comment

    def command(self) -> Command:
        """Give the command."""
        reason = bodies.required_text(self.reason, field="reason")
        return Reverse(operation=bodies.position(self.operation_id), reason=reason)


Item = DepositItem | WithdrawItem | CreditItem | TransferItem | CorrectionItem | AdjustItem | ReverseItem

SCOPES: dict[type[bodies.Body], str] = {
    DepositItem: "funding:deposit",
    WithdrawItem: "funding:withdraw",
    CreditItem: "funding:credit",
    TransferItem: "funding:transfer",
    CorrectionItem: "funding:correct",
    AdjustItem: "funding:adjust",
    ReverseItem: "funding:correct",
}

_item: Any = bodies.decoder(Item)  # type: ignore[arg-type]
_peek = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Batch:
    """One call's items: parsed, or refused each for itself."""

    def __init__(self, service: Service, ask: Ask, body: BatchBody, *, dry_run: bool) -> None:
        self._service = service
        self._ask = ask
        self._dry_run = dry_run
        self._atomic = body.atomic
        self._parsed = [self._parse(item) for item in body.operations]
        if body.atomic or dry_run:
            self._refuse_repeats()

    async def run(self) -> list[Body]:
        """Have the items carried out; give their results in order, or raise for an atomic call."""
        return await (self._all() if self._atomic else self._each())

    async def _each(self) -> list[Body]:
        requests = [parsed for parsed in self._parsed if isinstance(parsed, Request)]
        outcomes = await self._service.writer.submit_bulk(requests, dry_run=self._dry_run) if requests else []
        await self._service.explained(outcomes, self._ask)
        arrived = iter(outcomes)
        return [
            self._result(parsed.request_id, next(arrived)) if isinstance(parsed, Request) else parsed
            for parsed in self._parsed
        ]

    async def _all(self) -> list[Body]:
        for index, parsed in enumerate(self._parsed):
            if not isinstance(parsed, Request):
                raise _Refused.at(index, parsed)
        requests = [parsed for parsed in self._parsed if isinstance(parsed, Request)]
        outcomes = await self._service.writer.submit_atomic(requests, dry_run=self._dry_run)
        await self._service.explained(outcomes, self._ask)
        _raise_refused(outcomes)
        return [
            self._result(request.request_id, outcome)
            for request, outcome in zip(requests, outcomes, strict=True)
        ]

    def _refuse_repeats(self) -> None:
        """Refuse a request id that comes twice in a call whose items are only decided together."""
        seen: set[str] = set()
        for index, parsed in enumerate(self._parsed):
            if isinstance(parsed, Request):
                if parsed.request_id in seen:
                    detail = "two items of the call have the same request id"
                    raise ValidationError("repeated_field", detail, field="requestId", index=index)
                seen.add(parsed.request_id)

    def _parse(self, raw: msgspec.Raw) -> Request | Body:
        request_id = _request_id(raw)
        try:
            item: Item = _item(raw)
            self._ask.key.need(SCOPES[type(item)])
            checked = item_request_id(item.request_id, needed=self._service.request_ids_needed)
            return Request(
                command=item.command(), request_id=checked, caller=self._ask.caller, dry_run=self._dry_run
            )
        except Refusal as refusal:
            return _problem(refusal, request_id)

    def _result(self, request_id: str, outcome: Outcome) -> Body:
        if isinstance(outcome, Refusal):
            return _problem(outcome, request_id)
        status = 200 if self._dry_run else 201
        return answers.booked(outcome, dry_run=self._dry_run) | {"httpStatus": status}


class _Refused(Refusal):
    """An item that could not be parsed, in a call that books all or nothing."""

    @staticmethod
    def at(index: int, problem: Body) -> Refusal:
        family = next(family for family in problems.STATUS if family.title == problem["title"])
        return family(problem["code"], problem["detail"], field=problem.get("field"), index=index)


def _raise_refused(outcomes: Sequence[Outcome]) -> None:
    """Raise for the first refused item; a call of which only some items were applied is wrong as such."""
    refused = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Refusal)]
    if not refused:
        return
    applied = [index for index, outcome in refused if isinstance(outcome, AlreadyApplied)]
    index, refusal = refused[0]
    if applied and len(applied) < len(outcomes):
        raise ValidationError(
            "batch_partly_applied", "some of these operations were applied before", index=applied[0]
        )
    refusal.extra["index"] = index
    raise refusal


def _problem(refusal: Refusal, request_id: str | None) -> Body:
    body = problems.problem(refusal, request_id)
    return body | {"httpStatus": body["status"]}


def _request_id(raw: msgspec.Raw) -> str | None:
    """Give the item's own request id, however wrong the rest of it is."""
    try:
        return msgspec.json.decode(_peek.decode(raw)["requestId"], type=str)
    except (msgspec.MsgspecError, KeyError):
        return None
