"""What each route answers, on one page: by the name of its handler."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api.shapes import codes
from api.shapes.accounts import AccountsPage, Profile, ProfileWritten, UsersExport
from api.shapes.audit import Alive, Checkpoint, Consistency, LogPage, Proof, Ready, RefusalsPage
from api.shapes.batch import BatchResults
from api.shapes.codes import Codes
from api.shapes.definitions import Groups, GroupWritten, Server, ServerWritten, Symbols, SymbolWritten
from api.shapes.feed import DealsReceipt, FeedStatus, Receipt
from api.shapes.funding import Booking, Operation, Rehearsal
from api.shapes.history import HeldAt, HistoryPage
from api.shapes.reports import Daily, Exposure


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """A route's answers: its JSON, what a dry run gets, texts by media type, the groups of its refusals."""

    body: Any = None
    rehearsal: Any = None
    texts: tuple[str, ...] = ()
    refusals: tuple[Codes, ...] = ()


def _booking(refusals: tuple[Codes, ...]) -> Answers:
    return Answers(body=Booking, rehearsal=Rehearsal, refusals=refusals)


ANSWERS: Final[dict[str, Answers]] = {
    "deposit": _booking(codes.DEPOSIT),
    "withdraw": _booking(codes.WITHDRAWAL),
    "credit": _booking(codes.CREDIT),
    "transfer": _booking(codes.TRANSFER),
    "correction": _booking(codes.CORRECTION),
    "adjust": _booking(codes.ADJUSTMENT),
    "reverse": _booking(codes.REVERSAL),
    "batch": Answers(body=BatchResults, refusals=codes.BATCH),
    "read_history": Answers(body=HistoryPage, texts=("text/csv",), refusals=codes.HISTORY),
    "read_operation": Answers(body=Operation, refusals=codes.OPERATION),
    "read_request": Answers(body=Operation, refusals=codes.REQUEST),
    "read_asof": Answers(body=HeldAt, refusals=codes.AS_OF),
    "open_account": Answers(body=ProfileWritten, refusals=codes.OPENING),
    "update_account": Answers(body=ProfileWritten, refusals=codes.UPDATE),
    "read_account": Answers(body=Profile, refusals=codes.ACCOUNT),
    "disable_account": Answers(body=ProfileWritten, refusals=codes.DISABLING),
    "enable_account": Answers(body=ProfileWritten, refusals=codes.ENABLING),
    "list_accounts": Answers(body=AccountsPage, refusals=codes.ACCOUNTS_IN_QUERY),
    "query_accounts": Answers(body=AccountsPage, refusals=codes.ACCOUNTS),
    "read_groups": Answers(body=Groups, refusals=codes.READ),
    "define_group": Answers(body=GroupWritten, refusals=codes.GROUP),
    "read_symbols": Answers(body=Symbols, refusals=codes.READ),
    "define_symbol": Answers(body=SymbolWritten, refusals=codes.SYMBOL),
    "read_server": Answers(body=Server, refusals=codes.READ),
    "define_server": Answers(body=ServerWritten, refusals=codes.SERVER),
    "quote": Answers(body=Receipt, refusals=codes.QUOTES),
    "place_positions": Answers(body=Receipt, refusals=codes.POSITIONS),
    "book_deals": Answers(body=DealsReceipt, refusals=codes.DEALS),
    "tell_online": Answers(body=Receipt, refusals=codes.ONLINE),
    "read_status": Answers(body=FeedStatus, refusals=codes.READ),
    "read_exposure": Answers(body=Exposure, refusals=codes.EXPOSURE),
    "export_users": Answers(
        body=UsersExport, texts=("text/csv", "application/x-ndjson"), refusals=codes.EXPORT
    ),
    "read_daily_report": Answers(body=Daily, refusals=codes.DAILY),
    "read_events": Answers(body=LogPage, refusals=codes.LOG),
    "stream_events": Answers(texts=("text/event-stream",), refusals=codes.STREAM),
    "read_checkpoint": Answers(body=Checkpoint, texts=("text/plain",), refusals=codes.CHECKPOINT),
    "read_proof": Answers(body=Proof, refusals=codes.PROOF),
    "read_consistency": Answers(body=Consistency, refusals=codes.CONSISTENCY),
    "read_refusals": Answers(body=RefusalsPage, refusals=codes.READ),
    "healthz": Answers(body=Alive),
    "readyz": Answers(body=Ready, refusals=codes.READINESS),
    "read_metrics": Answers(texts=("text/plain",)),
}
