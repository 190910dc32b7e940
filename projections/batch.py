"""The read side of a batch: what its decisions look at, and what it writes beside the log.

Implements the two protocols of ledger.transaction: one statement reads, one list of CTEs appends. Rows of
rare events (definitions, profiles, keys) are written by statements of their own before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from sys import intern
from typing import Any, ClassVar

import msgspec
from psycopg import AsyncConnection, Connection

from ledger.account import Account, Grant
from ledger.book import Book
from ledger.commands import (
    BookDeal,
    Command,
    Correct,
    CreateKey,
    DefineSymbol,
    GiveCredit,
    Note,
    Request,
    Reverse,
    RevokeKey,
    Transfer,
    Withdraw,
    limited_key,
    logins_of,
)
from ledger.decide import reference_of
from ledger.definitions import Definitions
from ledger.events import Event, MoneyMoved, decode, published, to_json
from ledger.figures import Figures
from ledger.packing import (
    EPOCH_ORDINAL,
    Packed,
    Row,
    RowPacker,
    instant,
    int8,
    int8_array,
    text_array,
)
from ledger.transaction import BatchRead
from projections import definitions, profiles, sums
from projections.sql import sql, with_fed_at
from projections.statements import Statement

Params = dict[str, Any]

ADDED_MAX = 512
"""How many rows batches may add to the sums before these are put together."""

ROW_TYPE_NAMES = (
    "log_entry",
    "history_leg",
    "account_state",
    "applied_request",
    "totals_change",
    "daily_change",
)
ROW_TYPES = "SELECT typname, oid FROM pg_type WHERE oid = ANY(%s::regtype[]::oid[])"
_LEG_SHARED = (
    *("timestamptz", "date", "date", "timestamptz"),  # recorded, days, effective
    *("int8",) * 3,  # corrects, reversed by, peer
    *("text",) * 7,  # kind, currency, group, operator, key, method, warnings
)
_LEG_VARIABLE = ("text",) * 4  # request id, reference, comment, metadata
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
        "read_batch_and_figures": f"{sql('read_batch')}UNION ALL\n{with_fed_at('read_figures')}",
        "read_batch_and_more": "UNION ALL\n".join(
            (sql("read_batch"), with_fed_at("read_figures"), sql("read_batch_more"))
        ),
    }
    append_sql = sql("append_batch")

    def __init__(self, *, live: bool = True) -> None:
        self._live = live
        """Whether accounts change now: then the figures of their open positions are to be placed anew."""
        self._added = 0
        self._packers: dict[str, RowPacker] = {}

    def prepare(self, row_types: dict[str, int]) -> None:
        """Take the oids that the row types have in this database."""
        self._packers = {
            "applied_request": RowPacker(
                row_types["applied_request"], fixed=("int8", "int2"), variable=("text",)
            ),
            "history_leg": RowPacker(
                row_types["history_leg"],
                fixed=("int8",) * 8 + ("int2",),
                shared=_LEG_SHARED,
                variable=_LEG_VARIABLE,
            ),
            "account_state": RowPacker(
                row_types["account_state"],
                fixed=("int8",) * 7,
                shared=("date", "date", "timestamptz"),
                variable=("text",),
            ),
            "totals_change": sums.totals_packer(row_types["totals_change"]),
            "daily_change": sums.daily_packer(row_types["daily_change"]),
        }

    def only_accounts(self, requests: Sequence[Request]) -> bool:
        """Tell whether the decisions look at accounts alone, beside whether the requests are new."""
        return not any(map(_looks_beside_accounts, requests))

    def reading(self, requests: Sequence[Request]) -> tuple[str, dict[str, Packed]]:
        """Name the statement that reads what the decisions of these requests look at, and its parameters.

        Most batches only touch accounts: the idle branches of the long statement are not free.
        """
        commands = [request.command for request in requests]
        logins = [login for command in commands for login in logins_of(command)]
        params = self.reading_met(logins, [request.request_id for request in requests])
        if not any(map(_looks_further, requests)):
            takes = any(map(_takes_money, commands))
            return "read_batch_and_figures" if takes else "read_batch", params
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
            "symbols": text_array([name for name in map(_symbol, commands) if name is not None]),
        }

    def load(self, rows: Iterable[tuple[Any, ...]], read: BatchRead | None = None) -> BatchRead:
        """Sort the tagged rows of a read into what a book needs."""
        read = BatchRead() if read is None else read
        for row in rows:
            _LOADERS[row[0]](read, row)
        return read

    def reading_met(self, logins: Sequence[int], request_ids: Sequence[str]) -> dict[str, Packed]:
        """Give the parameters of a read of accounts, and of the operations that requests caused."""
        return {"logins": int8_array(logins), "request_ids": text_array(request_ids)}

    def reading_accounts(self, logins: Sequence[int]) -> dict[str, Packed]:
        """Give the parameters of the statement that reads accounts alone."""
        return {"logins": int8_array(logins)}

    def append_params(self, book: Book, before: dict[int, Account], *, table: int = 0) -> dict[str, Packed]:
        """Pack what the booked events of a batch change in the read models."""
        after = changed(book, before)
        totals, daily = self.sums_changed(book, before, after)
        return self.packed(
            applied=applied(book),
            legs=legs(book),
            accounts=states(after, before),
            totals=totals,
            daily=daily,
            table=table,
        )

    def sums_changed(
        self, book: Book, before: dict[int, Account], after: Iterable[Account]
    ) -> tuple[list[Row], list[Row]]:
        """Give what a batch adds to totals and to days."""
        totals, daily = sums.totals_rows(book, before, after), sums.daily_rows(book, before)
        self._added += len(totals) + len(daily)
        return totals, daily

    def packed(
        self,
        *,
        table: int = 0,
        applied: Sequence[Row] = (),
        legs: Sequence[Row] = (),
        accounts: Sequence[Row] = (),
        totals: Sequence[Row] = (),
        daily: Sequence[Row] = (),
    ) -> dict[str, Packed]:
        """Pack rows as the parameters of the statement that appends them."""
        return {
            "applied": self._packers["applied_request"].array(applied),
            "legs": self._packers["history_leg"].array(legs),
            "accounts": self._packers["account_state"].array(accounts),
            "accounts_count": int8(len(accounts)),
            "accounts_table": int8(table),
            "totals": self._packers["totals_change"].array(totals),
            "daily": self._packers["daily_change"].array(daily),
        }

    def rare(self, book: Book) -> list[Statement]:
        """Give the statements that the batch needs beside the one that books it."""
        statements = [*sums.turning(book), *profiles.openings(book.booked)]
        if self._added >= ADDED_MAX:
            statements.append(sums.put_together())
            self._added = 0  # should the batch not be booked, then the next time
        for event in book.booked:
            if not isinstance(event, MoneyMoved):
                statements += definitions.statements(event) + profiles.statements(event)
                statements += profiles.regrouping(event) if self._live else []
            elif event.kind == "reversal" and event.position == event.operation:
                statements.append((_REVERSED, _reversed(event)))
        statements += [(_USED, row) for row in _usage(book)]
        return statements

    async def load_definitions(self, connection: AsyncConnection[Any]) -> Definitions:
        """Read all definitions again, after another process changed one."""
        return definitions.loaded(await (await connection.execute(definitions.ALL)).fetchall())


def row_types(connection: Connection[Any]) -> dict[str, int]:
    """Look up the oids of the row types under the connection's search path."""
    return dict(connection.execute(ROW_TYPES, [list(ROW_TYPE_NAMES)]).fetchall())


