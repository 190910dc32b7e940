"""A client of the ledger's HTTP API: synchronous, typed, exact. It needs this file and msgspec alone.

A command carries its request id. Every try sends the same id with the same body, so that what is asked for is
booked once, however often its answer is lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import replace

Money = Decimal | int | str
"""An amount on its way in: never a float. What comes back is a Decimal with exactly the currency's digits."""

Habit = Literal["x-request-id", "Idempotency-Key"]
"""The header that names a request: a repeat gets a 409 with the first answer, or the first answer itself."""

Rule = tuple[str, str, Money | bool]
"""A rule of a query of accounts: field, operator, value."""

T = TypeVar("T", bound=Struct)


class Patience(Struct, frozen=True, kw_only=True):
    """How long to go on where no definite answer comes: so many tries, none of them begun after `total_s`.

    `sleep` may be the wait of a threading.Event: once that is set, there is no further try.
    """

    tries: int = 10
    total_s: float = 60.0
    answer_s: float = 40.0
    pause_s: float = 0.1
    pause_max_s: float = 5.0
    sleep: Callable[[float], object] = time.sleep


class Client:
    """One caller with a key, on one connection that is kept. For one thread at a time.

    Every method raises a Refused where the ledger says no, and NoAnswer where it has said nothing definite.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        operator: str | None = None,
        habit: Habit = "x-request-id",
        patience: Patience | None = None,
    ) -> None:
        claimed = {} if operator is None else {"x-operator-id": operator}
        self._patience = patience or Patience()
        self._line = _Line(url, {"authorization": f"Bearer {key}"} | claimed, self._patience)
        self._habit = habit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    # Money.

    def book(self, command: Command, *, dry_run: bool = False) -> Operation:
        """Have a command carried out once; give its operation as it was first answered."""
        answer = self._write("POST", command.path, command.body(), command.request_id, _rehearsed(dry_run))
        return _operation(answer.text, repeated=answer.repeated)

    def batch(
        self, commands: Sequence[Command], *, atomic: bool = False, dry_run: bool = False
    ) -> list[Operation | LedgerError]:
        """Have up to 10 000 commands carried out in one call: each for itself, or all or none.

        Gives what each would have got alone. What has no definite answer at the end stands there as NoAnswer.
        """
        if atomic:
            return self._all_or_none(commands, dry_run=dry_run)
        results = self._sent(commands, dry_run=dry_run)
        pace = _Pace(self._patience)
        while (undecided := _undecided(results)) and pace.again():
            try:
                again = _all_after_loss(self._sent([commands[n] for n in undecided], dry_run=dry_run))
            except LedgerError:  # what was decided must not get lost over the rest
                break
            for n, result in zip(undecided, again, strict=True):
                results[n] = result
        return results

    def operation(self, operation_id: str) -> OperationRead:
        """Read an operation that moved money, with its events and what corrects or reverses it."""
        return _read_operation(self._get(f"/balances/operations/{_part(operation_id)}"))

    def request(self, request_id: str) -> OperationRead | None:
        """Read the operation that a money command caused; None where it has caused none so far."""
        try:
            return _read_operation(self._get(f"/requests/{_part(request_id)}"))
        except NotFound as missing:
            if missing.code == "unknown_request":
                return None
            raise

    def history(self, query: HistoryQuery | None = None) -> Iterator[HistoryRow]:
        """Give all rows that a query selects, page by page."""
        page = self.history_page(query)
        yield from page.rows
        while page.next is not None:
            page = self.history_page(replace(query or HistoryQuery(), cursor=page.next, offset=None))
            yield from page.rows

    def history_page(self, query: HistoryQuery | None = None) -> HistoryPage:
        """Give one page of history, with opening, closing and totals where they were asked for."""
        return _decoded(self._get("/balances/history", _given(query or HistoryQuery())), HistoryPage)

    def held_at(
        self, login: int, at: datetime, *, basis: Literal["recorded", "effective"] = "recorded"
    ) -> HeldAt:
        """Give what an account held at an instant."""
        return _decoded(self._get("/balances/asof", {"login": login, "at": at, "basis": basis}), HeldAt)

    # Accounts and groups. A write without a request id gets one made here, before the first try.

    def accounts(self, query: AccountsQuery) -> AccountsPage:
        """Give one page of accounts, and the totals of all that match."""
        page = _decoded(self._ask("POST", "/accounts/query", _given(query)).text, AccountsPage)
        if page.structure[: len(_COLUMNS)] != _COLUMNS:
            raise NoAnswer(_unreadable("the columns of accounts are not those that this client knows"))
        return page

    def user(self, login: int) -> User:
        """Read an account."""
        return _decoded(self._get(f"/users/{login}"), User)

    def open_user(self, fields: UserFields, *, request_id: str | None = None) -> UserWritten:
        """Open an account: the fields need a group, and may leave the login to the ledger."""
        return _written(self._write("POST", "/users", _given(fields), request_id), UserWritten)

    def change_user(self, login: int, fields: UserFields, *, request_id: str | None = None) -> UserWritten:
        """Change the given fields of an account."""
        return _written(self._write("PATCH", f"/users/{login}", _given(fields), request_id), UserWritten)

    def disable_user(self, login: int, *, request_id: str | None = None) -> UserWritten:
        """Suspend an account."""
        return _written(self._write("POST", f"/users/{login}/disable", None, request_id), UserWritten)

    def enable_user(self, login: int, *, request_id: str | None = None) -> UserWritten:
        """End an account's suspension."""
        return _written(self._write("POST", f"/users/{login}/enable", None, request_id), UserWritten)

    def groups(self) -> tuple[Group, ...]:
        """List the groups that the key selects."""
        return _decoded(self._get("/groups"), _Groups).groups

    def define_group(
        self, group: str, definition: GroupFields, *, request_id: str | None = None
    ) -> GroupWritten:
        """Define a group, whole."""
        answer = self._write("PUT", f"/groups/{_part(group)}", _given(definition), request_id)
        return _written(answer, GroupWritten)

    def server(self) -> Server:
        """Read the ledger's clock and book currency."""
        return _decoded(self._get("/server"), Server)

    def define_server(self, fields: ServerFields, *, request_id: str | None = None) -> ServerWritten:
        """Set them."""
        return _written(self._write("PUT", "/server", _given(fields), request_id), ServerWritten)

    # Reports and audit.

    def daily(self, day: date | None = None, *, group_filter: str = "*") -> Daily:
        """Give a server day by group and currency: opening, movements by kind, closing."""
        return _decoded(self._get("/reports/daily", {"day": day, "groupFilter": group_filter}), Daily)

    def events(self, *, after: int = 0, limit: int = 1_000) -> Iterator[LoggedEvent]:
        """Give every event of the log after a position, in order, up to what is the last one then."""
        page = self.events_page(after=after, limit=limit)
        while page.next != after:
            yield from page.events
            after = page.next
            page = self.events_page(after=after, limit=limit)

    def follow(self, *, after: int = 0, wait_s: int = 25) -> Iterator[LoggedEvent]:
        """Give every event of the log after a position, in order, for ever, as they are booked."""
        while True:
            page = self.events_page(after=after, limit=1_000, wait_s=wait_s)
            yield from page.events
            after = page.next

    def events_page(self, *, after: int = 0, limit: int = 100, wait_s: int = 0) -> LogPage:
        """Give events after a position; `next` is where to go on, and stays the same where nothing is new."""
        query = {"after": after, "limit": limit, "wait": wait_s}
        return _decoded(self._get("/audit/events", query), LogPage)

    def _all_or_none(self, commands: Sequence[Command], *, dry_run: bool) -> list[Operation | LedgerError]:
        try:
            return self._sent(commands, atomic=True, dry_run=dry_run)
        except _Repeated:  # it holds the first operation alone; a rehearsal of each finds them all
            return self.batch(commands, dry_run=True)

    def _sent(
        self, commands: Sequence[Command], *, atomic: bool = False, dry_run: bool
    ) -> list[Operation | LedgerError]:
        body = {"operations": [command.item() for command in commands], "atomic": atomic}
        answer = self._ask("POST", "/balances/batch", body, query=_rehearsed(dry_run))
        if answer.repeated:
            raise _Repeated
        results = [_result(item) for item in _decoded(answer.text, _Results).results]
        return _all_after_loss(results) if answer.after_loss else results

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        return self._ask("GET", path, query=query).text

    def _write(
        self,
        method: str,
        path: str,
        body: object,
        request_id: str | None,
        query: Mapping[str, Any] | None = None,
    ) -> _Settled:
        headers: dict[str, str] = {self._habit: request_id or f"client-{uuid4().hex}"}
        return self._ask(method, path, body, headers=headers, query=query)

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> _Settled:
        """Ask until there is a definite answer; raise where it is no, or where there is none."""
        question = _Question(
            method=method,
            target=path + _in_address(query or {}),
            body=None if body is None else _encoder.encode(body),
            headers=dict(headers or {}),
        )
        pace = _Pace(self._patience)
        while not (answer := self._line.exchange(question)).definite:
            if not pace.again(answer.retry_after_s):
                raise NoAnswer(_problem(answer, question.request_id))
        try:
            return replace(_settled(answer), after_loss=pace.tried > 0)
        except Refused as refused:
            if pace.tried and method != "GET":
                raise _after_loss(refused) from None
            raise


