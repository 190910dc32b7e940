"""`fundledger demo`: a made-up broker that holds together, the same for the same seed, not in real books."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from api.client import Client, Deposit
from api.demo.clients import clients
from api.demo.season import BEGINS, ENDS
from api.history import KINDS
from ledger.clock import server_clock
from ledger.events import AccountOpened, KeyCreated, MoneyMoved
from tests.drive import LedgerUnderTest, folded
from tests.service import BOUND_S, Service, data_directory, end, end_server, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ledger.events import Event


class Made:
    """A demo that was made, and what the command said of it."""

    def __init__(self, database_url: str, folder: Path, *, ledger: str) -> None:
        self.database_url = database_url
        self.service = Service(("--database-url", database_url), folder / f"{ledger}.log", ledger=ledger)
        assert self.service.command("migrate").code == 0
        self.ledger = LedgerUnderTest(database_url, ledger)
        self.key = self.service.key()  # a key is no account: the demo goes on beside it
        self.said = self.service.command("demo", "--seed", "7")
        assert (self.said.code, self.said.errors) == (0, "")
        self.log = self.ledger.log()


@pytest.fixture(scope="module")
def made(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(database_url, tmp_path_factory.mktemp("demo"), ledger="demo")


@pytest.fixture(scope="module")
def served(made: Made) -> Iterator[Service]:
    """Serve the demo, as its own words say."""
    try:
        made.service.start()
        yield made.service
        made.service.stop()
    finally:
        end(made.service)


@pytest.fixture
def client(made: Made, served: Service) -> Iterator[Client]:
    with Client(served.url, made.key) as client:
        yield client


def content(log: list[Event]) -> list[Event]:
    """Give a log without its keys, which are secrets."""
    return [event for event in log if not isinstance(event, KeyCreated)]


class TestMaking:
    def test_it_makes_two_thousand_accounts_in_three_currencies(self, made: Made) -> None:
        opened = [event for event in made.log if isinstance(event, AccountOpened)]
        assert len(opened) == 2_000
        assert {event.currency for event in opened} == {"USD", "EUR", "JPY"}
        coverage = {group for (group,) in made.ledger.rows("SELECT group_name FROM groups WHERE coverage")}
        assert {event.group for event in opened} > coverage > set()
        modes = {mode for (mode,) in made.ledger.rows("SELECT equity_mode FROM groups")}
        assert modes == {"gross", "net"}

    def test_every_kind_of_money_operation_happens(self, made: Made) -> None:
        assert {event.kind for event in made.log if isinstance(event, MoneyMoved)} == KINDS

    def test_it_happens_on_working_days_of_three_months_in_order(self, made: Made) -> None:
        events = content(made.log)
        times = [event.recorded_at for event in events]
        assert times == sorted(times)
        assert times[0] == BEGINS
        assert ENDS - timedelta(hours=1) < times[-1] <= ENDS
        weekends = [event for event in events if event.recorded_at.weekday() > 4]
        assert all(getattr(event, "operator_id", None) == "system" for event in weekends)
        assert len({event.server_day for event in events}) > 60

    def test_credit_expires_right_after_the_close_of_its_day(self, made: Made) -> None:
        clock = server_clock(timezone="Europe/Athens", day_end="00:00", overnight_days="mon-fri")
        expiries = [e for e in made.log if isinstance(e, MoneyMoved) and e.reason == "credit expired"]
        assert expiries
        for event in expiries:
            assert event.effective == clock.latest_close(event.recorded_at)
            assert event.recorded_at - event.effective < timedelta(seconds=1)

    def test_it_holds_together(self, made: Made) -> None:
        accounts = folded(made.log)
        kept = made.ledger.rows("SELECT login, balance, credit FROM accounts ORDER BY login")
        assert kept == [(a.login, a.balance, a.credit) for _, a in sorted(accounts.items())]
        assert all(account.credit >= 0 for account in accounts.values())
        done = made.service.run("verify")
        assert (done.code, done.errors) == (0, "")

    def test_the_same_seed_makes_the_same_broker(self, made: Made, database_url: str, tmp_path: Path) -> None:
        again = Made(database_url, tmp_path, ledger="again")
        assert content(again.log) == content(made.log)
        for table in ("quotes", "positions", "online", "figures"):
            query = f"SELECT * FROM {table} ORDER BY 1"
            assert again.ledger.rows(query) == made.ledger.rows(query) != []

    def test_another_seed_makes_other_clients(self) -> None:
        one, other = ([*clients(Random(seed), begins=BEGINS)] for seed in (1, 2))
        assert len(one) == len(other)
        assert sum(a.account == b.account for a, b in zip(one, other, strict=True)) < 10

    def test_it_says_what_it_made_and_how_to_serve_it(self, made: Made) -> None:
        lines = made.said.output.splitlines()
        assert lines[0].startswith("the broker of seed 7: 2000 accounts, ")
        where = "--database-url URL --ledger demo"
        assert lines[-2:] == [
            f"serve it: fundledger serve {where}",
            f"make a key: fundledger keys create --role manager --name me {where}",
        ]


class TestRefusals:
    def test_a_ledger_with_accounts_is_left_alone(self, made: Made) -> None:
        before = made.ledger.positions()
        again = made.service.command("demo", "--seed", "7")
        assert (again.code, again.output) == (1, "")
        assert "the ledger demo has accounts" in again.errors
        assert made.ledger.positions() == before

    def test_a_ledger_on_another_simulated_clock_is_left_alone(
        self, database_url: str, tmp_path: Path
    ) -> None:
        service = Service(("--database-url", database_url), tmp_path / "log", ledger="simulated")
        assert service.command("migrate").code == 0
        try:
            service.start("--simulate-from", "2020-01-01T00:00:00Z")
            service.stop()
        finally:
            end(service)
        before = rows(database_url, "SELECT count(*) FROM ledger_events", ledger="simulated")
        done = service.command("demo")
        assert (done.code, done.output) == (1, "")
        assert "simulated already" in done.errors
        assert rows(database_url, "SELECT count(*) FROM ledger_events", ledger="simulated") == before


class TestServing:
    def test_the_service_goes_on_from_its_last_moment(self, made: Made, client: Client) -> None:
        server = client.server()
        assert server.simulated
        assert server.timezone == "Europe/Athens"
        assert server.server_day == made.log[-1].server_day
        login = next(event.login for event in made.log if isinstance(event, AccountOpened))
        booked = client.book(Deposit(request_id="mine", login=login, amount=1))
        assert booked.server_day == server.server_day

    @pytest.mark.parametrize(
        "path",
        [
            "/groups",
            "/symbols",
            "/users/100001",
            "/balances/history?limit=5&totals=true",
            "/accounts?groupFilter=*&limit=100&offset=0",
            "/feed/status",
            "/reports/daily",
            "/reports/exposure?by=symbol",
            "/reports/exposure?by=group",
            "/reports/exposure?by=currency",
            "/audit/events?limit=5",
        ],
    )
    def test_every_route_has_something_to_show(self, made: Made, served: Service, path: str) -> None:
        with served.client(made.key) as http:
            answer = http.get(path)
        assert answer.status_code == 200, answer.text
        assert _found(answer.json())

    def test_accounts_with_open_positions_have_figures(self, made: Made, client: Client) -> None:
        [(login,)] = made.ledger.rows("SELECT login FROM figures WHERE margin > 0 ORDER BY login LIMIT 1")
        account = client.user(int(login))
        assert account.margin > 0
        assert account.profit != 0


def test_on_a_data_directory_it_is_alone_and_makes_what_is_missing() -> None:
    with data_directory() as data:
        service = Service(("--data", str(data)), data.parent / "log")
        try:
            service.start()
            held = service.run("demo")
            assert (held.code, held.output) == (1, "")
            assert "stop that service" in held.errors
            service.stop()
            done = service.run("demo", bound_s=5 * BOUND_S)
            assert done.code == 0, done.errors
            assert done.errors == ""
            assert f"serve it: fundledger serve --data {data}\n" in done.output
        finally:
            end(service)
            end_server(data)


def _found(body: dict[str, Any]) -> bool:
    return any(body.values())
