"""Taking over accounts: each row becomes an account with its opening money, once, however often it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from api.account_rows import BadRow, Row
from ledger.commands import Request
from ledger.events import Event, MoneyMoved, operation_id
from ledger.refusals import AlreadyApplied, ManagerOffline, Refusal
from ledger.tickets import Outcome
from ledger.writer import GroupCommit

CHUNK_ROWS: Final = 480
CHUNKS_MAX: Final = 2
"""While one chunk is booked the next is read: so many rows are in memory at once, however long the file."""

Outcomes = tuple[Outcome, Outcome]
"""Of the account, and of its opening money; the latter is empty where there was nothing to ask."""

_COLUMNS: Final = {"amount": "balance"}
"""The columns whose fields have another name."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a row, and why that may be less than it asks.

    `booked` is the opening money that this run books, `booked_before` what an earlier one has booked.
    """

    row: int
    login: str
    status: str
    code: str = ""
    detail: str = ""
    operation_ids: tuple[str, ...] = ()
    booked: MoneyMoved | None = None
    booked_before: MoneyMoved | None = None


class Import:
    """Books rows through a writer, or rehearses them."""

    def __init__(self, writer: GroupCommit, *, dry_run: bool) -> None:
        self._writer = writer
        self._dry_run = dry_run

    async def results(self, rows: Iterator[Row | BadRow]) -> AsyncGenerator[list[Result], None]:
        """Give the results of all rows in order, by chunks; ManagerOffline when the ledger is away."""
        under_way: deque[asyncio.Task[list[Result]]] = deque()
        try:
            while chunk := list(islice(rows, CHUNK_ROWS)):
                under_way.append(asyncio.create_task(self._chunk(chunk)))
                await asyncio.sleep(0)  # it is on its way before the next one is read
                if len(under_way) == CHUNKS_MAX:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _chunk(self, chunk: Sequence[Row | BadRow]) -> list[Result]:
        rows = [row for row in chunk if isinstance(row, Row)]
        attempt = self._rehearsed if self._dry_run else self._booked
        outcomes = iter(await attempt(rows))
        return [
            _unreadable(row) if isinstance(row, BadRow) else self._result(row, next(outcomes))
            for row in chunk
        ]

    async def _booked(self, rows: Sequence[Row]) -> list[Outcomes]:
        """Open the accounts, then fund those that are this file's: another's gets no money of ours."""
        opened = await self._submit([row.open for row in rows])
        due = [row for row, outcome in zip(rows, opened, strict=True) if _is_due(row, outcome)]
        funded = await self._submit([row.fund for row in due])
        money = {row.number: outcome for row, outcome in zip(due, funded, strict=True)}
        return [(outcome, money.get(row.number, [])) for row, outcome in zip(rows, opened, strict=True)]

    async def _rehearsed(self, rows: Sequence[Row]) -> list[Outcomes]:
        """Decide the same in one go: a second one would see nothing of the first."""
        outcomes = await self._submit([row.open for row in rows] + [row.fund for row in rows])
        found = zip(rows, outcomes[: len(rows)], outcomes[len(rows) :], strict=True)
        return [(opened, funded if _is_due(row, opened) else []) for row, opened, funded in found]

    async def _submit(self, requests: Sequence[Request]) -> list[Outcome]:
        outcomes = await self._writer.submit_bulk(requests, dry_run=self._dry_run) if requests else []
        for outcome in outcomes:
            if isinstance(outcome, ManagerOffline):
                raise outcome
        return outcomes

    def _result(self, row: Row, outcomes: Outcomes) -> Result:
        refusal = next(filter(_is_refused, outcomes), None)
        result = Result(
            row=row.number,
            login=str(row.login),
            status=self._status(row, outcomes),
            operation_ids=self._operation_ids(row, outcomes),
        )
        if isinstance(refusal, Refusal):
            detail = _sentence(refusal, outcomes, dry_run=self._dry_run)
            return replace(result, status="refused", code=refusal.code, detail=detail)
        return _with_money(result, outcomes[1]) if row.funded else result

    def _status(self, row: Row, outcomes: Outcomes) -> str:
        opened, funded = (isinstance(outcome, AlreadyApplied) for outcome in outcomes)
        if opened and (funded or not row.funded):
            return "already"
        return "importable" if self._dry_run else "imported"

    def _operation_ids(self, row: Row, outcomes: Outcomes) -> tuple[str, ...]:
        """Name the operations that the ledger has under the row's request ids."""
        asked = (not self._dry_run, not self._dry_run and row.funded)
        found = [
            _events(outcome)
            for outcome, booked in zip(outcomes, asked, strict=True)
            if booked or isinstance(outcome, Refusal)
        ]
        return tuple(operation_id(events[0]) for events in found if events)


def _is_due(row: Row, opened: Outcome) -> bool:
    """Tell whether the account is there by this row and may need its money, or has had other money."""
    return isinstance(opened, AlreadyApplied) or (row.funded and not isinstance(opened, Refusal))


def _is_refused(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and not isinstance(outcome, AlreadyApplied)


def _events(outcome: Outcome) -> Sequence[Event]:
    """Give what was booked, now or under the same request id before."""
    if not isinstance(outcome, Refusal):
        return outcome
    first = outcome.extra.get("operation", ())
    return first if isinstance(first, tuple) else ()


def _with_money(result: Result, funded: Outcome) -> Result:
    [money] = _events(funded)
    assert isinstance(money, MoneyMoved)
    if isinstance(funded, AlreadyApplied):
        return replace(result, booked_before=money)
    return replace(result, booked=money)


def _sentence(refusal: Refusal, outcomes: Outcomes, *, dry_run: bool) -> str:
    """Say what is wrong, with the column; and what stands all the same."""
    if refusal.code == "request_id_reused":
        fields: list[str] = refusal.extra["fields"]  # type: ignore[assignment]
        named = ", ".join(_COLUMNS.get(name, name) for name in fields)
        return f"the row was imported before, and differs now: {named}"
    if refusal is outcomes[0]:
        return _named(refusal)
    standing = "opening money" if dry_run else "the account is open, its opening money is not booked"
    return f"{standing}: {_named(refusal)}"


def _named(refusal: Refusal) -> str:
    """Give the sentence of a refusal, with the column's name where it says none."""
    named = refusal.field is None or refusal.field in refusal.detail
    return refusal.detail if named else f"{refusal.field}: {refusal.detail}"


def _unreadable(row: BadRow) -> Result:
    refusal = row.refusal
    return Result(
        row=row.number, login=row.login, status="refused", code=refusal.code, detail=_named(refusal)
    )