# Commands.


class Command(Struct, frozen=True, kw_only=True, rename="camel"):
    """What moves money. Its request id names it for ever: choose it first, keep it with your own record."""

    OP: ClassVar[str] = ""
    request_id: str

    @property
    def path(self) -> str:
        """Where it goes when it goes alone."""
        return f"/balances/{self.OP}"

    def body(self) -> dict[str, Any]:
        """Give its body when it goes alone."""
        return {name: value for name, value in _given(self).items() if name != "requestId"}

    def item(self) -> dict[str, Any]:
        """Give its form in a batch."""
        return {"op": self.OP} | _given(self)


class Noted(Command, frozen=True, kw_only=True):
    """What most of them may carry along. With a method, a reference is booked once, too."""

    comment: str | None = None
    reference: str | None = None
    method: str | None = None
    effective_at: datetime | None = None
    metadata: dict[str, Any] | None = None


class Deposit(Noted, frozen=True, kw_only=True):
    """Put client money in."""

    OP: ClassVar[str] = "deposit"
    login: int
    amount: Money


class Withdraw(Noted, frozen=True, kw_only=True):
    """Take client money out."""

    OP: ClassVar[str] = "withdraw"
    login: int
    amount: Money


class Credit(Noted, frozen=True, kw_only=True):
    """Give bonus money, or take it out: the amount is signed."""

    OP: ClassVar[str] = "credit"
    login: int
    amount: Money
    expires_at: datetime | None = None


