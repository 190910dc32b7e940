"""When ledgers begin, by which clocks, and how far time goes at a step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.model.days import DAY, ServerClock

STARTS = (
    datetime(2024, 3, 8, 20, 30, tzinfo=UTC),  # before New York's clocks go forward
    datetime(2024, 3, 30, 12, tzinfo=UTC),  # Europe's do so on the Sunday that ends the month
    datetime(2024, 11, 2, 12, tzinfo=UTC),  # New York's go back; the month ends on a Saturday
    datetime(2023, 12, 30, 12, tzinfo=UTC),  # the year ends on a Sunday
    datetime(2024, 2, 27, 23, 30, tzinfo=UTC),  # before a leap day
    datetime(2024, 4, 24, 20, tzinfo=UTC),  # before Cairo skips a midnight
)
CLOCKS = (
    ServerClock(),
    ServerClock("Europe/Athens", "00:00", "mon-fri"),
    ServerClock("America/New_York", "17:00", "mon-fri"),
    ServerClock("Africa/Cairo", "00:00", "all"),  # where some midnights are skipped
    ServerClock("America/New_York", "02:30", "mon-fri"),
    ServerClock("Europe/Athens", "03:30", "all"),  # where one comes twice a year
    ServerClock("Asia/Kolkata", "12:00", "mon-fri"),
)
TICK = timedelta(microseconds=1)
SPANS = (TICK, timedelta(seconds=30), timedelta(minutes=2), timedelta(hours=1), DAY, 3 * DAY, 33 * DAY)


def close_after(now: datetime, clock: ServerClock) -> datetime:
    """Give the instant at which the present server day ends."""
    return clock.close_of(clock.day_of(now))


def month_end_after(now: datetime, clock: ServerClock) -> datetime:
    """Give the instant at which the present server month ends."""
    day = clock.day_of(now)
    while (day + DAY).month == day.month:
        day += DAY
    return clock.close_of(day)


def odd_day_after(now: datetime, clock: ServerClock) -> datetime:
    """Give the next close of a day of 23 or 25 hours; a month later where there are none."""
    day = clock.day_of(now)
    for _ in range(300):
        if clock.close_of(day) - clock.close_of(day - DAY) != DAY:
            return clock.close_of(day)
        day += DAY
    return now + 30 * DAY
