"""Server days over HTTP: day and month ends, weekends, daylight saving, expiring credit, simulated clocks.

Each instant is a service of its own that starts there, on one simulated ledger.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from projections import install
from tests.api.served import BOUND_S, ROOT, Caller, Served, number, serving
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ATHENS = {"timezone": "Europe/Athens", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
NEW_YORK = {
    "timezone": "America/New_York",
    "dayEnd": "17:00",
    "overnightDays": "mon-fri",
    "bookCurrency": "USD",
}
UTC_DAYS = {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
LOGIN = 1001
_numbers = count(1)


class Timeline:
    """A simulated ledger that is visited at one instant after the other."""

    def __init__(self, database_url: str, ledger: str, log: Path) -> None:
        install.migrate(database_url, ledger)
        self._where = (database_url, log)
        self._ledger = ledger
        self._key: str | None = None

    @contextmanager
    def at(self, instant: str | None) -> Iterator[Caller]:
        """Serve from an instant on, or from where the ledger stopped."""
        options = [] if instant is None else ["--simulate-from", instant]
        with serving(*self._where, *options, ledger=self._ledger) as service:
            self._key = self._key or service.key()
            yield Caller(service, self._key)

    @contextmanager
    def first(self, instant: str, clock: dict[str, str]) -> Iterator[Caller]:
        """Serve for the first time: set the clock, open an account."""
        with self.at(instant) as caller:
            assert caller.put("/server", clock).status == 200
            assert caller.put("/groups/standard", {"currency": "USD"}).status == 200
            assert caller.post("/users", {"login": LOGIN, "group": "standard"}).status == 201
            yield caller


@pytest.fixture
def timeline(database_url: str, log_file: Path) -> Timeline:
    return Timeline(database_url, f"timeline_{next(_numbers)}", log_file)


def days(caller: Caller) -> tuple[str, str]:
    server = caller.get("/server")
    return server["serverDay"], server["tradingDay"]


def previous(caller: Caller) -> tuple[Any, Any]:
    """Give what the account held at the end of the day before and of the month before."""
    profile = caller.get(f"/users/{LOGIN}")
    return profile["prevbalance"], profile["prevmonthbalance"]


def held(day: str, month: str) -> tuple[Any, Any]:
    return number(day), number(month)


def deposit(caller: Caller, amount: int) -> Any:
    return caller.booked("deposit", login=LOGIN, amount=amount)


def test_days_and_months_of_athens_end_at_its_midnight_also_when_clocks_turn(timeline: Timeline) -> None:
    with timeline.first("2026-03-27T22:30:00Z", ATHENS) as caller:
        booked = deposit(caller, 100)
        assert booked["serverDay"] == "2026-03-28"
        assert booked["recordedAt"].startswith("2026-03-27T22:30:")
        assert previous(caller) == held("0.00", "0.00")
    with timeline.at("2026-03-28T22:00:00Z") as caller:
        assert days(caller) == ("2026-03-29", "2026-03-29")
        assert previous(caller) == held("100.00", "0.00")
        deposit(caller, 10)
        assert previous(caller) == held("100.00", "0.00")
    with timeline.at("2026-03-29T20:59:00Z") as caller:
        assert days(caller)[0] == "2026-03-29"
    with timeline.at("2026-03-29T21:00:00Z") as caller:
        assert days(caller)[0] == "2026-03-30"
        assert previous(caller) == held("110.00", "0.00")
        assert deposit(caller, 1)["serverDay"] == "2026-03-30"
    with timeline.at("2026-03-31T20:59:00Z") as caller:
        assert days(caller)[0] == "2026-03-31"
        assert previous(caller) == held("111.00", "0.00")
    with timeline.at("2026-03-31T21:00:00Z") as caller:
        assert days(caller)[0] == "2026-04-01"
        assert previous(caller) == held("111.00", "111.00")
        deposit(caller, 5)
        assert previous(caller) == held("111.00", "111.00")
        rows = caller.history(fromDay="2026-03-29", toDay="2026-03-30")
        assert [row["amount"] for row in rows] == [number("10.00"), number("1.00")]
        page = caller.get("/balances/history", login=LOGIN, fromDay="2026-03-01", toDay="2026-03-31")
        assert (page["opening"]["balance"], page["closing"]["balance"]) == held("0.00", "111.00")
        march = caller.get("/balances/asof", login=LOGIN, at="2026-03-31T20:59:59Z")
        assert march["balance"] == number("111.00")
    with timeline.at("2026-10-25T21:59:00Z") as caller:
        assert days(caller)[0] == "2026-10-25"
        assert previous(caller) == held("116.00", "116.00")
    with timeline.at("2026-10-25T22:00:00Z") as caller:
        assert days(caller)[0] == "2026-10-26"


def test_a_repeat_on_a_later_day_tells_an_account_as_the_first_answer_did(timeline: Timeline) -> None:
    with timeline.first("2026-03-30T22:30:00Z", ATHENS) as caller:
        deposit(caller, 100)
        first = caller.post(f"/users/{LOGIN}/disable", request_id="off")
        assert (first["prevbalance"], first["prevmonthbalance"]) == held("0.00", "0.00")
    with timeline.at("2026-03-31T22:30:00Z") as caller:
        assert previous(caller) == held("100.00", "100.00")
        again = caller.post(f"/users/{LOGIN}/disable", request_id="off")
        assert (again.said, again["operation"]) == ((409, "request_applied"), first.body)
        assert caller.post(f"/users/{LOGIN}/disable")["operation"] == first.body


def test_new_york_closes_at_five_and_its_weekend_trades_on_monday(timeline: Timeline) -> None:
    with timeline.first("2026-10-30T20:59:00Z", NEW_YORK) as caller:
        deposit(caller, 100)
        assert days(caller) == ("2026-10-30", "2026-10-30")
    with timeline.at("2026-10-30T21:00:00Z") as caller:
        assert days(caller) == ("2026-10-31", "2026-11-02")
        deposit(caller, 10)
        assert previous(caller) == held("100.00", "0.00")
        [row] = caller.history(login=LOGIN, fromDay="2026-10-31")
        assert (row["serverDay"], row["tradingDay"]) == ("2026-10-31", "2026-11-02")
    with timeline.at("2026-10-31T21:00:00Z") as caller:
        assert days(caller) == ("2026-11-01", "2026-11-02")
        assert previous(caller) == held("100.00", "110.00")
        deposit(caller, 1)
        assert previous(caller) == held("100.00", "110.00")
    with timeline.at("2026-11-01T21:30:00Z") as caller:
        assert days(caller) == ("2026-11-01", "2026-11-02")
    with timeline.at("2026-11-01T22:00:00Z") as caller:
        assert days(caller) == ("2026-11-02", "2026-11-02")
        assert previous(caller) == held("100.00", "110.00")
    with timeline.at("2026-11-02T22:00:00Z") as caller:
        assert days(caller) == ("2026-11-03", "2026-11-03")
        assert previous(caller) == held("111.00", "110.00")


def test_after_a_change_of_clock_days_stand_still_until_it_catches_up(timeline: Timeline) -> None:
    east = UTC_DAYS | {"timezone": "Pacific/Kiritimati"}
    with timeline.first("2026-05-05T12:00:00Z", east) as caller:
        assert deposit(caller, 1)["serverDay"] == "2026-05-06"
        caller.put("/server", UTC_DAYS)
        assert deposit(caller, 2)["serverDay"] == "2026-05-06"
        assert previous(caller) == held("0.00", "0.00")
    with timeline.at("2026-05-06T12:00:00Z") as caller:
        assert deposit(caller, 4)["serverDay"] == "2026-05-06"
        assert previous(caller) == held("0.00", "0.00")
    with timeline.at("2026-05-07T12:00:00Z") as caller:
        assert deposit(caller, 8)["serverDay"] == "2026-05-07"
        assert previous(caller) == held("7.00", "0.00")


def test_the_server_tells_the_day_on_which_it_would_book(timeline: Timeline) -> None:
    east = UTC_DAYS | {"timezone": "Pacific/Kiritimati"}
    with timeline.first("2026-05-05T12:00:00Z", east) as caller:
        deposit(caller, 1)
        caller.put("/server", UTC_DAYS)
        assert days(caller)[0] == deposit(caller, 2)["serverDay"]


def test_days_never_go_back_also_where_nothing_but_a_definition_was_booked_on_the_last(
    timeline: Timeline,
) -> None:
    with timeline.first("2026-11-20T22:30:00Z", UTC_DAYS) as caller:
        deposit(caller, 100)
        caller.put("/server", ATHENS)
        caller.put("/groups/other", {"currency": "USD"})
        assert days(caller)[0] == "2026-11-21"
        assert previous(caller) == held("100.00", "0.00")
        caller.put("/server", UTC_DAYS)
        assert days(caller)[0] == "2026-11-21"
        assert previous(caller) == held("100.00", "0.00")
        assert deposit(caller, 1)["serverDay"] == "2026-11-21"


def test_credit_expires_at_the_close_of_its_day_once_also_after_a_downtime(timeline: Timeline) -> None:
    with timeline.first("2026-01-10T12:00:00Z", UTC_DAYS) as caller:
        first = caller.booked("credit", login=LOGIN, amount=50, expiresAt="2026-01-12T09:00:00Z")
        caller.booked("credit", login=LOGIN, amount=30, expiresAt="2026-01-20T23:59:59Z")
        caller.booked("credit", login=LOGIN, amount=7)
        caller.booked("credit", login=LOGIN, amount=-10)
    with timeline.at("2026-01-12T23:59:00Z") as caller:
        assert caller.held(LOGIN)[1] == number("77.00")
    for instant in ("2026-01-15T08:00:00Z", None):
        with timeline.at(instant) as caller:
            [expiry] = caller.history(login=LOGIN, operatorId="system")
            told = ("kind", "creditChange", "newCredit", "corrects", "effectiveAt", "requestId")
            assert [expiry[name] for name in told] == [
                "credit",
                number("-40.00"),
                number("37.00"),
                first["operationId"],
                "2026-01-13T00:00:00Z",
                f"~expiry/{first['operationId']}",
            ]
            expired = caller.get(f"/balances/operations/{first['operationId']}")["correctedBy"]
            assert expired == [expiry["operationId"]]
            assert caller.held(LOGIN)[1] == number("37.00")
    with timeline.at("2026-01-20T23:59:59Z") as caller:
        within(BOUND_S, lambda: caller.held(LOGIN)[1] == number("7.00"))
        [_, expiry] = caller.history(login=LOGIN, operatorId="system")
        assert expiry["creditBefore"] == number("37.00")
        assert expiry["recordedAt"] >= "2026-01-21T00:00:00"


class TestASimulatedLedger:
    def test_says_so_and_goes_on_from_where_it_stopped(self, timeline: Timeline) -> None:
        with timeline.first("2026-02-03T04:05:06Z", UTC_DAYS) as caller:
            server = caller.get("/server")
            assert server["simulated"] is True
            assert server["simulatedFrom"] == "2026-02-03T04:05:06Z"
            assert server["now"].startswith("2026-02-03T04:05:")
            last = deposit(caller, 1)["recordedAt"]
        with timeline.at(None) as caller:
            assert caller.get("/server")["simulated"] is True
            assert last <= deposit(caller, 1)["recordedAt"] < "2026-02-03T04:07"

    def test_cannot_be_put_back_in_time(self, timeline: Timeline, database_url: str) -> None:
        with timeline.first("2026-02-03T04:05:06Z", UTC_DAYS) as caller:
            deposit(caller, 1)
            ledger = caller.served.ledger.name
        assert "last recorded time" in refused_start(database_url, ledger, "2026-02-03T04:05:00Z")

    def test_takes_keys_at_any_time(self, timeline: Timeline) -> None:
        with timeline.first("2026-02-03T04:05:06Z", UTC_DAYS) as caller:
            assert caller.served.caller("finance").get("/groups").status == 200
            expired = caller.served.caller("finance", "--expires", "2026-02-04T00:00:00Z")
            assert expired.get("/groups").said == (401, "key_expired")
            assert deposit(caller, 1)["recordedAt"].startswith("2026-02-03T04:0")


def test_a_ledger_with_real_operations_cannot_be_simulated(admin: Caller, served: Served) -> None:
    admin.open(balance="1")
    refused = refused_start(served.database_url, "main", "2030-01-01T00:00:00Z")
    assert "cannot be simulated" in refused


def test_a_real_ledger_shows_the_real_time(admin: Caller) -> None:
    server = admin.get("/server")
    assert (server["simulated"], server["simulatedFrom"]) == (False, None)
    booked = admin.booked("deposit", login=admin.open(), amount=1)
    assert booked["recordedAt"][:10] in {server["now"][:10], admin.get("/server")["now"][:10]}


def refused_start(database_url: str, ledger: str, instant: str) -> str:
    """Try to serve from an instant on; give the reason why not."""
    where = ["--database-url", database_url, "--ledger", ledger, "--port", "0"]
    ended = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve", *where, "--simulate-from", instant],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr
