"""The server clock: which server day and trading day an instant belongs to, and when a day closes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from ledger.refusals import ValidationError


class ServerClock(msgspec.Struct, frozen=True):
    """A trading server's clock; `server_clock` makes one from a caller's words."""

    timezone: str
    day_end: str
    overnight_days: str

    def server_day(self, instant: datetime) -> date:
        """Give the date whose close comes next; an instant exactly at a close belongs to the next day."""
        _check_calendar(instant)
        day = instant.astimezone(_zone(self.timezone)).date()
        while self.close_of(day - _ONE_DAY) > instant:
            day -= _ONE_DAY
        while self.close_of(day) <= instant:
            day += _ONE_DAY
        return day

    def trading_day(self, server_day: date) -> date:
        """Give the day itself, or Monday for a Saturday or Sunday of a mon-fri clock."""
        if self.overnight_days == "mon-fri" and server_day.weekday() >= _SATURDAY:
            return server_day + timedelta(days=7 - server_day.weekday())
        return server_day

    def close_of(self, day: date) -> datetime:
        """Give the UTC instant at which this server day ends; fold=0 where the zone's clocks turn."""
        _check_calendar(day)
        end = time.fromisoformat(self.day_end)
        closes_on = day + _ONE_DAY if end < _NOON else day
        return datetime.combine(closes_on, end, _zone(self.timezone)).astimezone(UTC)

    def open_of(self, day: date) -> datetime:
        """Give the UTC instant at which this server day begins: the close of the one before."""
        return self.close_of(day - _ONE_DAY)

    def latest_close(self, instant: datetime) -> datetime:
        """Give the greatest close that is not after the instant."""
        return self.open_of(self.server_day(instant))

    def wall(self, instant: datetime) -> datetime:
        """Give an instant as the zone's clocks show it."""
        return instant.astimezone(_zone(self.timezone))

    def instant(self, wall: datetime) -> datetime:
        """Give the UTC instant at which the zone's clocks show this; fold=0 where they turn."""
        _check_calendar(wall)
        return wall.replace(tzinfo=_zone(self.timezone)).astimezone(UTC)


class DayWindow(msgspec.Struct, frozen=True):
    """One server day of one clock, kept so that the next instant of the same day costs two comparisons."""

    clock: ServerClock
    opens_at: datetime
    closes_at: datetime
    server_day: date
    trading_day: date

    @classmethod
    def of(cls, clock: ServerClock, instant: datetime) -> DayWindow:
        """Find the day that holds the instant."""
        day = clock.server_day(instant)
        return cls(clock, clock.open_of(day), clock.close_of(day), day, clock.trading_day(day))

    def contains(self, instant: datetime) -> bool:
        return self.opens_at <= instant < self.closes_at


def server_clock(*, timezone: str, day_end: str, overnight_days: str) -> ServerClock:
    """Make a clock from a caller's words, or refuse the first that is wrong."""
    _zone(timezone)
    if not _DAY_END.fullmatch(day_end):
        raise ValidationError("bad_day_end", "dayEnd must be HH:MM from 00:00 to 23:59", field="dayEnd")
    if overnight_days not in _OVERNIGHT_DAYS:
        raise ValidationError(
            "bad_overnight_days", "overnightDays must be all or mon-fri", field="overnightDays"
        )
    return ServerClock(timezone, day_end, overnight_days)


_ONE_DAY: Final = timedelta(days=1)
_NOON: Final = time(12)
_SATURDAY: Final = 5
_YEARS: Final = range(2, 9999)  # a day or an offset beyond these may leave Python's calendar
_DAY_END: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_OVERNIGHT_DAYS: Final = ("all", "mon-fri")


def _check_calendar(moment: date) -> None:
    if moment.year not in _YEARS:
        raise ValidationError("bad_date", f"the year must be {_YEARS[0]} to {_YEARS[-1]}")


@cache
def _zone(name: str) -> ZoneInfo:
    # ZoneInfo(name) would prefer the machine's own zone files: two machines could book on different days.
    if name not in _zone_names():
        detail = "timezone must be a name of the IANA time zone database, such as Europe/Athens"
        raise ValidationError("bad_timezone", detail, field="timezone")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as zone_file:
        return ZoneInfo.from_file(zone_file, key=name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())
