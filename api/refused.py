"""Refused attempts on the wire, and what of a request is kept of one."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from api import answers
from api.answers import Body
from api.middleware import Ask, method_of, operator_in, recorded_request_id, route_of
from api.service import Service
from ledger.refusals import Refusal
from projections import refusals
from projections.refusals import Kept, Refused

DETAIL_MAX: Final = 1_024
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class RefusalsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /audit/refusals."""

    after: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


async def refusals_body(service: Service, ask: Ask, query: RefusalsQuery) -> Body:
    """Give a page of the refused attempts that the key may see; `next` goes on past the others."""
    async with service.database.following() as connection:
        found = await refusals.page(connection, after=query.after, limit=query.limit)
    seen = [refused_body(kept) for kept in found if kept.seen_by(ask.access)]
    return {"refusals": seen, "next": found[-1].number if found else query.after}


def refused_body(kept: Kept) -> Body:
    """Give a refused attempt."""
    refused = kept.refused
    return {
        "number": kept.number,
        "refusedAt": answers.utc(refused.refused_at),
        "keyId": refused.key_id,
        "operatorId": refused.operator_id,
        "requestId": refused.request_id,
        "method": refused.method,
        "route": refused.route,
        "status": refused.status,
        "code": refused.code,
        "detail": refused.detail,
        "field": refused.field,
        "login": refused.login,
    }


def refused_attempt(
    scope: Any, refusal: Refusal, *, request_id: Any, status: int, refused_at: datetime
) -> Refused:
    """Give what is kept of a refused attempt; a dead key, or one that lacks the scope, has no Ask."""
    ask: Ask | None = scope["state"].get("ask")
    login = refusal.extra.get("login")
    return Refused(
        refused_at=refused_at,
        key_id=str(refusal.extra["key_id"]) if ask is None else ask.key.key_id,
        operator_id=operator_in(scope["headers"]) if ask is None else ask.caller.operator_id,
        request_id=recorded_request_id(request_id),
        method=method_of(scope),
        route=route_of(scope),
        status=status,
        code=refusal.code,
        detail=_UNSTORABLE.sub("?", refusal.detail)[:DETAIL_MAX],
        field=refusal.field,
        login=login if isinstance(login, int) else None,
    )
