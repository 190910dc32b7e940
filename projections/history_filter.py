"""Which rows of history a caller asks for: the filter, what it stands for in SQL, and its cursors.

Rows stand in the order of a key: their time on the basis, then their position. Every bound (instants,
server days, a cursor, the end of a stream) becomes an end of one half-open span of keys.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.clock import ServerClock
from ledger.commands import EVERYTHING, Access
from ledger.masks import ALL, Mask
from ledger.money import DIGITS_MAX, Amount
from ledger.refusals import ValidationError

Basis = Literal["recorded", "effective"]
Order = Literal["asc", "desc"]
Key = tuple[datetime, int]

POSITION_MAX: Final = 2**63 - 1
FIRST: Final = (datetime.min.replace(tzinfo=UTC), 0)
LAST: Final = (datetime.max.replace(tzinfo=UTC), POSITION_MAX)

_GROUPS = "SELECT group_name FROM groups"
_FIRST_OF_DAY = 'SELECT recorded_at, "position" FROM days WHERE server_day >= %s ORDER BY server_day LIMIT 1'
_REQUEST = 'SELECT "position", size FROM requests WHERE request_id = %s'


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; None and () mean anything.

    `since` <= time < `until` on the basis; the server days are as booked, both ends inclusive. A group
    is that at booking. Amounts compare the larger absolute change, in the account's own currency. What was
    `booked_after` a server day is what was booked on a later one with an effective time of its own.
    """

    login: int | None = None
    group_mask: Mask | None = None
    kinds: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    from_day: date | None = None
    to_day: date | None = None
    request_id: str | None = None
    reference: str | None = None
    operator_id: str | None = None
    booked_after: date | None = None
    amount_min: Amount | None = None
    amount_max: Amount | None = None
    basis: Basis = "recorded"
    access: Access = EVERYTHING

    @property
    def timed(self) -> bool:
        """Whether any bound in time is given."""
        return any(bound is not None for bound in (self.since, self.until, self.from_day, self.to_day))

    @property
    def one_account(self) -> bool:
        """Whether only time limits the rows of one login, so that they lead from balance to balance."""
        others = (self.group_mask, self.request_id, self.reference, self.operator_id, self.booked_after)
        amounts = (self.amount_min, self.amount_max)
        return (
            self.login is not None
            and not self.kinds
            and not any(other is not None for other in (*others, *amounts))
        )


class Span(msgspec.Struct, frozen=True):
    """The keys from `lower` on and before `upper`."""

    lower: Key = FIRST
    upper: Key = LAST

    def within(self, *, lower: Key = FIRST, upper: Key = LAST) -> Span:
        """Give the part that is in both spans."""
        return Span(max(self.lower, lower), min(self.upper, upper))

    def past(self, key: Key, order: Order) -> Span:
        """Give what comes after a key in this order."""
        at, position = key
        return self.within(upper=key) if order == "desc" else self.within(lower=(at, position + 1))


class Scope(msgspec.Struct, frozen=True):
    """A filter looked up: the names of its conditions, their parameters, its span of keys."""

    basis: Basis
    conditions: tuple[str, ...]
    values: dict[str, Any]
    span: Span

    @property
    def empty(self) -> bool:
        """Whether nothing can match, so that nobody needs to look."""
        return self.span.lower >= self.span.upper or any(value == [] for value in self.values.values())

    @property
    def params(self) -> dict[str, Any]:
        """The values of all parameters."""
        (lower_at, lower), (upper_at, upper) = self.span.lower, self.span.upper
        ends = {"lower_at": lower_at, "lower": Int8(lower), "upper_at": upper_at, "upper": Int8(upper)}
        return self.values | ends

    def within(self, *, lower: Key = FIRST, upper: Key = LAST) -> Scope:
        """Narrow the span."""
        return msgspec.structs.replace(self, span=self.span.within(lower=lower, upper=upper))

    def past(self, key: Key, order: Order) -> Scope:
        """Go on after a key."""
        return msgspec.structs.replace(self, span=self.span.past(key, order))


