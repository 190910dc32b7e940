"""`serve --simulate-from`: a ledger whose clock starts where it is told to, and only goes on from there."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from api.client import (
    Client,
    Credit,
    Deposit,
    GroupFields,
    HistoryQuery,
    ServerFields,
    Unauthorized,
    UserFields,
    ValidationError,
)
from api.housekeeping import POLL_S
from tests.service import BOUND_S, Service, by_then, end, rows, start, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.client import HistoryRow, Operation

CLOSE = datetime(2024, 3, 10, 21, tzinfo=UTC)
"""17:00 in New York on the day that lost an hour: the day before closed at 22:00 UTC."""

NEW_YORK = ServerFields(
    timezone="America/New_York", day_end="17:00", overnight_days="all", book_currency="USD"
)
STANDARD = GroupFields(currency="USD")
ACCOUNT = UserFields(login=1001, group="standard")
_numbers = count(1)


class Simulated:
    """A ledger, the services that serve it one after the other, and a key of the first day."""

    def __init__(self, database_url: str, log: Path) -> None:
        self.database_url = database_url
        self.ledger = f"simulated_{next(_numbers)}"
        self.service = Service(("--database-url", database_url), log, ledger=self.ledger)
        assert self.service.command("migrate").code == 0
        self.key = self.service.key()

    @contextmanager
    def serving(self, since: datetime | None) -> Iterator[Client]:
        """Serve for a while, from an instant on or from where the ledger is."""
        self.service.start(*([] if since is None else ["--simulate-from", since.isoformat()]))
        with Client(self.service.url, self.key) as client:
            yield client
        self.service.stop()

    def refuses(self, *options: str) -> str:
        """Have it served in a way that it refuses; give what it says."""
        process = start(self.service.log, "--port", "0", *self.service.where, *options)
        words = self.service.started(process)
        code = self.service.wait()
        assert (code, words) == (1, "")
        return self.service.logged().splitlines()[-1]

    def last_recorded(self) -> datetime:
        """Give the recorded time of the last event."""
        [[text]] = rows(
            self.database_url,
            "SELECT convert_from(state, 'UTF8')::jsonb ->> 'recordedAt' FROM ledger_events"
            " ORDER BY notification_id DESC LIMIT 1",
            ledger=self.ledger,
        )
        assert isinstance(text, str)
        return datetime.fromisoformat(text)


@pytest.fixture
def simulated(database_url: str, tmp_path: Path) -> Iterator[Simulated]:
    ledger = Simulated(database_url, tmp_path / "log")
    yield ledger
    end(ledger.service)
    done = ledger.service.command("verify")
    assert (done.code, done.errors) == (0, ""), done.output
    assert "Traceback" not in ledger.service.logged()


def pay_in(client: Client, amount: int = 1) -> Operation:
    return client.book(Deposit(request_id=f"r{next(_numbers)}", login=1001, amount=amount))


def give(client: Client, amount: int, expires_at: datetime | None = None) -> str:
    """Give credit, or take it out; give the operation id."""
    request_id = f"r{next(_numbers)}"
    booked = client.book(Credit(request_id=request_id, login=1001, amount=amount, expires_at=expires_at))
    assert booked.operation_id is not None
    return booked.operation_id


def open_account(client: Client, *, clock: ServerFields | None = None) -> None:
    if clock is not None:
        client.define_server(clock)
    client.define_group("standard", STANDARD)
    client.open_user(ACCOUNT)


def refused(client: Client) -> bool:
    """Say whether the client's key is worth nothing any more."""
    try:
        client.server()
    except Unauthorized:
        return True
    return False


def expiries(client: Client) -> list[HistoryRow]:
    rows = client.history(HistoryQuery(order="asc"))
    return [row for row in rows if row.request_id.startswith("~expiry/")]


class TestClock:
    def test_a_simulated_ledger_books_at_its_own_times_and_says_so_for_ever(
        self, simulated: Simulated
    ) -> None:
        begin = datetime(2020, 2, 28, 23, tzinfo=UTC)
        with simulated.serving(begin) as client:
            open_account(client)
            booked = pay_in(client)
            assert begin <= booked.recorded_at < begin + timedelta(minutes=5)
            assert booked.effective_at == booked.recorded_at
            assert booked.server_day == date(2020, 2, 28)
        for since in (None, datetime(2031, 1, 1, tzinfo=UTC)):
            with simulated.serving(since) as client:
                server = client.server()
                assert (server.simulated, server.simulated_from) == (True, begin)

    def test_keys_and_definitions_made_before_do_not_block_a_start_in_the_past(
        self, simulated: Simulated
    ) -> None:
        with simulated.serving(None) as client:
            client.define_group("standard", STANDARD)
            client.define_server(NEW_YORK)
            assert client.server().simulated is False
        with simulated.serving(datetime(2001, 1, 1, tzinfo=UTC)) as client:
            client.open_user(ACCOUNT)
            assert pay_in(client).server_day == date(2001, 1, 1)

    def test_a_ledger_with_accounts_is_real_and_refuses(self, simulated: Simulated) -> None:
        with simulated.serving(None) as client:
            open_account(client)
        said = simulated.refuses("--simulate-from", "2020-01-01T00:00:00Z")
        assert "a ledger with real operations cannot be simulated" in said

    def test_it_goes_on_from_its_last_recorded_time_and_never_back(self, simulated: Simulated) -> None:
        with simulated.serving(CLOSE) as client:
            open_account(client)
            last = pay_in(client).recorded_at
        before = (last - timedelta(microseconds=1)).isoformat()
        assert "last recorded time" in simulated.refuses("--simulate-from", before)
        with simulated.serving(last) as client:
            now = client.server().now
            assert last <= now < last + timedelta(minutes=5)
            last = pay_in(client).recorded_at
        with simulated.serving(None) as client:
            now = client.server().now
            assert last <= now < last + timedelta(minutes=5)

    def test_other_commands_stamp_its_last_recorded_time(self, simulated: Simulated) -> None:
        with simulated.serving(CLOSE) as client:
            open_account(client)
            last = simulated.last_recorded()
            simulated.service.key("finance")
            assert simulated.last_recorded() == last

    def test_its_time_needs_a_zone(self, simulated: Simulated) -> None:
        done = simulated.service.run("serve", "--simulate-from", "2020-01-01T00:00:00")
        assert (done.code, done.output) == (2, "")
        assert "zone" in done.errors


