"""What each page tells of a broker's month: the figures of the API, to the digit, and where they lead."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.api.served import BOUND_S, Caller, Served, number, serving
from tests.console.broker import FORMULA, LONG, NAME, Broker, live
from tests.console.files import csv_rows, pdf_pages, pdf_text, workbook_formulas, workbook_rows
from tests.drive import LedgerUnderTest
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.console.visitor import Page, Visitor

MARCH = {"fromDay": "2025-03-01", "toDay": "2025-03-31"}


@pytest.fixture(scope="module")
def broker(database_url: str) -> Broker:
    return live(LedgerUnderTest(database_url, "main"))


@pytest.fixture(scope="module")
def served(broker: Broker, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service on the broker's ledger."""
    with serving(database_url, tmp_path_factory.mktemp("pages") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def api(served: Served) -> Caller:
    """Give a caller of the API, to compare with."""
    return served.caller()


@pytest.fixture(scope="module")
def ann(visit: Callable[..., Visitor]) -> Visitor:
    return visit("manager", operator="Ann")


def server_day() -> date:
    """Give the broker's day of this moment."""
    return datetime.now(ZoneInfo("Europe/Athens")).date()


def on_one_day(read: Callable[[], Page]) -> tuple[date, Page]:
    """Read a page anew where the day has turned meanwhile; give the day on which it was read."""
    day, page = server_day(), read()
    return (day, page) if day == server_day() else on_one_day(read)


def column(page: Page, label: str, table: int = 0) -> list[str]:
    """Give the cells under a label."""
    head, *rows = page.tables[table]
    return [row[head.index(label)] for row in rows]


class TestAccounts:
    def test_shows_each_account_with_the_digits_of_its_currency(self, ann: Visitor) -> None:
        page = ann.get("/accounts")
        assert column(page, "Login")[:5] == ["1001", "1002", "1003", "1004", "1005"]
        assert column(page, "Balance")[:5] == ["1179.50", "100.25", "1234.56", "98765", LONG]
        assert column(page, "Credit")[:5] == ["52.00", "0.00", "0.00", "0", "0.00000000"]
        assert column(page, "Name")[0] == NAME

    def test_the_footer_has_the_totals_of_each_currency_and_says_what_it_lacks(self, ann: Visitor) -> None:
        page = ann.get("/accounts")
        totals = {row[0]: row[4:6] for row in page.rows[6:]}
        assert totals == {
            "BTC, 1 account": [LONG, "0.00000000"],
            "EUR, 1 account": ["1234.56", "0.00"],
            "JPY, 1 account": ["98765", "0"],
            "USD, 2 accounts": ["1279.75", "52.00"],
            "all in USD": ["–", "–"],  # noqa: RUF001 - what is shown where there is no rate
        }
        assert "there is no rate from BTC to USD" in page.text

    def test_one_currency_has_one_line_of_totals(self, ann: Visitor) -> None:
        page = ann.get("/accounts", {"groupFilter": "STD-USD"})
        assert [row[0] for row in page.rows] == ["Login", "1001", "1002", "USD, 2 accounts"]

    @pytest.mark.parametrize(
        ("query", "logins"),
        [
            ({"groupFilter": "STD-*,!STD-JPY"}, ["1001", "1002", "1005"]),
            ({"field1": "balance", "op1": ">", "value1": "1179.49"}, ["1001", "1003", "1004", "1005"]),
            ({"field1": "balance", "op1": "between", "value1": "100.25..1179.50"}, ["1001", "1002"]),
            ({"field1": "currency", "op1": "in", "value1": "EUR, JPY"}, ["1003", "1004"]),
            ({"field1": "currency", "op1": "not in", "value1": "EUR,JPY,BTC"}, ["1001", "1002"]),
            ({"field1": "name", "op1": "like", "value1": "Ł%"}, ["1001"]),
            ({"field1": "name", "op1": "=", "value1": FORMULA}, ["1002"]),
            ({"field1": "enable", "op1": "=", "value1": "no"}, []),
            (
                {
                    "field1": "group",
                    "op1": "like",
                    "value1": "STD%",
                    "field3": "credit",
                    "op3": "≠",
                    "value3": "0",
                },
                ["1001"],
            ),
            ({"orderBy": "balance", "direction": "DESC"}, ["1005", "1004", "1003", "1001", "1002"]),
            ({"limit": "25", "offset": "3"}, ["1004", "1005"]),
        ],
    )
    def test_selects_sorts_and_pages_as_the_list_of_the_api(
        self, ann: Visitor, query: dict[str, str], logins: list[str]
    ) -> None:
        page = ann.get("/accounts", query)
        assert page.status == 200
        found = [login for login in column(page, "Login") if login.isdigit()] if page.tables else []
        assert found == logins

    def test_what_was_filled_in_stays_and_room_for_one_more_rule_is_there(self, ann: Visitor) -> None:
        query = {
            "field1": "balance",
            "op1": ">",
            "value1": "5",
            "field2": "login",
            "op2": "<",
            "value2": "1003",
        }
        form = ann.get("/accounts", query).form("/accounts")
        assert {name: form.fields[name] for name in query} == query
        assert (form.fields["field3"], form.fields["value3"]) == ("", "")
        again = ann.send(form, field3="currency", value3="USD")
        assert column(again, "Login")[:2] == ["1001", "1002"]

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ({"field1": "balance", "op1": ">", "value1": "much"}, "Balance compares with numbers"),
            ({"field1": "balance", "op1": "like", "value1": "5"}, "cannot be compared by like"),
            ({"field1": "nonsense", "op1": "=", "value1": "5"}, "nonsense"),
            ({"field1": "balance", "op1": "between", "value1": "9..1"}, "balance"),
            ({"orderBy": "nonsense"}, "nonsense"),
            ({"limit": "1000"}, "limit"),
            ({"columns": "login,nonsense"}, "nonsense"),
            ({"color": "red"}, "color"),
        ],
    )
    def test_a_wrong_question_is_answered_beside_its_form(
        self, ann: Visitor, query: dict[str, str], says: str
    ) -> None:
        page = ann.get("/accounts", query)
        assert page.status == 400
        assert says in page.text
        assert "where[" not in page.text.lower()
        assert page.form("/accounts").method == "get"

    def test_nothing_found_says_what_to_do(self, ann: Visitor) -> None:
        page = ann.get("/accounts", {"groupFilter": "nowhere"})
        assert (page.status, page.tables) == (200, [])
        assert "No account matches" in page.text
        assert "/console/accounts" in page.links

    def test_columns_are_those_that_are_chosen(self, ann: Visitor) -> None:
        page = ann.get("/accounts?columns=login&columns=regdate&columns=balance&columns=magic")
        assert page.rows[0] == ["Login", "Balance", "Registered", "Magic"]
        assert re.fullmatch(r"2025-03-03 10:00:00 \+02:00", page.rows[1][2])

    def test_pages_lead_to_each_other(self, ann: Visitor) -> None:
        links = ann.get("/accounts", {"limit": "25", "offset": "3", "groupFilter": "*"}).links
        assert "/console/accounts?limit=25&groupFilter=%2A" in links


