"""`fundledger import`: a running broker's accounts and their opening money, each exactly once."""

from __future__ import annotations

import csv
import os
import pty
import subprocess
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from api.account_rows import Row, read_rows
from api.client import (
    Client,
    DayColumn,
    GroupFields,
    HistoryQuery,
    Reverse,
    UserFields,
    ValidationError,
    Withdraw,
)
from api.importing import CHUNK_ROWS, CHUNKS_MAX, Import
from ledger.commands import OpenAccount
from ledger.events import AccountOpened, MoneyMoved
from tests.drive import LedgerUnderTest
from tests.make import define_group, money
from tests.service import BOUND_S, FUNDLEDGER, ROOT, Ran, Service, run, service_on, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.client import User

HEADER = "login,group,name,balance,credit\n"
_logins = count(10_001, 1_000)


class Takeover:
    """A served ledger, and files of accounts to import into it."""

    def __init__(self, service: Service, client: Client, ledger: LedgerUnderTest, folder: Path) -> None:
        self.service = service
        self.client = client
        self.ledger = ledger
        self.file = folder / "accounts.csv"
        self.results = folder / "accounts.results.csv"
        self.login = next(_logins)
        """The first of a thousand logins that are the test's own."""

    def write(self, rows: str, *, header: str = HEADER, encoding: str = "utf-8") -> None:
        """Write the file, `L` as the test's own first login."""
        self.file.write_bytes((header + rows.replace("L", str(self.login))).encode(encoding))

    def run(self, *options: str) -> Ran:
        """Import the file while the service runs."""
        return self.service.command("import", str(self.file), *options)

    def told(self) -> list[dict[str, str]]:
        """Read the file of results."""
        with self.results.open(newline="") as lines:
            return list(csv.DictReader(lines))

    def statuses(self) -> list[tuple[str, str]]:
        """Give status and code of each row."""
        return [(row["status"], row["code"]) for row in self.told()]

    def booked(self) -> list[Any]:
        """Give the events of the test's own accounts, in order."""
        own = range(self.login, self.login + 1_000)
        return [event for event in self.ledger.log() if getattr(event, "login", 0) in own]

    def account(self) -> User:
        """Read the test's own first account over HTTP."""
        return self.client.user(self.login)


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_on(database_url, tmp_path_factory.mktemp("import") / "log") as service:
        with Client(service.url, service.key()) as client:
            for group, currency in (("usd", "USD"), ("jpy", "JPY"), ("vip", "USD")):
                client.define_group(group, GroupFields(currency=currency))
        yield service
        service.stop()


@pytest.fixture
def takeover(service: Service, database_url: str, tmp_path: Path) -> Iterator[Takeover]:
    with Client(service.url, service.key()) as client:
        yield Takeover(service, client, LedgerUnderTest(database_url, "main"), tmp_path)


