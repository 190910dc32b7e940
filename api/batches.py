"""POST /balances/batch: many operations in one call, each with its own outcome, or all in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api import answers, bodies, problems
from api.answers import Body
from api.bodies import BatchBody, Comment, OperationId
from api.middleware import Ask, item_request_id, missing_request_id
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

_SCOPE_OF = {kind.__struct_config__.tag: scope for kind, scope in SCOPES.items()}
_item: Any = bodies.decoder(Item)  # type: ignore[arg-type]
_peek = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unfit(msgspec.Struct, frozen=True):
    """An item that was refused before it could be carried out."""

    refusal: Refusal
    request_id: str | None


class Batch:
    """One call's items: parsed, or refused each for itself. `keep` is told of each item that is refused."""

    def __init__(
        self,
        service: Service,
        ask: Ask,
        body: BatchBody,
        *,
        dry_run: bool,
        keep: Callable[[Refusal, str | None], None],
    ) -> None:
        self._service = service
        self._ask = ask
        self._dry_run = dry_run
        self._keep = keep
        self._atomic = body.atomic
        self._parsed = [self._parse(item) for item in body.operations]
        if body.atomic or dry_run:
            self._check_together()

    async def run(self) -> list[Body]:
        """Have the items carried out; give their results in order, or raise for an atomic call."""
        return await (self._all() if self._atomic else self._each())

    async def _each(self) -> list[Body]:
        requests = [parsed for parsed in self._parsed if isinstance(parsed, Request)]
        outcomes = await self._service.carry_out_each(requests, dry_run=self._dry_run) if requests else []
        await self._service.explained(outcomes, self._ask)
        arrived = iter(outcomes)
        return [
            self._result(parsed.request_id, next(arrived))
            if isinstance(parsed, Request)
            else self._refused(parsed.refusal, parsed.request_id)
            for parsed in self._parsed
        ]

    async def _all(self) -> list[Body]:
        requests = [parsed for parsed in self._parsed if isinstance(parsed, Request)]
        outcomes = await self._service.carry_out_all(requests, dry_run=self._dry_run)
        await self._service.explained(outcomes, self._ask)
        refused = _first_refused(requests, outcomes)
        decided = outcomes if refused is None else [refused] * len(requests)
        self._service.metrics.count_outcomes(requests, decided)
        if refused is not None:
            self._keep_beside(refused, requests, outcomes)
            raise refused
        return [
            self._result(request.request_id, outcome)
            for request, outcome in zip(requests, outcomes, strict=True)
        ]

    def _check_together(self) -> None:
        """Refuse a request id that comes twice where items are decided together, and atomic an unfit item."""
        seen: set[str] = set()
        for index, parsed in enumerate(self._parsed):
            if isinstance(parsed, Request):
                if parsed.request_id in seen:
                    detail = "two items of the call have the same request id"
                    raise ValidationError("repeated_field", detail, field="requestId", index=index)
                seen.add(parsed.request_id)
            elif self._atomic:
                parsed.refusal.extra |= {"index": index, "item": parsed.request_id}
                raise parsed.refusal

    def _parse(self, raw: msgspec.Raw) -> Request | Unfit:
        try:
            item: Item = _item(raw)
            self._ask.key.need(SCOPES[type(item)])
            given = item_request_id(item.request_id)
            command = item.command()
            request_id = given or missing_request_id(needed=self._service.request_ids_needed)
            return Request(
                command=command, request_id=request_id, caller=self._ask.caller, dry_run=self._dry_run
            )
        except Refusal as refusal:
            op, sent = _head(raw)
            return Unfit((self._before_the_body(op, sent) or refusal).at_rest(), sent)

    def _before_the_body(self, op: str | None, request_id: str | None) -> Refusal | None:
        """Give what the item alone would be refused for before its body is read."""
        if op not in _SCOPE_OF:
            return None
        try:
            self._ask.key.need(_SCOPE_OF[op])
            item_request_id(request_id)
        except Refusal as refusal:
            return refusal
        return None

    def _result(self, request_id: str, outcome: Outcome) -> Body:
        if isinstance(outcome, Refusal):
            return self._refused(outcome, request_id)
        body = answers.booked(outcome, dry_run=self._dry_run)
        body["httpStatus"] = 200 if self._dry_run else 201
        return body

    def _refused(self, refusal: Refusal, request_id: str | None) -> Body:
        self._keep(refusal, request_id)
        body = problems.problem(refusal, request_id)
        return body | {"httpStatus": body["status"]}

    def _keep_beside(
        self, refused: Refusal, requests: Sequence[Request], outcomes: Sequence[Outcome]
    ) -> None:
        """Tell of the items whose refusals the answer to the call does not show."""
        for request, outcome in zip(requests, outcomes, strict=False):
            if isinstance(outcome, Refusal) and outcome is not refused:
                self._keep(outcome, request.request_id)


def _first_refused(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> Refusal | None:
    """Give the first item's refusal; a call of which only some items were applied is wrong as such."""
    refused = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Refusal)]
    if not refused:
        return None
    applied = [index for index, outcome in refused if isinstance(outcome, AlreadyApplied)]
    index, refusal = refused[0]
    if applied and len(applied) < len(outcomes):
        index = applied[0]
        refusal = ValidationError("batch_partly_applied", "some of these operations were applied before")
        refusal.decided = not requests[index].dry_run
    refusal.extra |= {"index": index, "item": requests[index].request_id}
    return refusal


def _head(raw: msgspec.Raw) -> tuple[str | None, str | None]:
    """Give the item's op and its own request id, however wrong the rest of it is."""
    try:
        told = _peek.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, None
    return _text(told.get("op")), _text(told.get("requestId"))


def _text(token: msgspec.Raw | None) -> str | None:
    try:
        return None if token is None else msgspec.json.decode(token, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
