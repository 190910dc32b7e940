"""The trading server's days, said a second time: from a zone and a wall-clock time alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


class ServerClock(NamedTuple):
    """What PUT /server sets, but for the book currency."""

    timezone: str = "UTC"
    day_end: str = "00:00"
    overnight_days: str = "all"

    def close_of(self, day: date) -> datetime:
        """Give the instant at which a server day ends."""
        hour, minute = map(int, self.day_end.split(":"))
        on = day + DAY if hour < 12 else day
        local = datetime(on.year, on.month, on.day, hour, minute, tzinfo=ZoneInfo(self.timezone))
        return local.astimezone(UTC)

    def day_of(self, instant: datetime) -> date:
        """Give the server day of an instant: the date whose close comes next."""
        day = instant.date() - 2 * DAY
        while self.close_of(day) <= instant:
            day += DAY
        return day

    def trading_day_of(self, instant: datetime) -> date:
        """Give its trading day: Saturday and Sunday are Monday where nothing rests overnight on them."""
        day = self.day_of(instant)
        rests = self.overnight_days == "mon-fri" and day.weekday() >= 5
        return day + (7 - day.weekday()) * DAY if rests else day