class TestFile:
    def test_an_account_comes_over_with_its_whole_profile_and_its_money(self, takeover: Takeover) -> None:
        header = (
            "balance,credit,login,group,name,email,country,phone,address,city,zipcode,comment,leverage,"
            "enable,enable_read_only,enable_change_password,magic,customer_id,regdate\n"
        )
        takeover.write(
            "1234.50,-0.00,L,usd,\"O'Neill, Zoë\",zoe@example.org,IE,'+353 1 555,Quay 1,Dublin,D01,"
            'said ""hi"",200,1,1,0,7,4711,1590000000\n'.replace('said ""hi""', '"said ""hi"""'),
            header=header,
        )
        done = takeover.run()
        assert (done.code, done.errors) == (0, "")
        assert done.output == (
            "1 rows: 1 imported, 0 already there, 0 refused\n"
            "opening money booked, USD: balance 1234.50, credit 0.00\n"
            f"results: {takeover.results}\n"
        )
        profile = {
            "login": takeover.login,
            "group": "usd",
            "currency": "USD",
            "name": "O'Neill, Zoë",
            "email": "zoe@example.org",
            "country": "IE",
            "phone": "+353 1 555",
            "address": "Quay 1",
            "city": "Dublin",
            "zipcode": "D01",
            "comment": 'said "hi"',
            "leverage": 200,
            "enable": 1,
            "enable_read_only": 1,
            "enable_change_password": 0,
            "magic": 7,
            "customer_id": 4711,
            "regdate": 1590000000,
            "balance": Decimal("1234.50"),
            "credit": 0,
        }
        assert {name: getattr(takeover.account(), name) for name in profile} == profile

    def test_opening_money_is_of_the_kind_opening_and_no_deposit(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,100.10,\n")
        assert takeover.run().code == 0
        page = takeover.client.history_page(HistoryQuery(login=takeover.login, totals=True))
        [row] = page.rows
        assert (row.kind, str(row.balance_change), str(row.credit_change)) == ("opening", "100.10", "0.00")
        assert page.totals is not None
        assert list(page.totals["USD"]) == ["opening"]
        [told] = takeover.told()
        assert told["operationIds"].split()[1] == row.operation_id

    def test_its_request_ids_are_of_no_caller(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,100.10,\n")
        assert takeover.run().code == 0
        ids = [f"~import/open/{takeover.login}", f"~import/opening/{takeover.login}"]
        assert [event.request_id for event in takeover.booked()] == ids
        for taken in ids:
            with pytest.raises(ValidationError, match="bad_request_id"):
                takeover.client.open_user(UserFields(group="usd"), request_id=taken)

    def test_a_daily_report_tells_opening_money_from_deposits(self, takeover: Takeover) -> None:
        group = f"own-{takeover.login}"
        takeover.client.define_group(group, GroupFields(currency="USD"))
        takeover.write(f"L,{group},Ann,100.10,7\n")
        assert takeover.run().code == 0
        [row] = takeover.client.daily(group_filter=group).rows
        balance, credit, nothing = Decimal("100.10"), Decimal(7), Decimal(0)
        assert row.balance == DayColumn(opening=nothing, movements={"opening": balance}, closing=balance)
        assert row.credit == DayColumn(opening=nothing, movements={"opening": credit}, closing=credit)

    def test_a_balance_below_zero_and_credit_come_over_too(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,-20.05,300\n")
        assert takeover.run().output.splitlines()[1] == (
            "opening money booked, USD: balance -20.05, credit 300.00"
        )
        account = takeover.account()
        assert (str(account.balance), str(account.credit)) == ("-20.05", "300.00")

    def test_sums_are_given_for_each_currency(self, takeover: Takeover) -> None:
        first = takeover.login
        takeover.write(f"{first},usd,,0.10,0.20\n{first + 1},jpy,,1000,\n{first + 2},vip,,0.20,\n")
        assert takeover.run().output.splitlines()[1:3] == [
            "opening money booked, JPY: balance 1000, credit 0",
            "opening money booked, USD: balance 0.30, credit 0.20",
        ]

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            ("0", 0),
            ("100000000", 100_000_000),
            ("1700000000", 1_700_000_000),
            ("2024-02-29", 1_709_164_800),
            ("2024-02-29T12:00:00+02:00", 1_709_200_800),
            ("7258118399", 7_258_118_399),
        ],
    )
    def test_a_date_of_registration_is_seconds_a_day_or_an_instant(
        self, takeover: Takeover, written: str, seconds: int
    ) -> None:
        takeover.write(f"L,usd,{written}\n", header="login,group,regdate\n")
        assert takeover.run().code == 0
        assert takeover.account().regdate == seconds

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_file_is_utf_8_with_or_without_its_mark(self, takeover: Takeover, encoding: str) -> None:
        takeover.write("L,usd,Ζωή,,\r\n", header="login,group,name,balance,credit\r\n", encoding=encoding)
        assert takeover.run().code == 0
        assert takeover.account().name == "Ζωή"

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ("login,group,colour\n", "there is no column 'colour'"),
            ("login;group\n", "there is no column 'login;group'"),
            ("login,name\n", "names no column group"),
            ("group,name\n", "names no column login"),
            ("login,group,login\n", "the column login is there twice"),
            ("", "names no column login"),
        ],
    )
    def test_a_header_that_is_wrong_stops_it_before_anything_is_booked(
        self, takeover: Takeover, header: str, words: str
    ) -> None:
        takeover.write("L,usd\n" if header else "", header=header)
        done = takeover.run()
        assert (done.code, done.output) == (1, "")
        assert words in done.errors
        assert not takeover.results.exists()
        assert takeover.booked() == []

    def test_a_file_that_is_not_there_is_a_plain_error(self, takeover: Takeover) -> None:
        done = takeover.run()
        assert (done.code, done.output) == (1, "")
        assert "No such file" in done.errors

    def test_results_go_where_they_are_wanted_but_not_over_the_file(
        self, takeover: Takeover, tmp_path: Path
    ) -> None:
        takeover.write("L,usd,,,\n")
        takeover.results = tmp_path / "told.csv"
        assert takeover.run("--results", str(takeover.results)).output.endswith(f"{takeover.results}\n")
        assert takeover.statuses() == [("imported", "")]
        before = takeover.file.read_bytes()
        assert takeover.run("--results", str(takeover.file)).code == 1
        assert takeover.file.read_bytes() == before


