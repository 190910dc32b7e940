"""History on the wire: its query, its rows, an operation with what answers it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw
from psycopg import AsyncConnection

from api import answers
from api.answers import Body, money, money_again
from api.bodies import Instant, Login, day, instant
from ledger.commands import Access
from ledger.events import Event, KeyCreated, KeyRevoked, MoneyMoved, encode, operation_id
from ledger.funding import ADJUST_KINDS
from ledger.masks import parse_mask
from ledger.money import Amount, parse_amount_text
from ledger.refusals import NotFound, PermissionDenied, ValidationError
from projections import accounts, operations
from projections.asof import AsOf
from projections.history import Filter, Row, Totals

KINDS = frozenset(
    {"deposit", "withdrawal", "credit", "transfer", "correction", "reversal", "trade", *ADJUST_KINDS}
)
Basis = Literal["recorded", "effective"]


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query of GET /balances/history."""

    login: Login | None = None
    group_filter: str | None = None
    kind: str | None = None
    since: Instant | None = msgspec.field(name="from", default=None)
    until: Instant | None = msgspec.field(name="to", default=None)
    from_day: date | None = None
    to_day: date | None = None
    request_id: str | None = None
    reference: str | None = None
    operator_id: str | None = None
    booked_after: date | None = None
    min_amount: str | None = None
    max_amount: str | None = None
    basis: Basis = "recorded"
    order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    cursor: str | None = None
    offset: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    totals: bool = False
    format: Literal["json", "csv"] = "json"

    def filter(self, access: Access) -> Filter:
        """Give what is asked for, checked."""
        if self.cursor is not None and self.offset:
            raise ValidationError("cursor_and_offset", "send a cursor or an offset, not both", field="offset")
        _check_order(self)
        return Filter(
            login=self.login,
            group_mask=None if self.group_filter is None else parse_mask(self.group_filter),
            kinds=_kinds(self.kind),
            since=instant(self.since, field="from", code="bad_date"),
            until=instant(self.until, field="to", code="bad_date"),
            from_day=day(self.from_day, field="fromDay"),
            to_day=day(self.to_day, field="toDay"),
            request_id=self.request_id,
            reference=self.reference,
            operator_id=self.operator_id,
            booked_after=day(self.booked_after, field="bookedAfter"),
            amount_min=_amount(self.min_amount, field="minAmount"),
            amount_max=_amount(self.max_amount, field="maxAmount"),
            basis=self.basis,
            access=access,
        )


class AsOfQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /balances/asof."""

    login: Login
    at: Instant
    basis: Basis = "recorded"

    def instant(self) -> datetime:
        """Give the instant, checked."""
        at = instant(self.at, field="at", code="bad_date")
        assert at is not None
        return at


def row_body(row: Row) -> Body:
    """Give a row of history: the fields of the 201 answer, and what the account held around it."""
    digits = row.digits
    return {
        "operationId": f"bal_{row.operation}",
        "status": "accepted",
        "kind": row.kind,
        "login": row.login,
        "amount": money_again(row.amount, digits),
        "currency": row.currency,
        "newBalance": money_again(row.booked_balance, digits),
        "newCredit": money_again(row.booked_credit, digits),
        "balanceChange": money_again(row.balance_change, digits),
        "creditChange": money_again(row.credit_change, digits),
        "requestId": row.request_id,
        "reference": row.reference,
        "position": row.position,
        "serverDay": row.server_day,
        "recordedAt": answers.utc(row.recorded_at),
        "effectiveAt": answers.utc(row.effective_at),
        "group": row.group_name,
        "tradingDay": row.trading_day,
        "warnings": row.warnings.split(",") if row.warnings else [],
        "balanceBefore": money_again(row.balance_before, digits),
        "balanceAfter": money_again(row.balance, digits),
        "creditBefore": money_again(row.credit_before, digits),
        "creditAfter": money_again(row.credit, digits),
        "comment": row.comment,
        "method": row.method,
        "operatorId": row.operator_id,
        "keyId": row.key_id,
        "corrects": _operation(row.corrects),
        "reversedBy": _operation(row.reversed_by),
        "peer": row.peer,
        "metadata": None if row.metadata is None else Raw(row.metadata.encode()),
    }


def totals_body(totals: Totals) -> Body:
    """Give sums by currency, then by kind."""
    body: dict[str, Body] = {}
    for total in totals.totals:
        body.setdefault(total.currency, {})[total.kind] = {
            "count": total.count,
            "balanceChange": money(total.balance_change, total.digits),
            "creditChange": money(total.credit_change, total.digits),
        }
    return body


def held_body(held: AsOf) -> Body:
    """Give what an account held."""
    return {
        "balance": money(held.balance, held.digits),
        "credit": money(held.credit, held.digits),
        "position": held.position,
    }


def asof_body(held: AsOf, at: datetime) -> Body:
    """Give the answer of GET /balances/asof."""
    return {"login": held.login, "currency": held.currency, **held_body(held), "at": answers.utc(at)}


async def check_login(connection: AsyncConnection[Any], login: int, access: Access) -> None:
    """Refuse a login in a query that is unknown, or outside of the key's reach."""
    group = await accounts.group_of(connection, login)
    if group is None:
        raise ValidationError("unknown_login", f"there is no account {login}", field="login")
    if not access.reaches(login, group):
        raise PermissionDenied("outside_mask", f"account {login} is outside this key's reach", login=login)


