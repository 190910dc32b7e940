"""The feed: what the trading server tells of a moment, taken in order, each message once.

Observations are replaced in place, in transactions of the feed's own that lock no row that the writer needs.
A stream's numbers only go up: a message whose number is not above the last one is acknowledged and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from psycopg import AsyncConnection

from ledger.commands import EVERYTHING, Access
from ledger.masks import ALL
from ledger.refusals import PermissionDenied, Refusal, ValidationError
from projections.valuation import Listed, Touched, list_symbols

STREAMS: Final = ("quotes", "positions", "online")


class ItemRefused(msgspec.Struct, frozen=True):
    """One item of a message that is refused while the others go through. `named` says which it is."""

    index: int
    refusal: Refusal
    named: dict[str, Any] = {}

    def __post_init__(self) -> None:
        self.refusal.at_rest()


def refused_item(index: int, refusal: Refusal, **named: Any) -> ItemRefused:
    """Name an item that is refused by what is known; past the key's reach such attempts are kept."""
    refusal.decided = refusal.code != "unknown_login"
    return ItemRefused(index, refusal, named)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What comes in one call. `refused` are the items that could not be parsed."""

    STREAM: ClassVar[str]
    FOR_ALL: ClassVar[bool] = False
    """Whether what it tells concerns all accounts, whoever tells it."""

    access: Access = EVERYTHING
    epoch: int | None = None
    seq: int | None = None
    refused: list[ItemRefused] = []

    @property
    def size(self) -> int:
        """How many items the message has: those refused, and those that its kind of message adds."""
        return len(self.refused)

    @property
    def weight(self) -> int:
        """What it takes of the queue: an empty message is one too."""
        return 1 + self.size


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message's items."""

    accepted: int = 0
    ignored: int = 0
    refused: list[ItemRefused] = []


class Stream(msgspec.Struct):
    """How far a stream has come. `as_of` is up to when all that it tells is known, of all accounts."""

    stream: str
    epoch: int
    seq: int | None
    gaps: int
    received_at: datetime | None
    as_of: datetime | None

    def admits(self, message: Message, now: datetime) -> bool:
        """Tell whether the message is news, and go on to it if it is."""
        epoch = self.epoch if message.epoch is None else message.epoch
        if epoch < self.epoch:
            return False
        if epoch > self.epoch:
            self.epoch, self.seq = epoch, None
        if message.seq is not None:
            if self.seq is not None and message.seq <= self.seq:
                return False
            self.gaps += 0 if self.seq is None else message.seq - self.seq - 1
            self.seq = message.seq
        self.received_at = now
        return True


class Owner(msgspec.Struct, frozen=True):
    """The account that an item is about."""

    login: int
    group: str
    digits: int


class Reach(msgspec.Struct, frozen=True):
    """Whose observations a message may replace: None for everyone's."""

    groups: list[str] | None
    logins: list[int] | None

    @property
    def params(self) -> dict[str, Any]:
        """Give the parameters of the statements that keep to it."""
        return {"reach_groups": self.groups, "reach_logins": self.logins}