def changed(book: Book, before: dict[int, Account]) -> list[Account]:
    """Give the accounts that the batch changed."""
    return [account for login, account in book.accounts.items() if before.get(login) is not account]


def _looks_beside_accounts(request: Request) -> bool:
    """Tell whether a decision looks beyond accounts; that a reference is new, its key holds too."""
    return _takes_money(request.command) or _looks_at_more(request)


def _looks_further(request: Request) -> bool:
    return _looks_at_more(request) or getattr(request.command, "reference", None) is not None


def _looks_at_more(request: Request) -> bool:
    """Tell whether a decision looks at operations, limits or definitions' streams."""
    command = request.command
    return (
        not isinstance(command, Note)
        or (isinstance(command, Correct) and command.corrects is not None)
        or request.caller.access.amount_day_max is not None
    )


def _takes_money(command: Command) -> bool:
    return isinstance(command, _TAKES_MONEY)


_TAKES_MONEY = (Withdraw, Transfer, GiveCredit)


def _symbol(command: Command) -> str | None:
    return command.symbol if isinstance(command, BookDeal | DefineSymbol) else None


def _operations(command: Command) -> list[int]:
    if isinstance(command, Reverse):
        return [command.operation]
    if isinstance(command, Correct) and command.corrects is not None:
        return [command.corrects]
    return []


