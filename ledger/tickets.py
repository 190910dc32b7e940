"""Requests that wait for the writer together, and how a ticket is decided on a batch's book."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ledger.book import Book
from ledger.commands import Request
from ledger.decide import decide
from ledger.events import Event
from ledger.refusals import AlreadyApplied, Fault, Refusal

log = logging.getLogger("fundledger.writer")

Outcome = list[Event] | Refusal


class Ticket:
    """Requests that came together, and the future of their outcomes.

    An `atomic` ticket books all of its requests or none; a `rehearsal` decides them one on top of the
    other and books none. Both have a transaction to themselves. One without requests only wants to know
    that what is booked is safe.
    """

    __slots__ = ("atomic", "future", "rehearsal", "requests")

    def __init__(self, requests: Sequence[Request], *, atomic: bool = False, rehearsal: bool = False) -> None:
        self.requests = requests
        self.atomic = atomic
        self.rehearsal = rehearsal
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    @property
    def alone(self) -> bool:
        """Whether the ticket has a transaction to itself."""
        return self.atomic or self.rehearsal

    def answer(self, outcomes: list[Outcome]) -> None:
        """Wake the caller, if it still waits."""
        if not self.future.done():
            self.future.set_result(outcomes)


def decide_ticket(book: Book, ticket: Ticket) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for request in ticket.requests:
        outcome = _decide_one(book, request, ticket)
        outcomes.append(outcome)
        if ticket.atomic and isinstance(outcome, Refusal) and not isinstance(outcome, AlreadyApplied):
            break
    if ticket.rehearsal or (ticket.atomic and any(isinstance(outcome, Refusal) for outcome in outcomes)):
        book.booked.clear()
    return outcomes


def _decide_one(book: Book, request: Request, ticket: Ticket) -> Outcome:
    try:
        events = decide(book, request)
    except Refusal as refusal:
        return refusal.at_rest()
    except Exception:
        log.exception("a %s could not be decided", type(request.command).__name__)
        return Fault("fault", "the service met a fault of its own")
    if ticket.rehearsal or not request.dry_run:
        book.apply(events)
    return events
