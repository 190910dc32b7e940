"""Whether events that follow each other hold together: places, times, versions, and each account's money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ledger import merkle
from ledger.codec import UnknownEvent, read_event
from ledger.events import AccountEvent, AccountOpened, Event, MoneyMoved, SimulationStarted


class LogBroken(Exception):
    """The log itself does not hold together at a position."""

    def __init__(self, *, position: int, reason: str) -> None:
        super().__init__(f"the log is broken at position {position}: {reason}")
        self.position = position


class Stored(NamedTuple):
    """One event as it lies in the log."""

    position: int
    stream: str
    version: int
    topic: str
    state: bytes
    leaf_hash: bytes


class EventCheck:
    """Takes stored events from the first one on; says of each what is wrong with it, in a sentence."""

    def __init__(self) -> None:
        self._continuity = Continuity()
        self.head = 0
        """The position that was read last."""
        self.broken = 0
        """How many events are wrong, or missing."""
        self.whole = True
        """Whether none was missing so far."""

    def take(self, stored: Stored) -> Iterator[str]:
        """Check the next event, and that none before it is missing."""
        expected, self.head = self.head + 1, stored.position
        if stored.position != expected:
            self.whole = False
            self._continuity.skip_some()
            yield self._said(missing(expected, stored.position))
        try:
            event = read_stored(stored)
        except (LogBroken, UnknownEvent) as error:
            self._continuity.skip(stored.stream)
            yield self._said(error)
            return
        reason = self._continuity.take(event)
        if reason is not None:
            yield self._said(LogBroken(position=stored.position, reason=reason))

    def _said(self, error: LogBroken | UnknownEvent) -> str:
        self.broken += 1
        return str(error)


def read_stored(stored: tuple[int, str, int, str, bytes, bytes]) -> Event:
    """Read an event as it lies in the log; LogBroken where its bytes are not what was stored here."""
    position, stream, version, topic, state, leaf_hash = stored
    if merkle.leaf_hash(state) != leaf_hash:
        raise LogBroken(position=position, reason="the leaf hash is not that of the event's bytes")
    event = read_event(state, topic=topic, position=position)
    if (event.position, event.stream, event.version, event.TOPIC) != (position, stream, version, topic):
        raise LogBroken(position=position, reason="the event's bytes belong to another place")
    return event


def missing(first: int, there: int) -> LogBroken:
    """Say that the event comes that is there, where the first one of these was to come."""
    if there < first:
        reason = f"the event at position {there} comes here again"
    elif there == first + 1:
        reason = "the event is missing"
    else:
        reason = f"the events up to position {there - 1} are missing"
    return LogBroken(position=first, reason=reason)


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a stream has come to: its version, and the money of an account, in minor units."""

    version: int
    balance: int = 0
    credit: int = 0


class Continuity:
    """Takes events from the first one on; says of each what does not follow from those before it."""

    def __init__(self) -> None:
        self._streams: dict[str, Held] = {}
        self._else = _NEW
        self._last: Event | None = None

    def take(self, event: Event) -> str | None:
        """Take the next event; give a reason where it cannot come here."""
        reason = self._in_operation(event) or self._in_time(event) or self._in_stream(event)
        self._streams[event.stream] = _after(self._streams.get(event.stream, self._else), event)
        self._last = event
        return reason

    def skip(self, stream: str) -> None:
        """Pass over an event that is known to be wrong; its stream is taken up again as it comes."""
        self._streams[stream] = _UNKNOWN
        self._last = None

    def skip_some(self) -> None:
        """Pass over events of which nothing is known."""
        self._streams, self._else, self._last = {}, _UNKNOWN, None

    def _in_operation(self, event: Event) -> str | None:
        if event.operation == event.position or self._last is None:
            return None
        same = event.operation == self._last.operation == event.position - 1
        return None if same else f"it says that it belongs to the operation at position {event.operation}"

    def _in_time(self, event: Event) -> str | None:
        """Time goes on or stands; it goes back where a simulation begins, and nowhere else."""
        last = self._last
        if last is None or isinstance(event, SimulationStarted):
            return None
        back = (
            event.recorded_at < last.recorded_at
            or event.server_day < last.server_day
            or event.trading_day < last.trading_day
        )
        return "it is dated before the event before it" if back else None

    def _in_stream(self, event: Event) -> str | None:
        held = self._streams.get(event.stream, self._else)
        if held is _UNKNOWN:
            return None
        if event.version != held.version + 1:
            return f"it is version {event.version} of {event.stream}, which was at {held.version}"
        if isinstance(event, AccountEvent) and event.stream != f"account:{event.login}":
            return f"it stands in {event.stream}, and is about account {event.login}"
        if isinstance(event, AccountEvent) and (event.version == 1) != isinstance(event, AccountOpened):
            return f"{event.stream} does not begin with its opening"
        if isinstance(event, MoneyMoved) and (event.balance, event.credit) != _money_after(held, event):
            return f"what {event.stream} holds after it does not follow from what it held before"
        return None


_NEW = Held(0)
_UNKNOWN = Held(-1)


def _after(held: Held, event: Event) -> Held:
    if isinstance(event, MoneyMoved):
        return Held(event.version, event.balance, event.credit)
    if held is _UNKNOWN and isinstance(event, AccountEvent):
        return held  # what the account holds is still not known
    return Held(event.version, held.balance, held.credit)


def _money_after(held: Held, event: MoneyMoved) -> tuple[int, int]:
    return held.balance + event.balance_change, held.credit + event.credit_change
