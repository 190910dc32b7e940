"""Server days from one to another, as the pages ask for them, and the neighbours that they link to."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

import msgspec

from api import bodies
from ledger.refusals import ValidationError

ONE_DAY = timedelta(days=1)
Span = Literal["day", "month"]


class Period(msgspec.Struct, frozen=True):
    """Server days, both included."""

    from_day: date
    to_day: date


def month_of(day: date) -> Period:
    """Give the whole month of a day."""
    first = day.replace(day=1)
    return Period(first, month_after(first) - ONE_DAY)


def month_after(day: date) -> date:
    """Give the first day of the next month."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def span_of(day: date, span: Span) -> Period:
    """Give a day, or the month that it is in."""
    return Period(day, day) if span == "day" else month_of(day)


def before(period: Period, span: Span) -> date:
    """Name the day, or a day of the month, before."""
    return span_of(period.from_day - ONE_DAY, span).from_day


def after(period: Period) -> date:
    """Name the first day after."""
    return period.to_day + ONE_DAY


def checked(from_day: date | None, to_day: date | None, *, today: date) -> Period:
    """Give what was asked for; by default the month up to today."""
    end = to_day or today
    period = Period(from_day or end.replace(day=1), end)
    if period.to_day < period.from_day:
        raise ValidationError("bad_date", "toDay lies before the beginning of its range", field="toDay")
    bodies.day(period.to_day, field="toDay")
    bodies.day(period.from_day, field="fromDay")
    return period