class Transfer(Noted, frozen=True, kw_only=True):
    """Move balance between two accounts."""

    OP: ClassVar[str] = "transfer"
    source: int = field(name="from")
    target: int = field(name="to")
    amount: Money


class Correction(Command, frozen=True, kw_only=True):
    """Put a mistake right: signed changes of balance, credit or both."""

    OP: ClassVar[str] = "correction"
    login: int
    reason: str
    balance: Money | None = None
    credit: Money | None = None
    corrects: str | None = None
    effective_at: datetime | None = None


class Reverse(Command, frozen=True, kw_only=True):
    """Book the opposite of an operation."""

    OP: ClassVar[str] = "reverse"
    operation_id: str
    reason: str

    @property
    def path(self) -> str:
        """The operation stands in the path."""
        return f"/balances/operations/{_part(self.operation_id)}/reverse"

    def body(self) -> dict[str, Any]:
        """Give the reason alone."""
        return {"reason": self.reason}


class Adjust(Noted, frozen=True, kw_only=True):
    """Book one of the platforms' other kinds: charge, commission, agent, rebate, opening and so on."""

    OP: ClassVar[str] = "adjust"
    login: int
    kind: str
    amount: Money | None = None
    credit: Money | None = None


# Queries and definitions. What is None is left out.