async def check_visible(connection: AsyncConnection[Any], events: Sequence[Event], access: Access) -> None:
    """Refuse an operation that does not exist for this key, or is outside of its reach."""
    if not events or isinstance(events[0], KeyCreated | KeyRevoked):
        raise NotFound("unknown_operation", "there is no such operation")
    logins = {event.login for event in events if hasattr(event, "login")}
    groups = {login: await accounts.group_of(connection, login) or "" for login in logins}
    if not all(access.sees(event, groups) for event in events):
        raise PermissionDenied("outside_mask", "the operation is outside this key's reach")


async def answers_to(connection: AsyncConnection[Any], events: Sequence[Event]) -> Body:
    """Give the stored events of a money operation, and what corrects or reverses it."""
    first = events[0]
    if not isinstance(first, MoneyMoved):
        return {}
    correcting = await operations.answered_by(connection, first.operation)
    reversal = await operations.reversed_by(connection, first.operation)
    return {
        "events": [Raw(encode(event)) for event in events],
        "correctedBy": [f"bal_{number}" for number in correcting if number != reversal],
        "reversedBy": _operation(reversal),
    }


def named(events: Sequence[Event], asked: str) -> bool:
    """Tell whether the events are those of the operation id."""
    return bool(events) and operation_id(events[0]) == asked


def _operation(operation: int | None) -> str | None:
    return None if operation is None else f"bal_{operation}"


def _check_order(query: HistoryQuery) -> None:
    """Refuse ranges that end before they begin."""
    ranges = (("to", query.since, query.until), ("toDay", query.from_day, query.to_day))
    for field, start, end in ranges:
        if start is not None and end is not None and end < start:
            raise ValidationError("bad_date", f"{field} lies before the beginning of its range", field=field)
    lowest = _amount(query.min_amount, field="minAmount")
    highest = _amount(query.max_amount, field="maxAmount")
    if lowest is not None and highest is not None and highest.value < lowest.value:
        raise ValidationError("bad_amount", "maxAmount is less than minAmount", field="maxAmount")


def _kinds(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    kinds = tuple(part.strip() for part in text.split(","))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValidationError("bad_kind", f"{unknown[0]} is not a kind of operation", field="kind")
    return kinds


def _amount(text: str | None, *, field: str) -> Amount | None:
    if text is None:
        return None
    amount = parse_amount_text(text, field=field)
    if amount.negative:
        raise ValidationError("amount_not_positive", f"{field} compares absolute changes", field=field)
    return amount
