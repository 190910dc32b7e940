"""The server day is the trading server's: its zone, its day end, its weekends, its clock changes."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger import clock as clock_module
from ledger.clock import DayWindow, ServerClock, server_clock
from ledger.refusals import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MICROSECOND = timedelta(microseconds=1)
ONE_DAY = timedelta(days=1)

ATHENS = ServerClock("Europe/Athens", "00:00", "mon-fri")
NEW_YORK = ServerClock("America/New_York", "17:00", "mon-fri")
NEW_LEDGER = ServerClock("UTC", "00:00", "all")

ZONES = ["UTC", "Europe/Athens", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
DAY_ENDS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))
CLOCKS = st.builds(ServerClock, st.sampled_from(ZONES), DAY_ENDS, st.sampled_from(["all", "mon-fri"]))
INSTANTS = st.builds(timedelta, microseconds=st.integers(0, 125 * 365 * 86_400 * 10**6)).map(
    datetime(1975, 1, 1, tzinfo=UTC).__add__
)
DAYS = st.dates(date(1975, 1, 1), date(2100, 1, 1))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(clock: ServerClock, day: date) -> float:
    return (clock.close_of(day) - clock.open_of(day)) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("clock", "day", "close"),
    [
        (NEW_LEDGER, date(2026, 11, 20), "2026-11-21T00:00"),
        (ATHENS, date(2026, 1, 15), "2026-01-15T22:00"),
        (ATHENS, date(2026, 7, 15), "2026-07-15T21:00"),
        (NEW_YORK, date(2026, 1, 15), "2026-01-15T22:00"),
        (NEW_YORK, date(2026, 7, 15), "2026-07-15T21:00"),
        (ServerClock("Asia/Kathmandu", "00:00", "all"), date(2026, 7, 15), "2026-07-15T18:15"),
    ],
)
def test_a_day_closes_at_its_day_end_in_the_zone_of_the_server(
    clock: ServerClock, day: date, close: str
) -> None:
    assert clock.close_of(day) == utc(close)
    assert clock.close_of(day).tzinfo is UTC


@pytest.mark.parametrize(
    ("day_end", "close"),
    [
        ("00:00", "2026-05-13T00:00"), ("11:59", "2026-05-13T11:59"),
        ("12:00", "2026-05-12T12:00"), ("23:59", "2026-05-12T23:59"),
    ],
)  # fmt: skip
def test_a_day_end_before_noon_closes_on_the_next_calendar_day(day_end: str, close: str) -> None:
    assert ServerClock("UTC", day_end, "all").close_of(date(2026, 5, 12)) == utc(close)


@pytest.mark.parametrize("clock", [ATHENS, NEW_YORK, NEW_LEDGER])
def test_an_instant_exactly_at_a_close_belongs_to_the_next_day(clock: ServerClock) -> None:
    close = clock.close_of(date(2026, 5, 12))
    assert clock.server_day(close - MICROSECOND) == date(2026, 5, 12)
    assert clock.server_day(close) == date(2026, 5, 13)
    assert clock.latest_close(close) == close
    assert clock.latest_close(close - MICROSECOND) == clock.close_of(date(2026, 5, 11))


@pytest.mark.parametrize(
    ("clock", "day", "length"),
    [
        (ATHENS, date(2026, 3, 28), 24), (ATHENS, date(2026, 3, 29), 23), (ATHENS, date(2026, 3, 30), 24),
        (ATHENS, date(2026, 10, 24), 24), (ATHENS, date(2026, 10, 25), 25), (ATHENS, date(2026, 10, 26), 24),
        (NEW_YORK, date(2026, 3, 7), 24), (NEW_YORK, date(2026, 3, 8), 23), (NEW_YORK, date(2026, 3, 9), 24),
        (NEW_YORK, date(2026, 10, 31), 24), (NEW_YORK, date(2026, 11, 1), 25),
        (NEW_YORK, date(2026, 11, 2), 24),
    ],
)  # fmt: skip
def test_days_of_23_and_25_hours_are_normal(clock: ServerClock, day: date, length: int) -> None:
    assert hours(clock, day) == length
    assert clock.server_day(clock.open_of(day)) == day
    assert clock.server_day(clock.close_of(day) - MICROSECOND) == day


@pytest.mark.parametrize(
    ("timezone", "day_end", "day", "close"),
    [
        ("America/New_York", "02:30", date(2026, 3, 7), "2026-03-08T07:30"),
        ("Europe/Athens", "03:30", date(2026, 3, 28), "2026-03-29T01:30"),
    ],
)
def test_a_day_end_that_the_clocks_jump_over_is_read_with_the_offset_before(
    timezone: str, day_end: str, day: date, close: str
) -> None:
    clock = ServerClock(timezone, day_end, "all")
    assert clock.close_of(day) == utc(close)
    assert (hours(clock, day), hours(clock, day + ONE_DAY)) == (24, 23)
    assert clock.server_day(utc(close) - MICROSECOND) == day
    assert clock.server_day(utc(close)) == day + ONE_DAY


@pytest.mark.parametrize(
    ("timezone", "day_end", "day", "close"),
    [
        ("America/New_York", "01:30", date(2026, 10, 31), "2026-11-01T05:30"),
        ("Europe/Athens", "03:30", date(2026, 10, 24), "2026-10-25T00:30"),
    ],
)
def test_a_day_end_that_comes_twice_is_the_first_of_the_two(
    timezone: str, day_end: str, day: date, close: str
) -> None:
    clock = ServerClock(timezone, day_end, "all")
    assert clock.close_of(day) == utc(close)
    assert (hours(clock, day), hours(clock, day + ONE_DAY)) == (24, 25)
    assert clock.server_day(utc(close) + timedelta(hours=1)) == day + ONE_DAY


@pytest.mark.parametrize("day_end", ["00:00", "06:00", "12:00", "17:00"])
def test_a_calendar_day_that_a_country_skipped_holds_no_instant(day_end: str) -> None:
    samoa = ServerClock("Pacific/Apia", day_end, "all")
    days = {samoa.server_day(utc("2011-12-28T00:00") + timedelta(minutes=30 * n)) for n in range(240)}
    skipped = [day for day in (date(2011, 12, 29), date(2011, 12, 30), date(2011, 12, 31)) if day not in days]
    assert len(skipped) == 1
    assert hours(samoa, skipped[0]) == 0


@pytest.mark.parametrize(
    ("clock", "instant", "day"),
    [
        (ATHENS, "2026-03-31T20:59:59.999999", date(2026, 3, 31)),
        (ATHENS, "2026-03-31T21:00", date(2026, 4, 1)),
        (ATHENS, "2026-12-31T21:59:59.999999", date(2026, 12, 31)),
        (ATHENS, "2026-12-31T22:00", date(2027, 1, 1)),
        (ATHENS, "2028-02-28T22:00", date(2028, 2, 29)), (ATHENS, "2028-02-29T22:00", date(2028, 3, 1)),
        (ATHENS, "2027-02-28T22:00", date(2027, 3, 1)), (ATHENS, "2100-02-28T22:00", date(2100, 3, 1)),
        (NEW_YORK, "2026-12-31T21:59:59.999999", date(2026, 12, 31)),
        (NEW_YORK, "2026-12-31T22:00", date(2027, 1, 1)), (NEW_YORK, "2028-02-28T22:00", date(2028, 2, 29)),
        (NEW_LEDGER, "2026-11-30T23:59:59.999999", date(2026, 11, 30)),
        (NEW_LEDGER, "2026-12-01T00:00", date(2026, 12, 1)),
    ],
)  # fmt: skip
def test_months_and_leap_years_end_where_the_server_ends_them(
    clock: ServerClock, instant: str, day: date
) -> None:
    assert clock.server_day(utc(instant)) == day


@pytest.mark.parametrize(
    ("instant", "server_day", "trading_day"),
    [
        ("2026-07-03T20:59:59", date(2026, 7, 3), date(2026, 7, 3)),
        ("2026-07-03T21:00:00", date(2026, 7, 4), date(2026, 7, 6)),
        ("2026-07-05T12:00:00", date(2026, 7, 5), date(2026, 7, 6)),
        ("2026-07-06T12:00:00", date(2026, 7, 6), date(2026, 7, 6)),
        ("2026-07-06T21:00:00", date(2026, 7, 7), date(2026, 7, 7)),
    ],
)
@pytest.mark.parametrize("clock", [ATHENS, NEW_YORK])
def test_a_weekend_trades_on_monday(
    clock: ServerClock, instant: str, server_day: date, trading_day: date
) -> None:
    assert clock.server_day(utc(instant)) == server_day
    assert clock.trading_day(server_day) == trading_day


def test_a_weekend_over_a_month_end_trades_in_the_next_month() -> None:
    assert ATHENS.trading_day(date(2026, 10, 31)) == date(2026, 11, 2)


@given(day=DAYS)
def test_with_all_overnight_days_every_server_day_is_a_trading_day(day: date) -> None:
    assert NEW_LEDGER.trading_day(day) == day


@given(day=DAYS)
def test_trading_days_are_the_next_working_day_and_never_go_back(day: date) -> None:
    trading_day = ATHENS.trading_day(day)
    assert trading_day.isoweekday() <= 5
    assert timedelta(0) <= trading_day - day <= timedelta(days=2)
    assert trading_day <= ATHENS.trading_day(day + ONE_DAY)


@given(clock=CLOCKS, instant=INSTANTS)
@example(clock=ServerClock("Pacific/Apia", "12:00", "all"), instant=utc("2011-12-30T10:00"))
def test_every_instant_lies_in_exactly_one_server_day(clock: ServerClock, instant: datetime) -> None:
    day = clock.server_day(instant)
    assert clock.open_of(day) <= instant < clock.close_of(day)
    assert clock.latest_close(instant) == clock.open_of(day)
    assert clock.server_day(clock.close_of(day) - MICROSECOND) == day
    assert clock.server_day(clock.close_of(day)) > day


@given(clock=CLOCKS, day=DAYS)
def test_each_day_opens_at_the_close_of_the_day_before(clock: ServerClock, day: date) -> None:
    assert clock.open_of(day + ONE_DAY) == clock.close_of(day)
    assert clock.open_of(day) <= clock.close_of(day)


@given(clock=CLOCKS, instant=INSTANTS)
def test_away_from_clock_changes_the_day_is_plain_subtraction(clock: ServerClock, instant: datetime) -> None:
    zone = clock_module._zone(clock.timezone)
    local = instant.astimezone(zone)
    if len({(instant + shift * ONE_DAY).astimezone(zone).utcoffset() for shift in (-3, 0, 3)}) > 1:
        return
    hour, minute = map(int, clock.day_end.split(":"))
    since_day_end = local.replace(tzinfo=None) - timedelta(hours=hour, minutes=minute)
    assert clock.server_day(instant) == since_day_end.date() + (ONE_DAY if hour >= 12 else timedelta(0))


@given(clock=CLOCKS, instant=INSTANTS, later=st.timedeltas(timedelta(-3), timedelta(3)))
def test_a_day_window_holds_exactly_the_instants_of_its_day(
    clock: ServerClock, instant: datetime, later: timedelta
) -> None:
    window = DayWindow.of(clock, instant)
    assert window.contains(instant)
    assert window.contains(instant + later) == (clock.server_day(instant + later) == window.server_day)
    assert window.trading_day == clock.trading_day(window.server_day)
    assert window.clock == clock


def test_a_day_window_ends_before_its_close() -> None:
    window = DayWindow.of(ATHENS, utc("2026-03-29T12:00"))
    assert window == DayWindow(
        ATHENS, utc("2026-03-28T22:00"), utc("2026-03-29T21:00"), date(2026, 3, 29), date(2026, 3, 30)
    )
    assert window.contains(window.opens_at)
    assert not window.contains(window.opens_at - MICROSECOND)
    assert not window.contains(window.closes_at)


def test_an_instant_counts_whatever_zone_it_is_written_in() -> None:
    instant = utc("2026-07-03T21:00")
    for zone in (timezone(timedelta(hours=14)), zoneinfo.ZoneInfo("Asia/Tokyo")):
        assert ATHENS.server_day(instant.astimezone(zone)) == date(2026, 7, 4)
        assert DayWindow.of(ATHENS, instant).contains(instant.astimezone(zone))


def test_an_instant_without_a_zone_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        NEW_LEDGER.server_day(utc("2026-07-03T00:00").replace(tzinfo=None))


@pytest.mark.parametrize("clock", [ATHENS, NEW_YORK, NEW_LEDGER, ServerClock("Pacific/Apia", "11:59", "all")])
def test_the_ends_of_the_calendar_are_refused_and_no_crash(clock: ServerClock) -> None:
    for moment in ("0001-01-01T00:00", "0001-12-31T23:00", "9999-01-01T00:00", "9999-12-31T23:59:59.999999"):
        with pytest.raises(ValidationError, match="year"):
            clock.server_day(utc(moment))
        with pytest.raises(ValidationError, match="year"):
            clock.close_of(utc(moment).date())
    with pytest.raises(ValidationError, match="year"):
        clock.open_of(date(2, 1, 1))
    assert clock.server_day(utc("0002-01-04T12:00")).year == 2
    assert clock.server_day(utc("9998-12-29T12:00")).year == 9998


def test_a_clock_is_made_of_a_zone_a_day_end_and_overnight_days() -> None:
    clock = server_clock(timezone="Europe/Athens", day_end="00:00", overnight_days="mon-fri")
    assert clock == ATHENS
    assert hash(clock) == hash(ATHENS)


@pytest.mark.parametrize(
    "timezone",
    [
        "", "europe/athens", "Athens", "Europe", "Europe/", "/Europe/Athens", "Europe//Athens",
        "Europe/Athens/",
        "../zoneinfo/Europe/Athens", "Europe/../Europe/Athens", "./UTC", "/etc/localtime", "Europe\\Athens",
        "Europe.Athens", "Europe/Athens\0", "Europe/Athens\n", " UTC", "UTC ", "+02:00", "UTC+2", "GMT+2",
        "EEST",
        "zones", "zone.tab", "tzdata.zi", "__init__.py", "Europe/__init__.py", "localtime", "posixrules",
        "posix/UTC", "right/UTC", "Mars/Olympus", "\ud800", "A" * 100_000,
    ],
    ids=ascii,
)  # fmt: skip
def test_only_a_listed_name_is_a_time_zone(timezone: str) -> None:
    with pytest.raises(ValidationError) as caught:
        server_clock(timezone=timezone, day_end="00:00", overnight_days="all")
    assert (caught.value.code, caught.value.field) == ("bad_timezone", "timezone")
    with pytest.raises(ValidationError):
        ServerClock(timezone, "00:00", "all").close_of(date(2026, 1, 1))


@pytest.mark.parametrize(
    "day_end",
    [
        "", "24:00", "23:60", "7:00", "07:0", "0700", "07:00:00", "07.00", " 07:00", "07:00\n", "-1:00",
        "17h", "\u0660\u0667:\u0660\u0660",
    ],
)  # fmt: skip
def test_only_hours_and_minutes_are_a_day_end(day_end: str) -> None:
    with pytest.raises(ValidationError) as caught:
        server_clock(timezone="UTC", day_end=day_end, overnight_days="all")
    assert (caught.value.code, caught.value.field) == ("bad_day_end", "dayEnd")


@pytest.mark.parametrize("overnight_days", ["", "All", "mon-sat", "mon-fri ", "weekdays", "all\n"])
def test_overnight_days_are_all_or_monday_to_friday(overnight_days: str) -> None:
    with pytest.raises(ValidationError) as caught:
        server_clock(timezone="UTC", day_end="00:00", overnight_days=overnight_days)
    assert (caught.value.code, caught.value.field) == ("bad_overnight_days", "overnightDays")


def test_every_listed_zone_can_be_a_clock() -> None:
    for name in clock_module._zone_names():
        clock = server_clock(timezone=name, day_end="17:00", overnight_days="all")
        assert clock.server_day(utc("2026-07-15T00:00")) in (date(2026, 7, 14), date(2026, 7, 15))


@pytest.fixture
def machine_with_wrong_zone_files(tmp_path: Path) -> Iterator[None]:
    """Let this machine's own Europe/Athens be Tokyo's, and nobody remember better."""
    right = zoneinfo.TZPATH
    (tmp_path / "Europe").mkdir()
    tokyo = files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Europe" / "Athens").write_bytes(tokyo)
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    clock_module._zone.cache_clear()
    yield
    zoneinfo.reset_tzpath(to=right)
    zoneinfo.ZoneInfo.clear_cache()
    clock_module._zone.cache_clear()


@pytest.mark.usefixtures("machine_with_wrong_zone_files")
def test_the_pinned_zone_data_count_and_not_the_machine_s() -> None:
    noon_of_the_machine = datetime(2026, 7, 15, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Athens"))
    assert noon_of_the_machine == utc("2026-07-15T03:00")
    assert ATHENS.close_of(date(2026, 7, 15)) == utc("2026-07-15T21:00")