class HistoryQuery(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which rows of history: `since` <= t < `until`, or server days with both ends."""

    login: int | None = None
    group_filter: str | None = None
    kind: str | None = None
    since: datetime | None = field(default=None, name="from")
    until: datetime | None = field(default=None, name="to")
    from_day: date | None = None
    to_day: date | None = None
    request_id: str | None = None
    reference: str | None = None
    operator_id: str | None = None
    booked_after: date | None = None
    min_amount: Money | None = None
    max_amount: Money | None = None
    basis: Literal["recorded", "effective"] | None = None
    order: Literal["asc", "desc"] | None = None
    limit: int | None = None
    cursor: str | None = None
    offset: int | None = None
    totals: bool | None = None


class AccountsQuery(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which accounts, in which order."""

    group_filter: str = "*"
    limit: int = 100
    offset: int = 0
    where: Sequence[Rule] | None = None
    where_not: Sequence[tuple[str, Money | bool]] | None = None
    where_in: Sequence[tuple[str, Sequence[Money]]] | None = None
    where_not_in: Sequence[tuple[str, Sequence[Money]]] | None = None
    where_between: Sequence[tuple[str, tuple[Money, Money]]] | None = None
    where_not_between: Sequence[tuple[str, tuple[Money, Money]]] | None = None
    order_by: tuple[str, Literal["ASC", "DESC"]] | None = None
    totals_currency: str | None = None


class UserFields(Struct, frozen=True, kw_only=True):
    """The fields of an account that callers may set."""

    login: int | None = None
    group: str | None = None
    name: str | None = None
    leverage: int | None = None
    email: str | None = None
    country: str | None = None
    phone: str | None = None
    address: str | None = None
    city: str | None = None
    zipcode: str | None = None
    comment: str | None = None
    magic: int | None = None
    customer_id: int | None = None
    enable: bool | None = None
    enable_read_only: bool | None = None
    enable_change_password: bool | None = None
    regdate: int | None = None


class GroupFields(Struct, frozen=True, kw_only=True, rename="camel"):
    """A group's definition, whole: what is left out goes back to its default."""

    currency: str
    digits: int | None = None
    leverage: int | None = None
    equity_mode: Literal["gross", "net"] | None = None
    withdraw_policy: Literal["protect_credit", "mt"] | None = None
    refuse_when_stale: bool | None = None
    margin_call: Money | None = None
    stop_out: Money | None = None
    max_operation: Money | None = None
    coverage: bool | None = None
    permissions: dict[str, Any] | None = None


class ServerFields(Struct, frozen=True, kw_only=True, rename="camel"):
    """The ledger's clock and its book currency."""

    timezone: str
    day_end: str
    overnight_days: Literal["all", "mon-fri"]
    book_currency: str


# Answers. Fields that a newer service adds are passed over.


class Told(Struct, frozen=True, kw_only=True, rename="camel"):
    """What every operation tells. Of a dry run `operation_id` and `position` are None."""

    operation_id: str | None
    status: str
    kind: str
    amount: Decimal
    currency: str
    request_id: str
    reference: str | None
    position: int | None
    server_day: date
    recorded_at: datetime
    effective_at: datetime
    corrects: str | None = None


class Leg(Told, frozen=True, kw_only=True):
    """What an operation did to one account."""

    login: int
    new_balance: Decimal
    new_credit: Decimal
    balance_change: Decimal
    credit_change: Decimal
    expires_at: datetime | None = None
    warnings: tuple[str, ...] = ()
    stale: bool = False


class Operation(Told, frozen=True, kw_only=True):
    """An operation as it was first answered: one leg, of a transfer two.

    `repeated` is true where this answer is of an earlier try, or of an earlier run.
    """

    legs: tuple[Leg, ...] = ()
    repeated: bool = False

    @property
    def leg(self) -> Leg:
        """The only leg; a ValueError where there are two."""
        [leg] = self.legs
        return leg

    @property
    def new_balance(self) -> Decimal:
        """What the one account holds after it."""
        return self.leg.new_balance

    @property
    def new_credit(self) -> Decimal:
        """Which credit the one account has after it."""
        return self.leg.new_credit

    @property
    def balance_change(self) -> Decimal:
        """What it added to the one account."""
        return self.leg.balance_change


class OperationRead(Operation, frozen=True, kw_only=True):
    """An operation as it reads later; events as they are stored, amounts in them in minor units."""

    events: tuple[Raw, ...]
    corrected_by: tuple[str, ...]
    reversed_by: str | None


class HistoryRow(Leg, frozen=True, kw_only=True):
    """One leg, and what its account held around it."""

    group: str
    trading_day: date
    balance_before: Decimal
    balance_after: Decimal
    credit_before: Decimal
    credit_after: Decimal
    comment: str | None
    method: str | None
    operator_id: str | None
    key_id: str | None
    reversed_by: str | None
    peer: int | None
    metadata: dict[str, Any] | None


class Held(Struct, frozen=True, kw_only=True):
    """What an account held, and the last position that counts."""

    balance: Decimal
    credit: Decimal
    position: int | None


class HeldAt(Held, frozen=True, kw_only=True):
    """What an account held at an instant."""

    login: int
    currency: str
    at: datetime


class KindTotal(Struct, frozen=True, kw_only=True, rename="camel"):
    """What operations of one kind moved."""

    count: int
    balance_change: Decimal
    credit_change: Decimal


class HistoryPage(Struct, frozen=True, kw_only=True):
    """A page of history. Totals are by currency, then kind."""

    rows: tuple[HistoryRow, ...]
    next: str | None
    opening: Held | None
    closing: Held | None
    count: int | None = None
    totals: dict[str, dict[str, KindTotal]] | None = None


class Account(Struct, frozen=True):
    """The 31 published fields of an account, in their order. Flags are 0 or 1."""

    login: int
    enable: int
    enable_read_only: int
    enable_change_password: int
    leverage: int
    currency: str
    group: str
    email: str
    country: str
    phone: str
    comment: str
    address: str
    city: str
    zipcode: str
    name: str
    regdate: int
    prevbalance: Decimal
    prevmonthbalance: Decimal
    balance: Decimal
    credit: Decimal
    margin: Decimal
    margin_free: Decimal
    margin_level: Decimal
    equity: Decimal
    profit: Decimal
    net_profit: Decimal
    storage: Decimal
    commission: Decimal
    online: int
    magic: int
    customer_id: int


class AccountRow(Account, frozen=True, array_like=True):
    """An account in a list: its fields by place."""


class User(Account, frozen=True, kw_only=True):
    """An account by name, with what can be withdrawn."""

    withdrawable: Decimal
    digits: int
    stale: bool
    version: int
    warnings: tuple[str, ...] = ()


class UserWritten(User, frozen=True, kw_only=True):
    """An account as an operation left it."""

    operation_id: str = field(name="operationId")
    request_id: str = field(name="requestId")
    repeated: bool = False


class Totals(Struct, frozen=True, kw_only=True):
    """The exact totals of the matched accounts of one currency."""

    count: int
    balance: Decimal
    credit: Decimal
    profit: Decimal
    net_profit: Decimal
    storage: Decimal
    commission: Decimal
    margin: Decimal
    margin_free: Decimal
    equity: Decimal
    prevbalance: Decimal
    prevmonthbalance: Decimal


class Rate(Struct, frozen=True, kw_only=True, rename="camel"):
    """What totals were converted by."""

    source: str = field(name="from")
    target: str = field(name="to")
    rate: Decimal
    symbols: tuple[str, ...]
    quoted_at: datetime | None


class AccountsPage(Struct, frozen=True, kw_only=True):
    """A page of accounts, and the totals of all that match; `total_*` are None where a rate is missing."""

    structure: tuple[str, ...]
    rows: tuple[AccountRow, ...]
    count: int
    total_balance: Decimal | None
    total_credit: Decimal | None
    total_profit: Decimal | None
    total_net_profit: Decimal | None
    total_storage: Decimal | None
    total_commission: Decimal | None
    total_margin: Decimal | None
    total_margin_free: Decimal | None
    total_equity: Decimal | None
    total_prevbalance: Decimal | None
    total_prevmonthbalance: Decimal | None
    totals_currency: str
    totals_by_currency: dict[str, Totals]
    rates: tuple[Rate, ...]
    position: int
    as_of: datetime = field(name="asOf")
    stale: bool
    warnings: tuple[str, ...]


class Group(Struct, frozen=True, kw_only=True, rename="camel"):
    """A group's definition."""

    group: str
    currency: str
    digits: int
    leverage: int
    equity_mode: str
    withdraw_policy: str
    refuse_when_stale: bool
    margin_call: Decimal | None
    stop_out: Decimal | None
    max_operation: Decimal | None
    coverage: bool
    permissions: dict[str, Any]


class GroupWritten(Group, frozen=True, kw_only=True):
    """A group as an operation defined it."""

    operation_id: str
    request_id: str
    repeated: bool = False


class Server(ServerFields, frozen=True, kw_only=True):
    """The ledger's clock, its book currency, and what time it is there."""

    simulated: bool
    simulated_from: datetime | None
    ledger: str
    now: datetime
    server_day: date
    trading_day: date


class ServerWritten(ServerFields, frozen=True, kw_only=True):
    """The clock and book currency as an operation set them."""

    operation_id: str
    request_id: str
    repeated: bool = False


class DayColumn(Struct, frozen=True, kw_only=True):
    """Opening and movements by kind are the closing."""

    opening: Decimal
    movements: dict[str, Decimal]
    closing: Decimal


class DayRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A server day of one group, or of one currency."""

    group: str | None = None
    currency: str
    operations: int
    active_accounts: int
    balance: DayColumn
    credit: DayColumn


class Daily(Struct, frozen=True, kw_only=True, rename="camel"):
    """One server day."""

    day: date
    closed: bool
    rows: tuple[DayRow, ...]
    totals: tuple[DayRow, ...]
    as_of: datetime


class LoggedEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of the log. `data` is its stored bytes; amounts in it are in minor units."""

    position: int
    type: str
    operation_id: str
    request_id: str | None
    operator_id: str | None
    key_id: str | None
    login: int | None
    recorded_at: datetime
    leaf_hash: str | None
    blanked: tuple[str, ...] = ()
    data: Raw


class LogPage(Struct, frozen=True, kw_only=True):
    """Events in order, and the position to go on after."""

    events: tuple[LoggedEvent, ...]
    next: int


# Errors.


class Problem(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the service said of a refusal. Status 0: it said nothing."""

    title: str
    status: int
    code: str
    detail: str
    request_id: str | None = None
    field: str | None = None
    available: Decimal | None = None
    stale: bool = False
    fields: tuple[str, ...] = ()
    index: int | None = None
    operation: Raw = Raw()
    operation_id: str | None = None


class LedgerError(Exception):
    """What was asked for was not answered with what it asks for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.detail = problem.detail
        self.field = problem.field
        self.request_id = problem.request_id


class NoAnswer(LedgerError):
    """No definite answer came. A write may have been booked, or may yet be: send the same again."""


class Refused(LedgerError):
    """The ledger says no: this call has booked nothing."""

    @property
    def operation(self) -> Operation | None:
        """The earlier operation that is the reason, where it moved money and the key may see it."""
        if not (self.problem.operation_id or "").startswith("bal_"):
            return None
        return _operation(self.problem.operation, repeated=True)


class ValidationError(Refused):
    """Change the request."""


class Unauthorized(Refused):
    """Use another key."""


class PermissionDenied(Refused):
    """Ask for more rights, or choose another account or amount."""


class NotFound(Refused):
    """Look at the path."""


class TooLarge(Refused):
    """Send less."""


class AlreadyApplied(Refused):
    """It was done before, by another request: `operation` says by which."""


_BY_TITLE: Final = {
    kind.__name__: kind
    for kind in (ValidationError, Unauthorized, PermissionDenied, NotFound, TooLarge, AlreadyApplied)
}


# How it travels.


IDLE_S: Final = 2.0
"""An older connection is opened anew: the service may be closing it just now."""

_UNDECIDED: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_NO_ANSWER: Final = "no_answer"
_UNREADABLE: Final = "unreadable"


class _Question(Struct, frozen=True, kw_only=True):
    """A request as it is sent, every time."""

    method: str
    target: str
    body: bytes | None
    headers: dict[str, str]

    @property
    def request_id(self) -> str | None:
        """The id that it goes under."""
        return next(iter(self.headers.values()), None)


class _Answer(Struct, frozen=True):
    """What came back; status 0 where nothing did, and then the text says why."""

    status: int
    text: bytes
    retry_after_s: float = 0.0
    replayed: bool = False

    @property
    def definite(self) -> bool:
        """Whether it says yes or no. Behind a gateway also errors of its own may come."""
        in_order = HTTPStatus.OK <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return in_order and self.status not in _UNDECIDED


class _Settled(Struct, frozen=True):
    """What a request has come to."""

    text: bytes | Raw
    repeated: bool
    after_loss: bool = False


class _Repeated(Exception):
    """A whole batch was applied before."""


class _Pace:
    """The pauses between tries: each twice as long as the one before, less some chance."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._until = time.monotonic() + patience.total_s
        self.tried = 0
        """How many tries have come to nothing."""

    def again(self, at_least_s: float = 0.0) -> bool:
        """Wait for the next try; say whether there is one."""
        self.tried += 1
        pause = max(self._pause(), at_least_s)
        if self.tried >= self._patience.tries or time.monotonic() + pause > self._until:
            return False
        return not self._patience.sleep(pause)

    def _pause(self) -> float:
        longest = min(self._patience.pause_s * 2.0 ** (self.tried - 1), self._patience.pause_max_s)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that callers do not come back together


class _Line:
    """A connection that is opened when there is something to send, and kept."""

    def __init__(self, url: str, headers: Mapping[str, str], patience: Patience) -> None:
        address = urlsplit(url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ValueError(f"an address begins with http:// or https://, as {url!r} does not")
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self._connection = kind(address.hostname, address.port, timeout=patience.answer_s)
        self._base = address.path.rstrip("/")
        self._headers = {name: value.encode() for name, value in headers.items()}
        self._used_at = 0.0

    def exchange(self, question: _Question) -> _Answer:
        """Send a question and read its answer, one of status 0 where the way there or back fails."""
        try:
            return self._exchanged(question)
        except (OSError, HTTPException) as error:
            self.close()
            return _Answer(0, f"{type(error).__name__}: {error}".encode())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _exchanged(self, question: _Question) -> _Answer:
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()
        headers = self._headers | {name: value.encode() for name, value in question.headers.items()}
        if question.body is not None:
            headers["content-type"] = b"application/json"
        self._connection.request(question.method, self._base + question.target, question.body, headers)
        response = self._connection.getresponse()
        text = response.read()
        self._used_at = time.monotonic()
        return _Answer(
            response.status,
            text,
            _seconds(response.getheader("retry-after", "")),
            response.getheader("idempotent-replayed") == "true",
        )


def _settled(answer: _Answer) -> _Settled:
    """Give what a definite answer brings; raise where it is no."""
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return _Settled(answer.text, answer.replayed)
    problem = _problem(answer, None)
    if problem.code == "request_applied" and bytes(problem.operation):
        return _Settled(problem.operation, repeated=True)
    raise _BY_TITLE.get(problem.title, Refused)(problem)


def _after_loss(error: LedgerError) -> LedgerError:
    """Give what a refusal means after a try without an answer, which may have been booked.

    What the ledger or a gateway says before it looks for the request id tells nothing of that try.
    """
    early = isinstance(error, Unauthorized | PermissionDenied | NotFound)
    return NoAnswer(error.problem) if early or error.code == _UNREADABLE else error


def _all_after_loss(results: Sequence[Operation | LedgerError]) -> list[Operation | LedgerError]:
    return [_after_loss(result) if isinstance(result, LedgerError) else result for result in results]


def _problem(answer: _Answer, request_id: str | None) -> Problem:
    """Give what an answer says of itself; where it is none of the service's, say so."""
    try:
        problem: Problem = _decoder(Problem).decode(answer.text)
    except msgspec.DecodeError:
        code = _UNREADABLE if answer.status else _NO_ANSWER
        detail = answer.text[:200].decode(errors="replace")
        return Problem(title="", status=answer.status, code=code, detail=detail, request_id=request_id)
    return problem


def _unreadable(detail: str) -> Problem:
    return Problem(title="", status=0, code=_UNREADABLE, detail=detail)


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0


# From structs to JSON, and back.

_COLUMNS: Final = Account.__struct_fields__
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class _Groups(Struct, frozen=True):
    groups: tuple[Group, ...]


class _Results(Struct, frozen=True):
    results: tuple[Raw, ...]


class _Status(Struct, frozen=True, rename="camel"):
    http_status: int


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, float_hook=Decimal)


def _decoded(text: bytes | Raw, kind: type[T]) -> T:
    try:
        found: T = _decoder(kind).decode(text)
    except msgspec.DecodeError as error:
        raise NoAnswer(_unreadable(f"the answer is not as this client knows it: {error}")) from error
    return found


def _operation(text: bytes | Raw, *, repeated: bool = False) -> Operation:
    told = _decoded(text, Operation)
    return replace(told, legs=told.legs or (_decoded(text, Leg),), repeated=repeated)


def _read_operation(text: bytes) -> OperationRead:
    told = _decoded(text, OperationRead)
    return replace(told, legs=told.legs or (_decoded(text, Leg),))


W = TypeVar("W", UserWritten, GroupWritten, ServerWritten)


def _written(answer: _Settled, kind: type[W]) -> W:
    return replace(_decoded(answer.text, kind), repeated=answer.repeated)


def _result(item: Raw) -> Operation | LedgerError:
    """Give what an item of a batch would have got alone."""
    answer = _Answer(_decoded(item, _Status).http_status, bytes(item))
    if not answer.definite:
        return NoAnswer(_problem(answer, None))
    try:
        settled = _settled(answer)
    except Refused as refused:
        return refused
    return _operation(settled.text, repeated=settled.repeated)


def _undecided(results: Sequence[Operation | LedgerError]) -> list[int]:
    return [number for number, result in enumerate(results) if isinstance(result, NoAnswer)]


def _given(fields: Struct) -> dict[str, Any]:
    """Give what is not None, by the names of the wire."""
    names = zip(fields.__struct_encode_fields__, fields.__struct_fields__, strict=True)
    values = ((name, getattr(fields, attribute)) for name, attribute in names)
    return {name: _exact(value) for name, value in values if value is not None}


def _exact(value: Any) -> Any:
    """Write a Decimal in plain digits, 1E+3 as 1000; let no float through."""
    if isinstance(value, float):
        raise TypeError("an amount is a Decimal, a whole number or a text, never a float")
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is no amount")
        return Raw(f"{value:f}".encode())
    if isinstance(value, list | tuple):
        return [_exact(part) for part in value]
    return value


def _rehearsed(dry_run: bool) -> dict[str, bool]:
    return {"dryRun": True} if dry_run else {}


def _in_address(query: Mapping[str, Any]) -> str:
    given = {name: _in_query(value) for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _in_query(value: Any) -> str:
    return value if isinstance(value, str) else _encoder.encode(value).decode().strip('"')


def _part(name: str) -> str:
    return quote(name, safe="")
