"""The read side of a batch: what its decisions look at, and what it writes beside the log.

Implements the two protocols of ledger.transaction: one statement reads, one list of CTEs appends. Rows of
rare events (definitions, profiles, keys) are written by statements of their own before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, ClassVar

import msgspec
from psycopg import AsyncConnection, Connection

from ledger.account import Account, Grant
from ledger.book import Book
from ledger.commands import (
    Command,
    Correct,
    CreateKey,
    Note,
    Request,
    Reverse,
    RevokeKey,
    limited_key,
    logins_of,
)
from ledger.decide import reference_of
from ledger.definitions import Definitions
from ledger.events import Event, MoneyMoved, decode, to_json
from ledger.packing import (
    EPOCH_ORDINAL,
    Packed,
    RowPacker,
    days,
    int8,
    int8_array,
    microseconds,
    text_array,
)
from ledger.transaction import BatchRead
from projections import definitions, profiles
from projections.sql import sql
from projections.statements import Statement

Params = dict[str, Any]

ROW_TYPE_NAMES = ("log_entry", "history_leg", "account_state", "applied_request")
ROW_TYPES = "SELECT typname, oid FROM pg_type WHERE oid = ANY(%s::regtype[]::oid[])"
_LEG_TEXTS = (
    *("label",) * 3,  # kind, currency, group
    "text",  # request id
    *("label",) * 2,  # operator, key
    "text",  # reference
    "label",  # method
    *("text",) * 3,  # comment, warnings, metadata
)
_REVERSED = (
    "UPDATE history SET reversed_by = %(reversal)s WHERE operation = %(operation)s"
    ' AND "position" >= %(operation)s AND "position" <= %(operation)s + 1'
)
_USED = (
    "INSERT INTO key_usage AS u (key_id, server_day, currency, used) VALUES (%(key_id)s, %(server_day)s,"
    " %(currency)s, %(used)s) ON CONFLICT (key_id, server_day, currency) DO UPDATE SET used = excluded.used"
)


class BatchViews:
    """Reads and appends the batches of one ledger, through connections of its schema."""

    read_sqls: ClassVar[dict[str, str]] = {
        "read_batch": sql("read_batch"),
        "read_accounts": sql("read_accounts"),
        "read_batch_and_more": f"{sql('read_batch')}UNION ALL\n{sql('read_batch_more')}",
    }
    append_sql = sql("append_batch")

    def __init__(self) -> None:
        self._packers: dict[str, RowPacker] = {}

    def prepare(self, row_types: dict[str, int]) -> None:
        """Take the oids that the row types have in this database."""
        self._packers = {
            "applied_request": RowPacker(
                row_types["applied_request"], fixed=("int8", "int2"), variable=("text",)
            ),
            "history_leg": RowPacker(
                row_types["history_leg"],
                fixed=(*("int8",) * 8, "timestamptz", "date", "date", "int2"),
                variable=("timestamptz", "int8", "int8", "int8", *_LEG_TEXTS),
            ),
            "account_state": RowPacker(
                row_types["account_state"],
                fixed=("int8",) * 7 + ("date", "date"),
                variable=("text", "timestamptz"),
            ),
        }

    def reading(self, requests: Sequence[Request]) -> tuple[str, dict[str, Packed]]:
        """Name the statement that reads what the decisions of these requests look at, and its parameters.

        Most batches only touch accounts: the idle branches of the long statement are not free.
        """
        commands = [request.command for request in requests]
        params = {
            "logins": int8_array([login for command in commands for login in logins_of(command)]),
            "request_ids": text_array([request.request_id for request in requests]),
        }
        if not any(map(_looks_further, requests)):
            return "read_batch", params
        references = [key for key in map(reference_of, commands) if key is not None]
        return "read_batch_and_more", params | {
            "operations": int8_array([number for command in commands for number in _operations(command)]),
            "kinds": text_array([kind for kind, _, _ in references]),
            "methods": text_array([method for _, method, _ in references]),
            "references": text_array([reference for _, _, reference in references]),
            "limited": text_array([key for key in map(limited_key, requests) if key is not None]),
            "keys": text_array(
                [command.key for command in commands if isinstance(command, RevokeKey | CreateKey)]
            ),
        }

    def load(self, rows: Iterable[tuple[Any, ...]], read: BatchRead | None = None) -> BatchRead:
        """Sort the tagged rows of a read into what a book needs."""
        read = BatchRead() if read is None else read
        for row in rows:
            _LOADERS[row[0]](read, row)
        return read

    def reading_accounts(self, logins: Sequence[int]) -> dict[str, Packed]:
        """Give the parameters of the statement that reads accounts."""
        return {"logins": int8_array(logins)}

    def append_params(self, book: Book, before: dict[int, Account]) -> dict[str, Packed]:
        """Pack what the booked events of a batch change in the read models."""
        legs = [_leg(event, book) for event in book.booked if isinstance(event, MoneyMoved)]
        states = [_state(account, before) for account in changed(book, before)]
        return {
            "applied": self._packers["applied_request"].array(_applied(book)),
            "legs": self._packers["history_leg"].array(legs),
            "accounts": self._packers["account_state"].array(states),
            "accounts_count": int8(len(states)),
        }

    def rare(self, book: Book) -> list[Statement]:
        """Give the statements that the batch needs beside the one that books it."""
        statements: list[Statement] = []
        for event in book.booked:
            if not isinstance(event, MoneyMoved):
                statements += definitions.statements(event) + profiles.statements(event)
            elif event.kind == "reversal" and event.position == event.operation:
                statements.append((_REVERSED, _reversed(event)))
        statements += [(_USED, row) for row in _usage(book)]
        return statements

    async def load_definitions(self, connection: AsyncConnection[Any]) -> Definitions:
        """Read all definitions again, after another process changed one."""
        groups = await (await connection.execute(definitions.GROUPS)).fetchall()
        server = await (await connection.execute(definitions.SERVER)).fetchone()
        return definitions.loaded(groups, server)


def row_types(connection: Connection[Any]) -> dict[str, int]:
    """Look up the oids of the row types under the connection's search path."""
    return dict(connection.execute(ROW_TYPES, [list(ROW_TYPE_NAMES)]).fetchall())


