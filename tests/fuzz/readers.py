"""Everything that reads what a caller wrote, under one roof: queries, bodies, keys, headers, sheets."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from api import accounts_query, batches, bodies, feed_bodies
from api.account_rows import BadRow, read_rows
from api.accounts_query import AccountsQuery
from api.audit import EventsQuery, StreamQuery
from api.exchange import NoQuery, WriteQuery
from api.history import AsOfQuery, HistoryQuery
from api.keys import Key, KeyRing
from api.refused import RefusalsQuery
from api.reports import DailyQuery, ExposureQuery, UsersQuery
from ledger.commands import EVERYTHING
from ledger.refusals import Refusal
from tests.fuzz.hostile import outcome

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPES = frozenset({"users:pii"})


QUERIES: dict[type[Any], Callable[[Any], object]] = {
    AccountsQuery: lambda query: query.body().question(access=EVERYTHING, scopes=SCOPES),
    HistoryQuery: lambda query: query.filter(EVERYTHING),
    AsOfQuery: lambda query: query.instant(),
    **dict.fromkeys(
        (EventsQuery, StreamQuery, RefusalsQuery, DailyQuery, ExposureQuery, UsersQuery, WriteQuery, NoQuery),
        lambda query: query,
    ),
}
PARAMETERS = sorted({name for query in QUERIES for name in query.__struct_encode_fields__} | {"nothing", ""})


BODIES: dict[Callable[[bytes], Any], Callable[[Any], object]] = {
    **{
        bodies.decoder(body): (lambda read: read.command())
        for body in (
            *(bodies.DepositBody, bodies.WithdrawBody, bodies.CreditBody, bodies.TransferBody),
            *(bodies.CorrectionBody, bodies.AdjustBody, bodies.OpenBody, bodies.ServerBody),
            *(feed_bodies.DealItem, batches.ReverseItem),
        )
    },
    bodies.decoder(bodies.UpdateBody): lambda read: read.command_for(1001),
    bodies.decoder(bodies.GroupBody): lambda read: read.command_for("standard"),
    bodies.decoder(bodies.SymbolBody): lambda read: read.command_for("EURUSD"),
    bodies.decoder(bodies.ReverseBody): lambda read: bodies.required_text(read.reason, field="reason"),
    bodies.decoder(feed_bodies.PositionItem): lambda read: read.position(0),
    bodies.decoder(feed_bodies.QuoteItem): lambda read: read.quote(0),
    **{
        bodies.decoder(body): (lambda read: read.message(EVERYTHING))
        for body in (feed_bodies.QuotesBody, feed_bodies.PositionsBody, feed_bodies.OnlineBody)
    },
    bodies.decoder(feed_bodies.DealsBody): lambda read: read.deals,
    bodies.decoder(bodies.BatchBody): lambda read: read.operations,
    accounts_query.decode: lambda read: read.question(access=EVERYTHING, scopes=SCOPES),
}


HEADERS = (b"x-request-id", b"idempotency-key", b"x-operator-id")
KEY = Key(
    key_id="0123456789abcdef",
    name="k",
    scopes=SCOPES,
    access=EVERYTHING,
    secret_hash="",
    expires_at=None,
    revoked_at=None,
)


async def _never_asked(key_id: str) -> Key | None:
    raise AssertionError(f"nobody needs to look {key_id} up")


def presented(authorization: bytes) -> object:
    """Present a key to a ring that must not need to look it up."""
    ring = KeyRing("main", _never_asked)
    return outcome(lambda: asyncio.run(ring.check(authorization)))


def sheet_rows(text: str) -> list[Any]:
    """Read a sheet of accounts; a refused row has a documented reason."""
    read = outcome(lambda: _rows_of(text))
    rows: list[Any] = [] if isinstance(read, Refusal) else read
    for row in rows:
        if isinstance(row, BadRow):
            refusal = row.refusal
            outcome(lambda refusal=refusal: _raised(refusal))  # type: ignore[misc]
    return rows


def _raised(refusal: Refusal) -> None:
    raise refusal


def _rows_of(text: str) -> list[Any]:
    return list(read_rows(io.StringIO(text, newline="")))
