"""POST /balances/batch."""

from __future__ import annotations

from litestar import post

from api import bodies, problems
from api.batches import Batch
from api.bodies import BULK_BODY_MAX, BatchBody
from api.exchange import Answer, HttpRequest, WriteQuery, ask_of, body_of, query_of, reply, service_of
from api.middleware import ANY_SCOPE

_batch = bodies.decoder(BatchBody)


@post(
    "/balances/batch",
    opt={"scope": ANY_SCOPE, "body": BatchBody, "query": WriteQuery, "tag": "Funding"},
    status_code=200,
)
async def batch(request: HttpRequest) -> Answer:
    """Carry out up to 10,000 operations, each for itself or all in one transaction."""
    body = _batch(await body_of(request, limit=BULK_BODY_MAX))
    ask, dry_run = ask_of(request), query_of(request, WriteQuery).dry_run
    keep = problems.Items(request).keep
    results = await Batch(service_of(request), ask, body, dry_run=dry_run, keep=keep).run()
    return reply(ask, {"results": results})


HANDLERS = [batch]