class TestRefusedRows:
    @pytest.mark.parametrize(
        ("row", "code", "words"),
        [
            (",usd,,,", "missing_field", "login is missing"),
            ("L,,,,", "missing_field", "group is missing"),
            ("x1,usd,,,", "wrong_type", "login must be a whole number"),
            ("0,usd,,,", "wrong_type", "login: Expected `int` >= 1"),
            ("0040,usd,,,", "wrong_type", "login must be a whole number without leading zeros"),
            ("L,nosuch,,,", "unknown_group", "there is no group nosuch"),
            ("L,usd,,1.5e3,", "bad_amount", "balance must be a plain decimal"),
            ('L,usd,,"1,500.00",', "bad_amount", "balance must be a plain decimal"),
            ("L,usd,,,1 000", "bad_amount", "credit must be a plain decimal"),
            ("L,usd,,1000000000.01,", "amount_too_large", "balance must not be beyond"),
            (f"L,usd,{'x' * 257},,", "wrong_type", "name: Expected `str` of length <= 256"),
            ("L,usd,\x00,,", "bad_text", "name holds a NUL"),
            ('L,usd,"Ann\n21,usd,Bob",,', "bad_text", "name holds a line end"),
            ('L,usd,"Ann\r",,', "bad_text", "name holds a line end"),
            ("L,usd,", "bad_row", "the row has 3 cells where the first one names 5 columns"),
        ],
    )
    def test_a_row_that_is_wrong_is_named_and_the_others_go_through(
        self, takeover: Takeover, row: str, code: str, words: str
    ) -> None:
        good = takeover.login + 1
        takeover.write(f"{row}\n\n{good},usd,,5,\n")
        done = takeover.run()
        assert done.code == 1
        assert done.output.startswith("2 rows: 1 imported, 0 already there, 1 refused\n")
        assert "1 rows were refused" in done.errors
        [refused, imported] = takeover.told()
        assert (refused["row"], refused["status"], refused["code"]) == ("2", "refused", code)
        assert words in refused["detail"]
        assert (imported["row"], imported["login"], imported["status"]) == ("4", str(good), "imported")
        assert {event.login for event in takeover.booked()} == {good}

    @pytest.mark.parametrize(
        ("column", "cell", "words"),
        [
            ("leverage", "1:100", "leverage must be a whole number"),
            ("leverage", "0", "leverage: Expected `int` >= 1"),
            ("magic", "007", "magic must be a whole number without leading zeros"),
            ("enable", "yes", "enable must be one of 0, 1, false, true"),
            ("regdate", "31.05.2024", "regdate must be seconds since 1970"),
            ("regdate", "20240531", "regdate must be seconds since 1970, in 9 or 10 digits"),
            ("regdate", "240531", "regdate must be seconds since 1970, in 9 or 10 digits"),
            ("regdate", "20240531120000", "regdate must be seconds since 1970, in 9 or 10 digits"),
            ("regdate", "1717113600000", "regdate must be seconds since 1970, in 9 or 10 digits"),
            ("regdate", "0123456789", "regdate must be seconds since 1970, in 9 or 10 digits"),
            ("regdate", "2024-05-31T10:00:00", "regdate must be seconds since 1970"),
            ("regdate", "1969-12-31", "regdate: Expected `int` >= 0"),
            ("regdate", "2200-01-01", "regdate: Expected `int` <= 7258118399"),
            ("regdate", "9999999999", "regdate: Expected `int` <= 7258118399"),
        ],
    )
    def test_a_cell_of_the_wrong_kind_is_named_by_its_column(
        self, takeover: Takeover, column: str, cell: str, words: str
    ) -> None:
        takeover.write(f"L,usd,{cell}\n", header=f"login,group,{column}\n")
        assert takeover.run().code == 1
        [told] = takeover.told()
        assert told["code"] == "wrong_type"
        assert words in told["detail"]

    def test_text_that_is_no_utf_8_is_refused_by_its_column(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Müller,,\n", encoding="latin-1")
        assert takeover.run().code == 1
        assert takeover.told()[0]["detail"] == "name is not UTF-8"

    @pytest.mark.parametrize("below", [0, 1, 9_000])
    @pytest.mark.parametrize("broken", ['"lost,,', '"lost" x,,'])
    def test_where_a_file_is_no_csv_any_more_it_ends_and_says_so(
        self, takeover: Takeover, broken: str, below: int
    ) -> None:
        lost = f"{takeover.login + 1},usd,{broken}\n" + f"{takeover.login + 2},usd,Bob,,\n" * below
        takeover.write(f"L,usd,Ann,,\n{lost}")
        done = takeover.run()
        assert done.code == 1
        assert takeover.statuses() == [("imported", ""), ("refused", "bad_csv")]
        assert "nothing below was read" in takeover.told()[1]["detail"]
        assert done.output.splitlines()[:2] == [
            "2 rows: 1 imported, 0 already there, 1 refused",
            "the file is broken: from row 3 on nothing was read",
        ]

    def test_rows_that_two_stray_quotes_make_one_are_refused(self, takeover: Takeover) -> None:
        header = "login,group,name\n"
        takeover.write('L,usd,"Ann\n21,usd,Bob\n22,usd,Carl"\n', header=header)
        assert takeover.run().code == 1
        [told] = takeover.told()
        assert (told["code"], told["detail"]) == ("bad_text", "name holds a line end: a quote may be astray")
        assert takeover.booked() == []

    def test_a_login_that_another_has_taken_gets_none_of_the_money(self, takeover: Takeover) -> None:
        takeover.client.open_user(UserFields(login=takeover.login, group="usd"))
        takeover.write("L,usd,,500,\n")
        assert takeover.run().code == 1
        assert takeover.statuses() == [("refused", "login_taken")]
        assert takeover.account().balance == 0

    def test_an_account_without_its_money_is_said_to_be_so_and_a_mended_row_completes_it(
        self, takeover: Takeover
    ) -> None:
        takeover.write("L,jpy,,100.50,\n")
        assert takeover.run().code == 1
        [told] = takeover.told()
        assert told["code"] == "too_many_decimals"
        assert told["detail"] == (
            "the account is open, its opening money is not booked:"
            " balance has 2 decimals where 0 are allowed; it is refused, not rounded"
        )
        [opened] = takeover.booked()
        assert told["operationIds"] == f"op_{opened.position}"
        takeover.write("L,jpy,,100,\n")
        assert takeover.run().code == 0
        assert takeover.told()[0]["operationIds"].split()[0] == f"op_{opened.position}"
        assert takeover.account().balance == 100

    def test_what_a_spreadsheet_would_run_is_quoted_in_the_results(self, takeover: Takeover) -> None:
        takeover.write("=1+1,usd,,,\n")
        assert takeover.run().code == 1
        assert takeover.told()[0]["login"] == "'=1+1"


class TestOnce:
    def test_a_file_that_comes_again_books_nothing(self, takeover: Takeover) -> None:
        takeover.write("".join(f"{takeover.login + n},usd,Client {n},{n}.25,1\n" for n in range(7)))
        assert (
            takeover.run().output.splitlines()[1] == "opening money booked, USD: balance 22.75, credit 7.00"
        )
        told, log = takeover.told(), takeover.ledger.positions()
        again = takeover.run()
        assert again.code == 0
        assert again.output.splitlines()[:-1] == [
            "7 rows: 0 imported, 7 already there, 0 refused",
            "opening money booked before, USD: balance 22.75, credit 7.00",
        ]
        assert [row | {"status": "already"} for row in told] == takeover.told()
        assert takeover.ledger.positions() == log

    def test_sums_tell_what_this_run_booked_from_what_was_booked_before(self, takeover: Takeover) -> None:
        first = takeover.login
        takeover.write(f"{first},usd,,100,\n{first + 1},usd,,10,5\n")
        assert takeover.run().code == 0
        takeover.write(f"{first},usd,,100,\n{first + 1},usd,,10,5\n{first + 2},usd,,1.50,\n")
        assert takeover.run().output.splitlines()[:-1] == [
            "3 rows: 1 imported, 2 already there, 0 refused",
            "opening money booked, USD: balance 1.50, credit 0.00",
            "opening money booked before, USD: balance 110.00, credit 5.00",
        ]

    def test_an_opening_that_was_reversed_is_said_to_be_booked_before_and_not_again(
        self, takeover: Takeover
    ) -> None:
        takeover.write("L,usd,Ann,100,\n")
        assert takeover.run().code == 0
        opening = takeover.told()[0]["operationIds"].split()[1]
        request_id = f"reverse-{takeover.login}"
        takeover.client.book(Reverse(request_id=request_id, operation_id=opening, reason="wrong file"))
        assert takeover.run().output.splitlines()[:-1] == [
            "1 rows: 0 imported, 1 already there, 0 refused",
            "opening money booked before, USD: balance 100.00, credit 0.00",
        ]
        assert takeover.account().balance == 0

    def test_an_account_without_money_is_opened_once_and_gets_no_operation_of_nothing(
        self, takeover: Takeover
    ) -> None:
        takeover.write("L,usd,Ann,,0.00\n")
        assert takeover.run().code == 0
        [told] = takeover.told()
        assert takeover.run().output.splitlines()[:-1] == ["1 rows: 0 imported, 1 already there, 0 refused"]
        assert takeover.told() == [told | {"status": "already"}]
        [opened] = takeover.booked()
        assert told["operationIds"] == f"op_{opened.position}"

    @pytest.mark.parametrize(
        ("row", "fields"),
        [
            ("L,usd,Anna,100,5", "name"),
            ("L,vip,Ann,100,5", "group"),
            ("L,usd,Ann,100.01,5", "balance"),
            ("L,usd,Ann,100,", "credit"),
            ("L,usd,Ann,,", "balance, credit"),
        ],
    )
    def test_a_row_that_has_changed_since_is_refused_by_what_differs(
        self, takeover: Takeover, row: str, fields: str
    ) -> None:
        takeover.write("L,usd,Ann,100,5\n")
        assert takeover.run().code == 0
        takeover.write(f"{row}\n")
        assert takeover.run().code == 1
        [told] = takeover.told()
        assert (told["status"], told["code"]) == ("refused", "request_id_reused")
        assert told["detail"] == f"the row was imported before, and differs now: {fields}"
        assert len(takeover.booked()) == 2

    @pytest.mark.parametrize("options", [(), ("--dry-run",)])
    @pytest.mark.parametrize("between", [0, 2 * CHUNK_ROWS])
    def test_a_login_that_comes_twice_in_a_file_is_refused_the_second_time(
        self, takeover: Takeover, between: int, options: tuple[str, ...]
    ) -> None:
        filler = "".join(f"{takeover.login * 1_000 + n},usd,,,\n" for n in range(between))
        takeover.write(f"L,usd,Ann,100,\n{filler}L,usd,Ann,100.00,\nL,usd,Ann,99,\n")
        done = takeover.run(*options)
        assert done.code == 1
        assert done.output.splitlines()[1].endswith(", USD: balance 100.00, credit 0.00")
        assert takeover.statuses()[-2:] == [("refused", "repeated_login")] * 2
        detail = f"login {takeover.login} stands in row 2 already"
        assert [row["detail"] for row in takeover.told()[-2:]] == [detail] * 2
        own = [event for event in takeover.booked() if event.login == takeover.login]
        assert len(own) == (0 if options else 2)

    def test_a_login_counts_as_there_by_a_row_that_was_refused(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,1e2,\nL,usd,Ann,200,\n")
        assert takeover.run().code == 1
        assert takeover.statuses() == [("refused", "bad_amount"), ("refused", "repeated_login")]
        assert takeover.booked() == []

    def test_an_account_that_moves_on_after_its_import_is_still_already_there(
        self, takeover: Takeover
    ) -> None:
        takeover.write("L,usd,Ann,100,\n")
        assert takeover.run().code == 0
        request_id = f"withdraw-{takeover.login}"
        takeover.client.book(Withdraw(request_id=request_id, login=takeover.login, amount=30))
        assert takeover.run().code == 0
        assert takeover.account().balance == 70

    def test_killed_in_the_middle_and_run_again_it_books_each_row_exactly_once(
        self, takeover: Takeover, tmp_path: Path
    ) -> None:
        """It is killed where it waits for the rest of its rows, with its first results there."""
        own = takeover.login * 1_000
        rows = 6 * CHUNK_ROWS
        written = [f"{own + n},usd,Client {n},1.01,\n" for n in range(rows)]
        takeover.write("".join(written))
        pipe = tmp_path / "accounts.pipe"
        os.mkfifo(pipe)
        command = [*FUNDLEDGER, "import", str(pipe), "--results", str(takeover.results)]
        with pipe.open("r+b", buffering=0) as way:
            begun = (HEADER + "".join(written[: 3 * CHUNK_ROWS - 1])).encode()
            os.set_blocking(way.fileno(), False)
            assert way.write(begun) == len(begun)
            process = subprocess.Popen([*command, *takeover.service.where], cwd=ROOT)
            try:
                within(BOUND_S, lambda: takeover.results.exists() and takeover.results.stat().st_size > 100)
            finally:
                process.kill()
                process.wait()
        opened = self._logins(takeover, own, AccountOpened)
        assert 0 < len(opened) < rows
        done = takeover.run()
        assert (done.code, done.errors) == (0, "")
        sums = [line.split(" balance ")[1] for line in done.output.splitlines() if " balance " in line]
        assert sum(round(float(text.split(",")[0]) * 100) for text in sums) == rows * 101
        expected = list(range(own, own + rows))
        assert sorted(self._logins(takeover, own, AccountOpened)) == expected
        assert sorted(self._logins(takeover, own, MoneyMoved)) == expected
        assert takeover.service.run("verify").code == 0

    def _logins(self, takeover: Takeover, first: int, event: type[Any]) -> list[int]:
        return [e.login for e in takeover.ledger.log() if isinstance(e, event) and e.login >= first]


class TestDryRun:
    def test_it_says_what_would_be_and_books_nothing(self, takeover: Takeover) -> None:
        takeover.write(
            f"L,usd,Ann,100,\nx,usd,,,\n{takeover.login + 1},jpy,Bob,0.5,\n{takeover.login + 2},jpy,Bob,5,\n"
        )
        log = takeover.ledger.positions()
        done = takeover.run("--dry-run")
        assert done.code == 1
        assert done.output.splitlines()[:3] == [
            "4 rows: 2 importable, 0 already there, 2 refused",
            "opening money to book, JPY: balance 5, credit 0",
            "opening money to book, USD: balance 100.00, credit 0.00",
        ]
        codes = [("importable", ""), ("refused", "wrong_type"), ("refused", "too_many_decimals")]
        assert takeover.statuses() == [*codes, ("importable", "")]
        assert not any(row["operationIds"] for row in takeover.told())
        assert takeover.told()[2]["detail"].startswith("opening money: balance has 1 decimals")
        assert takeover.ledger.positions() == log

    def test_after_the_import_it_finds_everything_there(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,100,\n")
        assert takeover.run().code == 0
        [told] = takeover.told()
        assert takeover.run("--dry-run").output.splitlines()[1] == (
            "opening money booked before, USD: balance 100.00, credit 0.00"
        )
        assert takeover.told() == [told | {"status": "already"}]


class TestSize:
    @pytest.mark.anyio
    async def test_a_file_of_any_length_is_read_only_a_few_rows_ahead(self, ledger: LedgerUnderTest) -> None:
        """Rows without an end: after each chunk of results no more than the next ones have been read."""
        read = 0

        def endless() -> Iterator[Row]:
            nonlocal read
            while True:
                read += 1
                account = OpenAccount(login=read, group="standard")
                yield Row(number=read, login=read, account=account, balance=money(1), credit=None)

        async with ledger.desk() as desk:
            await desk.book(define_group())
            told = 0
            results = Import(desk.writer, dry_run=False).results(endless())
            async for chunk in results:
                told += len(chunk)
                assert told % CHUNK_ROWS == 0
                assert read <= told - CHUNK_ROWS + CHUNK_ROWS * CHUNKS_MAX
                if told == 4 * CHUNK_ROWS:
                    break
            await results.aclose()

    def test_rows_are_read_one_by_one(self, tmp_path: Path) -> None:
        file = tmp_path / "accounts.csv"
        file.write_text("login,group\n" + "1001,usd\n" * 100_000)
        with file.open(newline="") as lines:
            next(read_rows(lines))
            assert os.lseek(lines.fileno(), 0, os.SEEK_CUR) < 100_000


class TestProgress:
    def test_someone_who_watches_sees_a_bar_and_a_file_does_not(self, takeover: Takeover) -> None:
        takeover.write("L,usd,Ann,,\n")
        assert run("import", str(takeover.file), *takeover.service.where).errors == ""
        terminal, its_end = pty.openpty()
        arguments = [*FUNDLEDGER, "import", str(takeover.file), *takeover.service.where]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
        subprocess.run(
            arguments, check=True, cwd=ROOT, stderr=its_end, stdout=subprocess.DEVNULL, env=environment
        )
        os.close(its_end)
        assert b"1 rows" in os.read(terminal, 10_000)
        os.close(terminal)


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(HEADER)
    done = run("import", str(file), "--data", str(tmp_path / "nosuch"))
    assert (done.code, done.output) == (1, "")
    assert "there is no ledger in" in done.errors