class Desk:
    """One transaction of the feed: the streams are its own until it commits."""

    now: datetime

    def __init__(self, connection: AsyncConnection[Any], clock: Callable[[], datetime]) -> None:
        self.connection = connection
        self.touched = Touched()
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._before: Stream | None = None
        self._symbols: dict[str, Listed] | None = None

    async def open(self) -> None:
        """Wait for the streams, then hold them. The time is read after that, and never before theirs."""
        rows = await (await self.connection.execute(_HOLD)).fetchall()
        self._streams = {row[0]: Stream(*row) for row in rows}
        heard = [stream.received_at for stream in self._streams.values() if stream.received_at is not None]
        self.now = max([self._clock(), *heard])

    async def close(self) -> None:
        """Write down how far the streams have come."""
        rows = [msgspec.structs.asdict(stream) for stream in self._streams.values()]
        await self.connection.cursor().executemany(_KEEP, rows)

    def admits(self, message: Message) -> bool:
        """Tell whether a message is news to its stream."""
        self._before = None
        _check_whole(message)
        stream = self.stream(message)
        self._before = msgspec.structs.replace(stream)
        return stream.admits(message, self.now)

    def missed(self, message: Message) -> bool:
        """Tell whether numbers were missed right before the message that was just admitted."""
        return self._before is not None and self._before.gaps != self.stream(message).gaps

    def heard(self) -> None:
        """Let the number of the last message count, whatever becomes of the message."""
        self._before = None

    def forget(self, message: Message) -> None:
        """Let the stream stand where it stood before its last message, unless that was to count."""
        if self._before is not None:
            self._streams[message.STREAM] = self._before

    def stream(self, message: Message) -> Stream:
        """Give the message's stream."""
        return self._streams[message.STREAM]

    async def symbols(self) -> dict[str, Listed]:
        """Give all symbols by name."""
        if self._symbols is None:
            self._symbols = {listed.symbol: listed for listed in await list_symbols(self.connection)}
        return self._symbols

    async def owners(self, logins: Sequence[int]) -> dict[int, Owner]:
        """Find accounts by their logins."""
        rows = await (await self.connection.execute(_OWNERS, [list(logins)])).fetchall()
        return {row[0]: Owner(*row) for row in rows}

    async def reach(self, access: Access) -> Reach:
        """Tell whose observations a key may replace."""
        logins = None if access.logins is None else sorted(access.logins)
        if access.mask == ALL:
            return Reach(None, logins)
        rows = await (await self.connection.execute(_GROUPS)).fetchall()
        return Reach([group for (group,) in rows if access.mask.selects(group)], logins)


def owner_of(owners: dict[int, Owner], login: int, access: Access) -> Owner:
    """Give the account of an item; refused where there is none, or the key does not reach it."""
    owner = owners.get(login)
    if owner is None:
        raise ValidationError("unknown_login", f"there is no account {login}", field="login")
    if not access.reaches(login, owner.group):
        detail = f"account {login} is outside this key's reach"
        raise PermissionDenied("outside_mask", detail, field="login", login=login)
    return owner


def unknown_symbol(symbol: str) -> ValidationError:
    """Build the refusal of an item whose symbol nobody has defined."""
    return ValidationError("unknown_symbol", f"there is no symbol {symbol}", field="symbol")


def _check_whole(message: Message) -> None:
    """Refuse numbers of a key that does not speak for all: they are those of everybody's stream."""
    numbered = message.epoch is not None or message.seq is not None
    if (numbered or message.FOR_ALL) and not message.access.everything:
        detail = f"a key limited to groups or logins cannot {'number calls' if numbered else 'tell quotes'}"
        field = None if not numbered else "epoch" if message.seq is None else "seq"
        raise PermissionDenied("whole_feed_only", detail, field=field)


async def streams(connection: AsyncConnection[Any]) -> list[Stream]:
    """Read how far each stream has come."""
    rows = await (await connection.execute(_READ)).fetchall()
    known = {row[0]: Stream(*row) for row in rows}
    return [known[name] for name in STREAMS]


async def last_told(connection: AsyncConnection[Any]) -> datetime | None:
    """Give the greatest time that anything of the feed has; None where it never told anything."""
    row = await (await connection.execute(_LAST_TOLD)).fetchone()
    return None if row is None else row[0]


_LAST_TOLD = """
SELECT greatest(
    (SELECT max(received_at) FROM feed_streams),
    (SELECT max(greatest(quoted_at, received_at)) FROM quotes)
)
"""
_READ = "SELECT stream, epoch, seq, gaps, received_at, as_of FROM feed_streams"
_HOLD = f"{_READ} ORDER BY stream FOR UPDATE"
_KEEP = """
UPDATE feed_streams SET epoch = %(epoch)s, seq = %(seq)s, gaps = %(gaps)s, received_at = %(received_at)s,
    as_of = %(as_of)s
WHERE stream = %(stream)s AND (epoch, seq, gaps, received_at, as_of)
    IS DISTINCT FROM (%(epoch)s, %(seq)s, %(gaps)s, %(received_at)s, %(as_of)s)
"""
_OWNERS = "SELECT login, group_name, digits FROM accounts WHERE login = ANY(%s)"
_GROUPS = "SELECT group_name FROM groups"