def _head(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.position = row[1] or 0
    read.definitions_position = row[2] or 0
    read.accounts_table = row[3] or 0
    read.head = row[14]


def _account(read: BatchRead, row: tuple[Any, ...]) -> None:
    _, login, version, balance, credit, before_day, before_month, day, month, digits, enable = row[:11]
    group, currency, grants = row[11:14]
    read.accounts[login] = Account(
        login,
        intern(group),
        intern(currency),
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


def _figures(read: BatchRead, row: tuple[Any, ...]) -> None:
    _, login, orders, unvalued, profit, storage, commission, margin, quoted, fed = row[:10]
    read.figures[login] = Figures(
        orders=orders,
        unvalued=unvalued,
        profit=profit,
        storage=storage,
        commission=commission,
        margin=margin,
        quoted_at=None if quoted is None else instant(quoted),
        fed_at=None if fed is None else instant(fed),
    )


def _symbol_version(read: BatchRead, row: tuple[Any, ...]) -> None:
    read.symbols[row[11]] = row[1]


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
    _figures,
    _symbol_version,
)
_GRANTS = msgspec.json.Decoder(tuple[Grant, ...])


def applied(book: Book) -> list[Row]:
    """Give the requests that caused the booked operations."""
    sizes: dict[int, int] = {}
    for event in book.booked:
        sizes[event.operation] = sizes.get(event.operation, 0) + 1
    return [
        ((event.position, sizes[event.operation]), (), (event.request_id,))
        for event in book.booked
        if event.position == event.operation and event.request_id is not None
    ]


def legs(book: Book) -> list[Row]:
    """Give the rows of history of the booked events."""
    reversals = book.reversals
    return [_leg(event, reversals) for event in book.booked if isinstance(event, MoneyMoved)]


def states(accounts: Iterable[Account], before: Mapping[int, Account | None]) -> list[Row]:
    """Give what accounts hold now, beside the versions that they had before."""
    return [_state(account, before.get(account.login)) for account in accounts]


def _leg(event: MoneyMoved, reversals: Mapping[int, int]) -> Row:
    fixed = (
        event.position,
        event.login,
        event.operation,
        event.amount,
        event.balance_change,
        event.credit_change,
        event.balance,
        event.credit,
        event.digits,
    )
    shared = (
        event.recorded_at,
        event.server_day,
        event.trading_day,
        event.effective_at or event.recorded_at,
        event.corrects,
        reversals.get(event.operation),
        event.peer,
        event.kind,
        event.currency,
        event.group,
        event.operator_id,
        event.key_id,
        event.method,
        ",".join(event.warnings) or None,
    )
    comment = event.comment if event.reason is None else event.reason
    return fixed, shared, (event.request_id, event.reference, comment, _metadata(event))


def _metadata(event: MoneyMoved) -> str | None:
    if event.deal is not None:
        return to_json(published(event.deal, event.digits)).decode()
    return None if event.metadata is None else to_json(event.metadata).decode()


def _state(account: Account, old: Account | None) -> Row:
    grants = account.grants
    fixed = (
        account.login,
        0 if old is None else old.version,
        account.version,
        account.balance,
        account.credit,
        account.balance_before_day,
        account.balance_before_month,
    )
    days = (account.balance_day, account.balance_month)
    if not grants:
        return fixed, (*days, None), (None,)
    soonest = min(grant.expires_at for grant in grants)
    return fixed, (*days, soonest), (to_json(grants).decode(),)


def _usage(book: Book) -> list[Params]:
    day = book.moment.server_day
    return [
        {"key_id": key_id, "server_day": day, "currency": currency, "used": used}
        for (key_id, currency), used in book.used.items()
        if key_id in book.limited
    ]


def _reversed(event: MoneyMoved) -> Params:
    return {"reversal": event.operation, "operation": event.corrects}