class TestFiles:
    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"groupFilter": "STD-*", "orderBy": "balance", "direction": "DESC", "limit": "25", "offset": "1"},
            {"columns": "login,name,regdate,enable,margin_level,balance,online,comment"},
        ],
    )
    def test_csv_and_workbook_hold_exactly_what_is_shown(self, ann: Visitor, query: dict[str, str]) -> None:
        shown = ann.get("/accounts", query).rows
        answer = ann.file("/accounts.csv", query)
        assert answer.headers["content-disposition"] == 'attachment; filename="accounts.csv"'
        kept = [[cell.removeprefix("'") for cell in row] for row in csv_rows(answer.content)]
        assert kept == shown
        cells = workbook_rows(ann.file("/accounts.xlsx", query).content)
        assert [[_plain(cell.says) for cell in row] for row in cells] == [
            [_plain(c) for c in row] for row in shown
        ]

    @pytest.mark.parametrize("seconds", ["7258118400", "253402300799", "1713000000000", str(2**53 - 1)])
    def test_a_registration_beyond_all_books_is_shown_as_the_number_that_it_is(
        self, ann: Visitor, served: Served, seconds: str
    ) -> None:
        query = {"columns": "login,regdate", "field1": "login", "op1": "=", "value1": "1004"}
        of_account = "UPDATE profiles SET regdate = %s WHERE login = 1004"
        [[registered]] = served.ledger.rows("SELECT regdate FROM profiles WHERE login = 1004")
        served.ledger.rows(of_account, seconds)
        try:
            shown = ann.get("/accounts", query).rows
            files = ann.file("/accounts.csv", query), ann.file("/accounts.xlsx", query)
        finally:
            served.ledger.rows(of_account, registered)
        assert shown[1] == ["1004", seconds]
        assert csv_rows(files[0].content)[1] == ["1004", seconds]
        assert [cell.says for cell in workbook_rows(files[1].content)[1]] == ["1004", seconds]

    def test_no_cell_is_run_by_a_spreadsheet(self, ann: Visitor) -> None:
        rows = csv_rows(ann.file("/accounts.csv").content)
        assert rows[2][1] == f"'{FORMULA}"
        content = ann.file("/accounts.xlsx").content
        assert workbook_formulas(content) == 0
        cell = workbook_rows(content)[2][1]
        assert (cell.says, cell.kind) == (FORMULA, "text")

    def test_an_amount_of_more_digits_than_a_cell_holds_is_a_text(self, ann: Visitor) -> None:
        rows = workbook_rows(ann.file("/accounts.xlsx").content)
        by_login = {row[0].says: row[4] for row in rows}
        assert (by_login["1005"].says, by_login["1005"].kind) == (LONG, "text")
        assert (by_login["1001"].says, by_login["1001"].kind) == ("1179.5", "number")
        total = next(row for row in rows if row[0].says == "BTC, 1 account")
        assert (total[4].says, total[4].kind) == (LONG, "text")

    def test_all_that_match_come_in_one_file_when_they_are_asked_for(self, ann: Visitor) -> None:
        query = {"limit": "2", "offset": "3"}
        assert [row[0] for row in csv_rows(ann.file("/accounts.csv", query).content)][1:3] == ["1004", "1005"]
        whole = csv_rows(ann.file("/accounts.csv", query | {"whole": "1"}).content)
        assert [row[0] for row in whole][1:6] == ["1001", "1002", "1003", "1004", "1005"]

    def test_a_wrong_question_gives_a_page_and_no_file(self, ann: Visitor) -> None:
        answer = ann.http.get(ann.url + "/accounts.xlsx", params={"orderBy": "nonsense"})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")