CONDITIONS: Final = {
    "login": "h.login = (SELECT %(login)s)",
    "logins": "h.login = ANY((SELECT %(logins)s)::bigint[])",
    "reached": "EXISTS (SELECT FROM accounts a WHERE a.login = h.login AND a.group_name = ANY(%(reached)s))",
    "groups": "h.group_name = ANY(%(groups)s)",
    "kinds": "h.kind = ANY(%(kinds)s)",
    "positions": 'h."position" = ANY(%(positions)s)',
    "reference": "h.reference = %(reference)s",
    "operator_id": "h.operator_id = %(operator_id)s",
    "booked_after": "h.effective_at < h.recorded_at AND h.server_day > %(booked_after)s",
    "amount_min": "greatest(abs(h.balance_change), abs(h.credit_change)) >= (%(amount_min)s)[h.digits + 1]",
    "amount_max": "greatest(abs(h.balance_change), abs(h.credit_change)) <= (%(amount_max)s)[h.digits + 1]",
    "to_day": "h.server_day <= %(to_day)s",
    "recorded": (
        '(h.recorded_at, h."position") >= (%(lower_at)s, %(lower)s)'
        ' AND (h.recorded_at, h."position") < (%(upper_at)s, %(upper)s)'
    ),
    "effective": (
        "h.recorded_at >= %(lower_at)s AND"  # nothing is effective after it was recorded: this has an index
        ' (h.effective_at, h."position") >= (%(lower_at)s, %(lower)s)'
        ' AND (h.effective_at, h."position") < (%(upper_at)s, %(upper)s)'
    ),
}
"""The conditions of SQL, by name; `h` is history.

Logins stand in subqueries to keep the planner from knowing them: where it knows that an account has many
rows it walks the index by time to find them, and an account that has been quiet since is found last.
"""


async def resolve(connection: AsyncConnection[Any], wanted: Filter) -> Scope:
    """Look up what the words of a filter stand for: group names, days, a request's positions."""
    values = _plain(wanted) | await _named(connection, wanted)
    if wanted.request_id is not None:
        values["positions"] = await _positions(connection, wanted.request_id)
    days = await _days(connection, wanted)
    if wanted.to_day is not None and days.upper == LAST:
        # The next day may begin between this look-up and the page: its rows are not asked for.
        values["to_day"] = wanted.to_day
    span = days.within(lower=_from(wanted.since, FIRST), upper=_from(wanted.until, LAST))
    return Scope(wanted.basis, tuple(name for name in CONDITIONS if name in values), values, span)


def by_instants(wanted: Filter, clock: ServerClock) -> Filter:
    """Put instants in the place of server days: those of the effective time under the present clock."""
    since = None if wanted.from_day is None else clock.open_of(wanted.from_day)
    until = None if wanted.to_day is None else clock.close_of(wanted.to_day)
    return msgspec.structs.replace(
        wanted,
        since=max(filter(None, (wanted.since, since)), default=None),
        until=min(filter(None, (wanted.until, until)), default=None),
        from_day=None,
        to_day=None,
    )


def write_cursor(key: Key, wanted: Filter, order: Order) -> str:
    """Write where a page ended, so that only the same question goes on from there."""
    at, position = key
    packed = _CURSOR.pack(_digest(wanted, order), _microseconds(at), position)
    return urlsafe_b64encode(packed).decode()


def read_cursor(text: str, wanted: Filter, order: Order) -> Key:
    """Read where a page ended; ValidationError `bad_cursor` when it was the page of another question."""
    try:
        digest, microseconds, position = _CURSOR.unpack(urlsafe_b64decode(text.encode("ascii")))
        key = (_EPOCH + microseconds * _MICROSECOND, position)
    except (ValueError, OverflowError, struct.error):
        raise _bad_cursor() from None
    # Decoding skips what is not of the alphabet: only the text as it was written is a cursor.
    known = digest == _digest(wanted, order) and 0 < position < POSITION_MAX
    if not known or write_cursor(key, wanted, order) != text:
        raise _bad_cursor()
    return key


_CURSOR: Final = struct.Struct(">8sqq")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _bad_cursor() -> ValidationError:
    detail = "cursor must be the next of a page with the same filters, basis and order"
    return ValidationError("bad_cursor", detail, field="cursor")