def changed(book: Book, before: dict[int, Account]) -> list[Account]:
    """Give the accounts that the batch changed."""
    return [account for login, account in book.accounts.items() if before.get(login) is not account]


def _looks_further(request: Request) -> bool:
    command = request.command
    return (
        not isinstance(command, Note)
        or command.reference is not None
        or (isinstance(command, Correct) and command.corrects is not None)
        or request.caller.access.amount_day_max is not None
    )


def _operations(command: Command) -> list[int]:
    if isinstance(command, Reverse):
        return [command.operation]
    if isinstance(command, Correct) and command.corrects is not None:
        return [command.corrects]
    return []


def _head(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.position = row[1] or 0
    read.definitions_position = row[2] or 0
    read.head = row[14]


def _account(read: BatchRead, row: tuple[Any, ...]) -> None:
    _, login, version, balance, credit, before_day, before_month, day, month, digits, enable = row[:11]
    group, currency, grants = row[11:14]
    read.accounts[login] = Account(
        login,
        group,
        currency,
        digits,
        bool(enable),
        version,
        balance,
        credit,
        date.fromordinal(EPOCH_ORDINAL + day),
        before_day,
        date.fromordinal(EPOCH_ORDINAL + month),
        before_month,
        () if grants is None else _GRANTS.decode(grants),
    )


def _request(read: BatchRead, row: tuple[Any, ...]) -> None:
    _join(read.requests, row[11], decode(row[14]))


def _reference(read: BatchRead, row: tuple[Any, ...]) -> None:
    event = decode(row[14])
    if event.operation == row[1]:
        _join(read.references, (row[11], row[12], row[13]), event)


def _operation(read: BatchRead, row: tuple[Any, ...]) -> None:
    event = decode(row[14])
    if event.operation == row[1]:
        _join(read.operations, row[1], event)


def _reversal(read: BatchRead, row: tuple[Any, ...]) -> None:
    event = decode(row[14])
    read.reversals[row[1]] = row[3]
    if event.operation == row[3]:
        _join(read.operations, row[3], event)


def _used(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.used[(row[11], row[12], date.fromordinal(EPOCH_ORDINAL + row[2]))] = row[1]


def _key(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.keys[row[11]] = row[1]


def _login_max(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.login_max = row[1] or 0


def _join(index: dict[Any, tuple[Event, ...]], key: object, event: Event) -> None:
    found = index.get(key, ())
    if all(other.position != event.position for other in found):
        index[key] = tuple(sorted((*found, event), key=lambda other: other.position))


_LOADERS: tuple[Callable[[BatchRead, tuple[Any, ...]], None], ...] = (
    _head,
    _account,
    _request,
    _reference,
    _operation,
    _reversal,
    _used,
    _key,
    _login_max,
)
_GRANTS = msgspec.json.Decoder(tuple[Grant, ...])


def _applied(book: Book) -> list[tuple[tuple[int, int], tuple[str]]]:
    sizes: dict[int, int] = {}
    for event in book.booked:
        sizes[event.operation] = sizes.get(event.operation, 0) + 1
    return [
        ((event.position, sizes[event.operation]), (event.request_id,))
        for event in book.booked
        if event.position == event.operation and event.request_id is not None
    ]


def _leg(event: MoneyMoved, book: Book) -> tuple[tuple[int, ...], tuple[str | int | None, ...]]:
    fixed = (
        event.position,
        event.login,
        event.operation,
        event.amount,
        event.balance_change,
        event.credit_change,
        event.balance,
        event.credit,
        microseconds(event.recorded_at),
        days(event.server_day),
        days(event.trading_day),
        event.digits,
    )
    variable = (
        None if event.effective_at is None else microseconds(event.effective_at),
        event.corrects,
        book.reversals.get(event.operation),
        event.peer,
        event.kind,
        event.currency,
        event.group,
        event.request_id,
        event.operator_id,
        event.key_id,
        event.reference,
        event.method,
        event.comment if event.reason is None else event.reason,
        ",".join(event.warnings) or None,
        None if event.metadata is None else _metadata(event),
    )
    return fixed, variable


def _metadata(event: MoneyMoved) -> str:
    return to_json(event.metadata).decode()


def _state(
    account: Account, before: dict[int, Account]
) -> tuple[tuple[int, ...], tuple[str | int | None, ...]]:
    old = before.get(account.login)
    grants = account.grants
    fixed = (
        account.login,
        0 if old is None else old.version,
        account.version,
        account.balance,
        account.credit,
        account.balance_before_day,
        account.balance_before_month,
        days(account.balance_day),
        days(account.balance_month),
    )
    if not grants:
        return fixed, (None, None)
    soonest = min(grant.expires_at for grant in grants)
    return fixed, (to_json(grants).decode(), microseconds(soonest))


def _usage(book: Book) -> list[Params]:
    day = book.moment.server_day
    return [
        {"key_id": key_id, "server_day": day, "currency": currency, "used": used}
        for (key_id, currency), used in book.used.items()
        if key_id in book.limited
    ]


def _reversed(event: MoneyMoved) -> Params:
    return {"reversal": event.operation, "operation": event.corrects}