def _plain(cell: str) -> str:
    """Read a number as a spreadsheet does: 37.50 is 37.5; more than fifteen digits are a text."""
    digits = sum(character.isdigit() for character in cell.lstrip("-0."))
    return f"{float(cell):g}" if re.fullmatch(r"-?\d+(\.\d+)?", cell) and digits <= 15 else cell


class TestAccount:
    def test_tells_the_figures_of_the_api(self, ann: Visitor, api: Caller) -> None:
        page, profile = ann.get("/accounts/1001"), api.get("/users/1001")
        figures = dict(re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", page.html))
        plain = {label: re.sub("<.*?>", "", figure) for label, figure in figures.items()}
        for label, name in {
            "Balance": "balance",
            "Credit": "credit",
            "Equity": "equity",
            "Margin": "margin",
            "Withdrawable": "withdrawable",
            "Prev. balance": "prevbalance",
            "Prev. month": "prevmonthbalance",
        }.items():
            assert number(plain[label]) == profile[name], label
        assert f"Account 1001 {NAME}" in page.text

    def test_a_period_leads_from_opening_over_movements_to_closing(self, ann: Visitor) -> None:
        page = ann.get("/accounts/1001", MARCH)
        assert page.tables[0] == [
            ["2025-03-01 to 2025-03-31", "Operations", "Balance", "Credit"],
            ["Opening", "", "0.00", "0.00"],
            ["credit", "1", "0.00", "50.00"],
            ["deposit", "1", "1500.00", "0.00"],
            ["transfer", "1", "-100.25", "0.00"],
            ["withdrawal", "1", "-300.50", "0.00"],
            ["Closing", "", "1099.25", "50.00"],
        ]

    def test_history_runs_from_balance_to_balance(self, ann: Visitor, broker: Broker) -> None:
        page = ann.get("/accounts/1001", MARCH | {"order": "asc"})
        assert column(page, "Balance", 1) == ["1500.00", "1199.50", "1199.50", "1099.25"]
        assert column(page, "Operation", 1) == [broker[name] for name in ("first", "out", "bonus", "moved")]

    def test_by_effective_time_the_period_reads_as_it_happened(self, ann: Visitor, broker: Broker) -> None:
        page = ann.get("/accounts/1001", MARCH | {"order": "asc", "basis": "effective"})
        assert page.tables[0][-1] == ["Closing", "", "1174.50", "50.00"]
        assert column(page, "Operation", 1)[-1] == broker["late"]
        assert column(page, "Effective", 1)[-1].startswith("2025-03-15 14:00:00 +02:00 booked 2025-04-02")

    def test_a_server_day_is_the_servers(self, ann: Visitor, broker: Broker) -> None:
        april = ann.get("/accounts/1001", {"fromDay": "2025-04-01", "toDay": "2025-04-01"})
        assert column(april, "Operation", 1) == [broker["night"]]
        assert column(april, "Booked", 1) == ["2025-04-01 01:30:00 +03:00"]

    def test_a_month_without_operations_says_so(self, ann: Visitor) -> None:
        page = ann.get("/accounts/1001")  # today's month
        assert "Nothing moved in these days" in page.text
        assert page.tables[0][1][2] == page.tables[0][-1][2] == "1179.50"

    def test_the_periods_that_are_asked_for_most_are_a_click_away(self, ann: Visitor) -> None:
        today, page = on_one_day(lambda: ann.get("/accounts/1001", {"order": "asc"}))
        links = " ".join(page.links)
        last_month = today.replace(day=1) - timedelta(days=1)
        assert f"order=asc&fromDay={last_month.replace(day=1)}&toDay={last_month}" in links
        assert f"fromDay={today.year}-01-01" in links

    def test_days_that_end_before_they_begin_are_refused_beside_the_form(self, ann: Visitor) -> None:
        page = ann.get("/accounts/1001", {"fromDay": "2025-03-02", "toDay": "2025-03-01"})
        assert (page.status, page.form("/accounts/1001").fields["fromDay"]) == (400, "2025-03-02")

    @pytest.mark.parametrize("path", ["/accounts/4711", "/accounts/0", "/accounts/01001", "/accounts/x"])
    def test_an_unknown_account_is_not_found_and_the_page_says_where_to_look(
        self, ann: Visitor, path: str
    ) -> None:
        page = ann.get(path)
        assert page.status == 404
        assert "Not found" in page.text
        assert "/console/accounts" in page.links

    def test_the_chart_shows_what_was_held_at_each_close(self, ann: Visitor) -> None:
        points = ann.file("/accounts/1001/chart", {"fromDay": "2025-03-02", "toDay": "2025-03-11"}).json()
        assert points["days"] == [f"2025-03-{day:02}" for day in range(2, 12)]
        assert points["balance"] == ["0.00"] + ["1500.00"] * 7 + ["1099.25"] * 2
        assert points["credit"] == ["0.00"] * 8 + ["50.00"] * 2
        assert points["currency"] == "USD"

    def test_the_chart_tells_days_anew_by_effective_time(self, ann: Visitor) -> None:
        asked = {"fromDay": "2025-03-14", "toDay": "2025-03-15"}
        assert ann.file("/accounts/1001/chart", asked).json()["balance"] == ["1099.25", "1099.25"]
        restated = ann.file("/accounts/1001/chart", asked | {"basis": "effective"}).json()
        assert restated["balance"] == ["1099.25", "1174.50"]

    def test_a_long_chart_takes_steps_and_ends_where_the_account_stands(
        self, ann: Visitor, api: Caller
    ) -> None:
        points = ann.file("/accounts/1001/chart", {"fromDay": "2024-01-01"}).json()
        assert 100 < len(points["days"]) <= 180
        assert number(points["balance"][-1]) == api.get("/users/1001")["balance"]


class TestStatement:
    def statement(self, visitor: Visitor, login: int = 1001, **period: str) -> bytes:
        answer = visitor.file(f"/accounts/{login}/statement.pdf", period or MARCH)
        assert answer.headers["content-type"].startswith("application/pdf")
        return answer.content

    def test_tells_opening_each_operation_and_closing(self, ann: Visitor, broker: Broker) -> None:
        text = pdf_text(self.statement(ann))
        assert f"Statement of account 1001 {NAME} Ledger main, in USD" in text
        assert "Balance Opening 0.00 deposit 1 operation +1,500.00 transfer 1 operation -100.25" in text
        assert "withdrawal 1 operation -300.50 Closing 1,099.25" in text
        first = f"2025-03-03 10:30:00 +02:00 {broker['first']} deposit first money, ref psp-77, card"
        assert first in text
        assert "card +1,500.00 1,500.00" in text
        assert f"2025-03-10 11:10:00 +02:00 {broker['moved']} transfer to 1002 -100.25 1,099.25" in text

    def test_states_the_days_cut_and_the_time_zone(self, ann: Visitor) -> None:
        text = pdf_text(self.statement(ann))
        assert "server days 2025-03-01 to 2025-03-31" in text
        assert "A server day ends at 00:00 Europe/Athens" in text
        assert "from 2025-03-01 00:00:00 +02:00 to 2025-04-01 00:00:00 +03:00" in text

    def test_credit_stands_apart_from_the_balance(self, ann: Visitor, broker: Broker) -> None:
        balance, credit = pdf_text(self.statement(ann)).split("Operations on the credit")
        assert broker["bonus"] not in balance
        assert f"{broker['bonus']} credit +50.00 50.00" in credit
        assert "apart from the balance) Opening 0.00 credit 1 operation +50.00 Closing 50.00" in balance

    def test_is_the_same_to_the_byte_on_every_rendering(
        self,
        ann: Visitor,
        visit: Callable[..., Visitor],
        another_service: Callable[..., Served],
        arrive: Callable[..., Visitor],
    ) -> None:
        first = self.statement(ann)
        assert self.statement(ann) == first
        assert self.statement(visit("reporting")) == first
        elsewhere = another_service()
        visitor = arrive(elsewhere)
        visitor.sign_in(elsewhere.key())
        assert self.statement(visitor) == first

    def test_of_a_period_that_is_over_is_not_touched_by_what_comes_after(
        self, ann: Visitor, api: Caller
    ) -> None:
        first = self.statement(ann, login=1003)
        operation = api.history(login=1003)[0]["operationId"]
        api.booked("deposit", login=1003, amount=5, effectiveAt="2025-03-20T12:00:00Z")
        assert api.book(f"operations/{operation}/reverse", reason="charged back").status == 201
        assert self.statement(ann, login=1003) == first

    def test_of_a_period_that_is_not_over_says_so(self, ann: Visitor) -> None:
        tomorrow = server_day() + timedelta(days=1)
        text = pdf_text(self.statement(ann, fromDay="2025-03-01", toDay=tomorrow.isoformat()))
        assert "The period is not over: operations up to position" in text
        assert "Closing 1,179.50" in text

    def test_has_the_name_for_those_alone_who_may_see_it(
        self, ann: Visitor, visit: Callable[..., Visitor]
    ) -> None:
        assert NAME in pdf_text(self.statement(ann))
        assert NAME not in pdf_text(self.statement(visit("dealer")))

    def test_many_operations_go_over_pages_that_each_say_what_they_are(
        self, ann: Visitor, api: Caller
    ) -> None:
        login = api.open("STD-USD")
        for _ in range(90):
            api.booked("deposit", login=login, amount=1, comment="a comment that goes on " * 6)
        pages = pdf_pages(self.statement(ann, login=login, fromDay="2025-01-01"))
        assert len(pages) > 3
        for n, page in enumerate(pages, start=1):
            assert f"page {n} of {len(pages)}" in page
            assert any(f"Account {login}, server days" in piece for piece in page)
        assert sum(piece == "Booked" for page in pages for piece in page) == len(pages) - (
            "Booked" not in pages[-1]
        )
        text = pdf_text(self.statement(ann, login=login, fromDay="2025-01-01"))
        assert len(re.findall(r"bal_\d+ deposit", text)) == 90
        assert "Closing 90.00 End of the statement." in text

    def test_of_more_operations_than_it_takes_is_refused(self, ann: Visitor, api: Caller) -> None:
        login = api.open("STD-USD")
        for batch, size in enumerate((10_000, 1)):
            items = [
                {"op": "deposit", "requestId": f"many-{batch}-{n}", "login": login, "amount": 1}
                for n in range(size)
            ]
            assert api.batch(*items).status == 200
        page = ann.get(f"/accounts/{login}/statement.pdf", {"fromDay": "2025-01-01"})
        assert (page.status, "too_many_rows" in page.text) == (400, True)
        assert "choose fewer days" in page.text

    def test_of_nothing_is_a_statement_too(self, ann: Visitor) -> None:
        text = pdf_text(self.statement(ann, fromDay="2025-02-01", toDay="2025-02-28"))
        assert "Balance Opening 0.00 Closing 0.00" in text

    def test_needs_to_see_the_account_and_its_history(self, visit: Callable[..., Visitor]) -> None:
        page = visit("provisioning").get("/accounts/1001/statement.pdf", MARCH)
        assert (page.status, "history:read" in page.text) == (401, True)


class TestHistory:
    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({}, ["fee", "back", "late", "night", "moved", "moved", "bonus", "out", "bitcoin", "yen"]),
            ({"kind": "deposit", "login": "1001", "order": "asc"}, ["first", "night", "late"]),
            ({"kind": ["reversal", "correction"]}, ["fee", "back"]),
            (
                {"fromDay": "2025-03-10", "toDay": "2025-03-10", "order": "asc"},
                ["out", "bonus", "moved", "moved"],
            ),
            ({"operatorId": "bob"}, ["out"]),
            ({"reference": "psp-77"}, ["first"]),
            ({"requestId": "request-moved"}, ["moved", "moved"]),
            ({"minAmount": "1234.56", "maxAmount": "1500"}, ["euro", "first"]),
            ({"groupFilter": "VIP-*"}, ["euro"]),
            ({**MARCH, "basis": "effective", "login": "1001"}, ["late", "moved", "bonus", "out", "first"]),
        ],
    )
    def test_finds_by_day_kind_operator_reference_amount_and_either_time(
        self, ann: Visitor, broker: Broker, query: dict[str, str], names: list[str]
    ) -> None:
        before = {"toDay": "2025-04-30"} if not {"fromDay", "toDay"} & {*query} else {}
        page = ann.get("/history", before | query)
        assert column(page, "Operation")[: len(names)] == [broker[name] for name in names]
        assert len(column(page, "Operation")) == len(names) or not query

    def test_totals_add_up_by_currency_and_kind_when_they_are_asked_for(self, ann: Visitor) -> None:
        asked = {**MARCH, "groupFilter": "STD-USD"}
        assert len(ann.get("/history", asked).tables) == 1
        page = ann.get("/history", asked | {"totals": "true"})
        assert page.tables[1] == [
            ["Kind", "Operations", "Balance", "Credit"],
            ["USD", "", "", ""],
            ["credit", "1", "0.00", "50.00"],
            ["deposit", "2", "1700.00", "0.00"],
            ["transfer", "2", "0.00", "0.00"],
            ["withdrawal", "1", "-300.50", "0.00"],
            ["all in USD", "6", "1399.50", "50.00"],
        ]
        assert "6 rows match" in page.text

    def test_pages_go_on_from_each_other(self, ann: Visitor, broker: Broker) -> None:
        seen, path = [], "/history?limit=5&toDay=2025-04-30"
        while path:
            page = ann.get(path)
            seen += column(page, "Operation")
            following = [link for link in page.links if "cursor=" in link]
            path = following[0].removeprefix("/console") if following else ""
        assert len(seen) == 13
        assert seen[0] == broker["fee"]
        assert seen[-1] == broker["first"]

    def test_csv_is_that_of_the_api(self, ann: Visitor, api: Caller) -> None:
        mine = ann.file("/history.csv", {"login": "1001", "limit": "5", "totals": "true"})
        theirs = api.get("/balances/history", login=1001, format="csv")
        assert mine.text == theirs.text

    @pytest.mark.parametrize(
        "query", [{"login": "4711"}, {"login": "x"}, {"kind": "gift"}, {"minAmount": "-1"}, {"cursor": "x"}]
    )
    def test_a_wrong_question_is_answered_beside_its_form(self, ann: Visitor, query: dict[str, str]) -> None:
        page = ann.get("/history", query)
        [(name, value)] = query.items()
        assert page.status == 400
        assert page.form("/history").fields.get(name, value) == value

    def test_nothing_found_says_what_to_do(self, ann: Visitor) -> None:
        assert "No operation matches" in ann.get("/history", {"reference": "none"}).text


