"""History as CSV: exact decimals, times in UTC, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from ledger.money import format_minor
from projections.history_rows import Row
from projections.spreadsheets import quote

COLUMNS: Final = (
    "operationId",
    "status",
    "kind",
    "login",
    "amount",
    "currency",
    "newBalance",
    "newCredit",
    "balanceChange",
    "creditChange",
    "requestId",
    "reference",
    "position",
    "serverDay",
    "recordedAt",
    "effectiveAt",
    "group",
    "tradingDay",
    "warnings",
    "balanceBefore",
    "balanceAfter",
    "creditBefore",
    "creditAfter",
    "comment",
    "method",
    "operatorId",
    "keyId",
    "corrects",
    "reversedBy",
    "peer",
    "metadata",
)


def csv_header() -> bytes:
    """Write the line that names the columns."""
    return _written([COLUMNS])


def csv_lines(rows: Iterable[Row]) -> bytes:
    """Write one line for each row, in the columns' order."""
    return _written(_cells(row) for row in rows)


def _written(lines: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _cells(row: Row) -> tuple[object, ...]:
    digits = row.digits
    return (
        _operation(row.operation),
        "accepted",
        row.kind,
        row.login,
        format_minor(row.amount, digits),
        row.currency,
        format_minor(row.booked_balance, digits),
        format_minor(row.booked_credit, digits),
        format_minor(row.balance_change, digits),
        format_minor(row.credit_change, digits),
        _text(row.request_id),
        _text(row.reference),
        row.position,
        row.server_day.isoformat(),
        _time(row.recorded_at),
        _time(row.effective_at),
        _text(row.group_name),
        row.trading_day.isoformat(),
        row.warnings,
        format_minor(row.balance_before, digits),
        format_minor(row.balance, digits),
        format_minor(row.credit_before, digits),
        format_minor(row.credit, digits),
        _text(row.comment),
        _text(row.method),
        _text(row.operator_id),
        _text(row.key_id),
        _operation(row.corrects),
        _operation(row.reversed_by),
        row.peer,
        _text(row.metadata),
    )


def _operation(operation: int | None) -> str | None:
    return None if operation is None else f"bal_{operation}"


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(text: str | None) -> str | None:
    return None if text is None else quote(text)