def _digest(wanted: Filter, order: Order) -> bytes:
    """Tell questions apart. Access is left out: it holds anyway, and a key may be rotated between pages."""
    amounts = [
        None if amount is None else amount.normalized() for amount in (wanted.amount_min, wanted.amount_max)
    ]
    times = [None if at is None else _microseconds(at) for at in (wanted.since, wanted.until)]
    mask = None if wanted.group_mask is None else wanted.group_mask.text
    days = [wanted.from_day, wanted.to_day, wanted.booked_after]
    texts = [wanted.request_id, wanted.reference, wanted.operator_id]
    question = [
        wanted.basis,
        order,
        wanted.login,
        mask,
        sorted(set(wanted.kinds)),
        times,
        days,
        texts,
        amounts,
    ]
    return blake2b(msgspec.json.encode(question), digest_size=8).digest()


def _plain(wanted: Filter) -> dict[str, Any]:
    """Give the parameters that need no looking up."""
    seen = wanted.access.logins
    if wanted.login is not None and seen is not None:
        seen = None if wanted.login in seen else frozenset()
    values = {
        "login": None if wanted.login is None else Int8(wanted.login),
        "logins": None if seen is None else [Int8(login) for login in sorted(seen)],
        "kinds": list(wanted.kinds) or None,
        "reference": wanted.reference,
        "operator_id": wanted.operator_id,
        "booked_after": wanted.booked_after,
        "amount_min": None if wanted.amount_min is None else _at_least(wanted.amount_min),
        "amount_max": None if wanted.amount_max is None else _at_most(wanted.amount_max),
    }
    return {name: value for name, value in values.items() if value is not None}


def _at_least(amount: Amount) -> list[Int8]:
    """Give the least minor units that are no less than the amount, for currencies of 0, 1, 2... digits."""
    return [Int8(-(-amount.units * 10**digits // 10**amount.digits)) for digits in range(DIGITS_MAX + 1)]


def _at_most(amount: Amount) -> list[Int8]:
    """Give the most minor units that are no more than the amount, for currencies of 0, 1, 2... digits."""
    return [Int8(amount.units * 10**digits // 10**amount.digits) for digits in range(DIGITS_MAX + 1)]


async def _named(connection: AsyncConnection[Any], wanted: Filter) -> dict[str, Any]:
    """Give the names of the groups that the masks select; a mask that selects all costs nothing."""
    masks = {"groups": wanted.group_mask, "reached": wanted.access.mask}
    limiting = {name: mask for name, mask in masks.items() if mask is not None and not _selects_all(mask)}
    if not limiting:
        return {}
    names = [name for (name,) in await (await connection.execute(_GROUPS)).fetchall()]
    return {key: [name for name in names if mask.selects(name)] for key, mask in limiting.items()}


def _selects_all(mask: Mask) -> bool:
    return (mask.included, mask.excluded) == (ALL.included, ALL.excluded)


async def _positions(connection: AsyncConnection[Any], request_id: str) -> list[Int8]:
    found = await (await connection.execute(_REQUEST, [request_id])).fetchone()
    if found is None:
        return []
    position, size = found
    return [Int8(number) for number in range(position, position + size)]


def _from(instant: datetime | None, otherwise: Key) -> Key:
    """Give the key of the first row that an instant may have."""
    return otherwise if instant is None else (instant, 0)


async def _days(connection: AsyncConnection[Any], wanted: Filter) -> Span:
    """Give the keys of the server days. Days never go back, so they are a range of positions."""
    if wanted.basis == "effective" and (wanted.from_day is not None or wanted.to_day is not None):
        raise ValueError("on the effective basis server days have to be given as instants: see by_instants")
    lower, upper = FIRST, LAST
    if wanted.from_day is not None:
        lower = await _first_key(connection, wanted.from_day)
    if wanted.to_day is not None and wanted.to_day < date.max:
        upper = await _first_key(connection, wanted.to_day + timedelta(days=1))
    return Span(lower, upper)


async def _first_key(connection: AsyncConnection[Any], day: date) -> Key:
    """Give where the first day from this one on begins, or LAST while it has not come."""
    found = await (await connection.execute(_FIRST_OF_DAY, [day])).fetchone()
    return LAST if found is None else (found[0], found[1])