class TestOperation:
    def test_tells_who_asked_and_why(self, ann: Visitor, broker: Broker) -> None:
        page = ann.get(f"/operations/{broker['late']}")
        for said in (
            *("carla", "request-late", "wire found in suspense", "75.25", "2025-03-15 14:00:00 +02:00"),
            *("2025-04-02 13:00:00 +03:00", "2025-04-02"),
        ):
            assert said in page.text

    def test_shows_the_event_as_it_is_stored(self, ann: Visitor, broker: Broker, served: Served) -> None:
        page = ann.get(f"/operations/{broker['first']}")
        position = int(broker["first"].removeprefix("bal_"))
        [(state, leaf)] = served.ledger.rows(
            "SELECT convert_from(state, 'UTF8'), encode(leaf_hash, 'hex') FROM ledger_events"
            " WHERE notification_id = %s",
            position,
        )
        squeezed = re.sub(r"\s+", "", page.text)
        assert re.sub(r"\s+", "", state) in squeezed
        assert leaf in page.text

    def test_names_what_corrects_and_reverses_it_both_ways(self, ann: Visitor, broker: Broker) -> None:
        def links(name: str) -> list[str]:
            return [link.rpartition("/")[2] for link in ann.get(f"/operations/{broker[name]}").links]

        assert broker["fee"] in links("first")
        assert broker["first"] in links("fee")
        assert broker["back"] in links("second")
        assert broker["second"] in links("back")
        assert "reversed by" in ann.get(f"/operations/{broker['second']}").text

    def test_a_transfer_has_two_legs(self, ann: Visitor, broker: Broker) -> None:
        page = ann.get(f"/operations/{broker['moved']}")
        assert column(page, "Login") == ["1001", "1002"]
        assert column(page, "Change") == ["-100.25 USD", "100.25 USD"]

    def test_an_operation_without_money_is_told_too(self, ann: Visitor) -> None:
        page = ann.get("/operations/op_2")
        assert (page.status, "No money moved" in page.text) == (200, True)

    @pytest.mark.parametrize("name", ["bal_999999", "op_11", "x", "bal_x"])
    def test_what_is_no_operation_is_not_shown(self, ann: Visitor, name: str) -> None:
        assert ann.get(f"/operations/{name}").status in {400, 404}

    def test_a_proof_is_for_those_who_audit(
        self, ann: Visitor, visit: Callable[..., Visitor], broker: Broker
    ) -> None:
        assert "Not sealed" in ann.get(f"/operations/{broker['first']}").text
        assert "ealed" not in visit("finance").get(f"/operations/{broker['first']}").text

    def test_what_is_sealed_comes_with_its_proof(
        self,
        another_service: Callable[..., Served],
        arrive: Callable[..., Visitor],
        tmp_path: Path,
        broker: Broker,
    ) -> None:
        service = another_service("--seal-key", str(tmp_path / "seal.pem"))
        api, visitor = service.caller(), arrive(service)
        visitor.sign_in(service.key())
        within(BOUND_S, lambda: all_is_sealed(service, api))
        page, proof = (
            visitor.get(f"/operations/{broker['first']}"),
            api.get(f"/audit/proof/{broker['first']}").body,
        )
        assert proof["checkpoint"]["root"] in page.text
        [event] = proof["events"]
        assert event["leafHash"] in page.text
        assert all(found in page.text for found in event["proof"])