class TestKeys:
    def test_a_key_lives_by_the_real_clock(self, simulated: Simulated) -> None:
        hour = timedelta(hours=1)
        now = datetime.now(UTC)
        living = simulated.service.key("finance", "--expires", (now + hour).isoformat())
        dead = simulated.service.key("finance", "--expires", (now - hour).isoformat())
        for since in (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)):
            with simulated.serving(since):
                with Client(simulated.service.url, living) as client:
                    assert client.server().simulated
                dying = Client(simulated.service.url, dead)
                with dying as client, pytest.raises(Unauthorized, match="key_expired"):
                    client.server()

    def test_a_revoked_key_is_dead_at_once_whatever_time_it_is_there(self, simulated: Simulated) -> None:
        key = simulated.service.key("finance")
        simulated_past = datetime(2020, 1, 1, tzinfo=UTC)
        with simulated.serving(simulated_past), Client(simulated.service.url, key) as client:
            assert client.server().simulated
            assert simulated.service.command("keys", "revoke", key.split("_")[1]).code == 0
            by_then(1, lambda: refused(client))


class TestDays:
    def test_balances_of_the_day_and_month_before_are_right_after_every_pause(
        self, simulated: Simulated
    ) -> None:
        """By New York's clock, over the night that lost an hour and over the end of the month."""
        days = {
            CLOSE - timedelta(minutes=30): ("2024-03-10", 0, 0),
            CLOSE + timedelta(minutes=30): ("2024-03-11", 1, 0),
            datetime(2024, 3, 31, 21, 0, tzinfo=UTC): ("2024-04-01", 2, 2),
            datetime(2024, 11, 3, 21, 30, tzinfo=UTC): ("2024-11-03", 3, 3),
        }
        for number, (since, (day, previous, month)) in enumerate(days.items()):
            with simulated.serving(since) as client:
                if number == 0:
                    open_account(client, clock=NEW_YORK)
                assert pay_in(client).server_day.isoformat() == day
                held = client.user(1001)
                expected = [number + 1, previous, month]
                assert [held.balance, held.prevbalance, held.prevmonthbalance] == expected, day


class TestExpiry:
    def given(self, simulated: Simulated) -> dict[str, str]:
        """Give credit some hours before the close; part of it is taken out again."""
        with simulated.serving(CLOSE - timedelta(hours=3)) as client:
            open_account(client, clock=NEW_YORK)
            grants = {
                "today": give(client, 100, CLOSE - timedelta(hours=2)),
                "tomorrow": give(client, 20, CLOSE + timedelta(hours=2)),
                "never": give(client, 3),
            }
            give(client, -30)
            return grants

    def check(self, row: HistoryRow, grant: str, *, close: datetime, amount: int) -> None:
        """Hold a row against what the expiry of a grant is to look like."""
        assert row.request_id == f"~expiry/{grant}"
        assert (row.kind, row.operator_id, row.corrects) == ("credit", "system", grant)
        assert [row.credit_change, row.balance_change] == [-amount, 0]
        assert row.effective_at == close

    def test_what_is_left_of_a_grant_goes_out_at_the_close_unasked(self, simulated: Simulated) -> None:
        grants = self.given(simulated)
        with simulated.serving(CLOSE - timedelta(seconds=2)) as client:
            within(BOUND_S, lambda: bool(expiries(client)))
            [row] = expiries(client)
            self.check(row, grants["today"], close=CLOSE, amount=70)
            assert row.recorded_at >= CLOSE
            assert POLL_S < 1  # how late it may be where the machine has time
            assert row.server_day == date(2024, 3, 11)
            assert client.user(1001).credit == 23

    def test_after_a_downtime_it_is_booked_before_the_service_says_that_it_is_ready(
        self, simulated: Simulated
    ) -> None:
        grants = self.given(simulated)
        since = CLOSE + timedelta(days=3)
        with simulated.serving(since) as client:
            booked = expiries(client)
            with simulated.service.client(simulated.key) as http:
                assert http.get("/readyz").status_code == 200
        assert len(booked) == 2
        self.check(booked[0], grants["today"], close=CLOSE, amount=70)
        self.check(booked[1], grants["tomorrow"], close=CLOSE + timedelta(days=1), amount=20)
        assert all(row.recorded_at >= since for row in booked)
        with simulated.serving(since + timedelta(days=3)) as client:
            assert expiries(client) == booked
            assert client.user(1001).credit == 3

    def test_a_caller_cannot_take_the_name_of_an_expiry(self, simulated: Simulated) -> None:
        grants = self.given(simulated)
        with simulated.serving(None) as client:
            named = Deposit(request_id=f"~expiry/{grants['today']}", login=1001, amount=1)
            with pytest.raises(ValidationError, match="bad_request_id"):
                client.book(named)
