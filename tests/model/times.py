"""When ledgers begin, by which clocks, and how far time goes at a step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.model.days import DAY, ServerClock

STARTS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2024-03-08T20:30",
        "2024-10-25T20:00",
        "2023-12-29T12:00",
        "2024-02-27T23:30",
        "2024-04-24T20:00",
    )
)
"""Before clocks go forward or back, before a year ends, before a leap day."""

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