def all_is_sealed(service: Served, api: Caller) -> bool:
    """Tell whether the last checkpoint is of all that there is, so that no other one will follow."""
    answer = api.get("/audit/checkpoint")
    return answer.status == 200 and bool(answer["size"] == service.last_position)


class TestDays:
    def test_each_group_and_currency_goes_from_opening_to_closing(self, ann: Visitor) -> None:
        page = ann.get("/days", {"day": "2025-03-10"})
        dollars = next(n for n, table in enumerate(page.tables) if "withdrawal" in str(table))
        assert page.tables[dollars] == [
            ["STD-USD", "Balance", "Credit"],
            ["Opening", "1700.00", "0.00"],
            ["credit", "", "50.00"],
            ["transfer", "0.00", "0.00"],
            ["withdrawal", "-300.50", ""],
            ["Closing", "1399.50", "50.00"],
        ]
        assert page.tables[dollars + 1][1] == ["STD-USD", "4", "1700.00", "-300.50", "1399.50", "50.00 50.00"]
        assert column(page, "= Closing", 1) == [LONG, LONG]

    def test_a_closing_is_the_next_days_opening(self, ann: Visitor) -> None:
        days = [
            ann.get("/days", {"day": day, "groupFilter": "STD-USD"}) for day in ("2025-03-10", "2025-03-11")
        ]
        assert days[0].tables[0][-1][1:] == days[1].tables[0][1][1:]

    def test_days_lead_to_their_neighbours_and_not_beyond_today(self, ann: Visitor) -> None:
        links = ann.get("/days", {"day": "2025-03-10"}).links
        assert {"/console/days?day=2025-03-09", "/console/days?day=2025-03-11"} <= {*links}
        today = ann.get("/days")
        assert "still open" in today.text
        assert len([link for link in today.links if "/days?day=" in link and "groupFilter" not in link]) == 1

    def test_a_day_to_come_is_refused_and_one_before_everything_is_empty(self, ann: Visitor) -> None:
        assert ann.get("/days", {"day": "2199-01-01"}).status == 400
        assert "Nothing was booked until this day" in ann.get("/days", {"day": "2024-01-01"}).text

    @pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "9999-12-31"])
    def test_a_day_outside_of_any_books_is_refused_beside_its_form(self, ann: Visitor, day: str) -> None:
        page = ann.get("/days", {"day": day})
        assert (page.status, page.form("/days").fields["day"]) == (400, day)
        assert "1900..2199" in page.text
        assert ann.get("/days", {"day": "1900-01-01"}).status == 200


class TestRestatements:
    def test_tells_what_was_booked_into_a_closed_month_by_whom_and_why(
        self, ann: Visitor, broker: Broker
    ) -> None:
        page = ann.get("/restatements", {"span": "month", "day": "2025-03-05", "groupFilter": "STD-*"})
        assert column(page, "Operation") == [broker["late"]]
        [row] = page.rows[1:]
        assert row[0] == "2025-03-15 14:00:00 +02:00"
        assert row[1] == "2025-04-02 2025-04-02 13:00:00 +03:00"
        assert row[5] == "75.25 USD"
        assert row[7].startswith("carla key")
        assert row[8] == "wire found in suspense"
        assert page.tables[1][-1] == ["all in USD", "1", "75.25", "0.00"]

    @pytest.mark.parametrize("span", ["day", "month"])
    def test_a_day_outside_of_any_books_is_refused_beside_its_form(self, ann: Visitor, span: str) -> None:
        for day in ("0001-01-01", "1899-12-31", "2200-01-01", "9999-12-31"):
            page = ann.get("/restatements", {"span": span, "day": day})
            assert (page.status, page.form("/restatements").fields["day"]) == (400, day)
            assert "1900..2199" in page.text
        for day in ("1900-01-01", "2199-12-31"):
            assert ann.get("/restatements", {"span": span, "day": day}).status == 200

    def test_tells_of_one_day_and_of_no_other(self, ann: Visitor, broker: Broker) -> None:
        page = ann.get("/restatements", {"span": "day", "day": "2025-03-15"})
        assert column(page, "Operation") == [broker["late"]]
        for day in ("2025-03-14", "2025-03-16"):
            assert "Nothing was booked later" in ann.get("/restatements", {"span": "day", "day": day}).text

    def test_what_was_booked_on_the_day_itself_restates_nothing(self, ann: Visitor) -> None:
        assert (
            "Nothing was booked later"
            in ann.get("/restatements", {"span": "month", "day": "2025-04-02"}).text
        )

    def test_begins_with_the_month_before_and_says_when_one_is_not_over(self, ann: Visitor) -> None:
        assert ann.get("/restatements").status == 200
        tomorrow = server_day() + timedelta(days=1)
        assert "is not over" in ann.get("/restatements", {"day": tomorrow.isoformat()}).text
