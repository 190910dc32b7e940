"""The Python client: it books once whatever happens on the way, exactly, and says what went wrong."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest

from api import batches, bodies, client
from api.accounts_query import AccountsBody
from api.client import (
    AccountsQuery,
    Adjust,
    AlreadyApplied,
    Client,
    Correction,
    Credit,
    Deposit,
    GroupFields,
    HistoryQuery,
    LedgerError,
    NoAnswer,
    NotFound,
    Operation,
    Patience,
    PermissionDenied,
    Refused,
    Reverse,
    Transfer,
    Unauthorized,
    UserFields,
    ValidationError,
    Withdraw,
)
from api.history import HistoryQuery as HistoryAsked
from api.shapes import accounts, audit, definitions, funding, history, problems, reports
from tests.api.served import Caller, Served, new_id, number
from tests.faults.proxy import CLEAR, COMMIT, REFUSING, Proxy, Target, before_database
from tests.service import BOUND_S, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from api.client import Habit

HABITS: tuple[Habit, ...] = ("x-request-id", "Idempotency-Key")


@pytest.fixture(scope="module")
def finance(served: Served, admin: Caller) -> Iterator[Client]:
    """Yield a client that may do everything."""
    assert admin.key is not None
    with Client(served.url, admin.key, operator="Zoë") as opened:
        yield opened


@pytest.fixture
def login(admin: Caller) -> int:
    return admin.open(balance="100.00")


@pytest.fixture
def relay(served: Served) -> Iterator[Proxy]:
    """Yield a relay before the service, which can cut what goes through it."""
    address = urlsplit(served.url)
    assert address.hostname is not None
    assert address.port is not None
    with Proxy(Target(address.hostname, address.port)) as proxy:
        yield proxy


def through(relay: Proxy, admin: Caller, **options: Any) -> Client:
    """Open a client whose way to the service leads through the relay."""
    assert admin.key is not None
    return Client(f"http://127.0.0.1:{relay.port}", admin.key, **options)


class TestBooking:
    def test_every_command_moves_what_it_says(self, finance: Client, admin: Caller, login: int) -> None:
        other = admin.open()
        booked = [
            finance.book(Deposit(request_id=new_id(), login=login, amount=Decimal("50.25"))),
            finance.book(Withdraw(request_id=new_id(), login=login, amount="0.25")),
            finance.book(Credit(request_id=new_id(), login=login, amount=10)),
            finance.book(Transfer(request_id=new_id(), source=login, target=other, amount=Decimal("1E+1"))),
            finance.book(Adjust(request_id=new_id(), login=login, kind="charge", amount=Decimal("-1.5"))),
        ]
        wrong = booked[0].operation_id
        booked.append(
            finance.book(
                Correction(request_id=new_id(), login=login, balance=-5, corrects=wrong, reason="a fee")
            )
        )
        booked.append(
            finance.book(Reverse(request_id=new_id(), operation_id=str(wrong), reason="charged back"))
        )
        assert [str(operation.legs[0].balance_change) for operation in booked] == [
            *("50.25", "-0.25", "0.00", "-10.00", "-1.50", "-5.00", "-50.25")
        ]
        assert [operation.kind for operation in booked] == [
            *("deposit", "withdrawal", "credit", "transfer", "charge", "correction", "reversal")
        ]
        assert admin.held(login) == (number("83.25"), number("10.00"))
        assert [leg.login for leg in booked[3].legs] == [login, other]
        assert booked[5].corrects == wrong
        assert {row.operator_id for row in finance.history(HistoryQuery(login=other))} == {"Zoë"}

    def test_what_comes_back_is_exact_and_frozen(self, finance: Client, login: int) -> None:
        operation = finance.book(Deposit(request_id=new_id(), login=login, amount="0.10"))
        assert isinstance(operation.new_balance, Decimal)
        assert (str(operation.amount), str(operation.new_balance)) == ("0.10", "100.10")
        assert operation.recorded_at.tzinfo is not None
        with pytest.raises(AttributeError):
            operation.amount = Decimal(1)  # type: ignore[misc]

    @pytest.mark.parametrize("amount", [0.1, float("nan"), Decimal("NaN"), Decimal("Infinity")])
    def test_no_float_and_no_number_without_a_value_leaves_the_house(self, amount: Any) -> None:
        with Client("http://127.0.0.1:1", "fl_nothing") as nowhere, pytest.raises((TypeError, ValueError)):
            nowhere.book(Deposit(request_id="r", login=1001, amount=amount))

    def test_bitcoin_to_the_last_digit(self, finance: Client) -> None:
        finance.define_group("coin", GroupFields(currency="BTC"))
        account = finance.open_user(UserFields(group="coin"))
        operation = finance.book(
            Deposit(request_id=new_id(), login=account.login, amount=Decimal("123456789.00000001"))
        )
        assert str(operation.new_balance) == "123456789.00000001"
        smallest = Decimal("0.00000001")
        assert "E" in str(smallest)
        taken = finance.book(Withdraw(request_id=new_id(), login=account.login, amount=smallest))
        assert str(taken.new_balance) == "123456789.00000000"

    def test_a_dry_run_books_nothing(self, finance: Client, served: Served, login: int) -> None:
        before = served.last_position
        rehearsed = finance.book(Withdraw(request_id=new_id(), login=login, amount=40), dry_run=True)
        assert (rehearsed.status, rehearsed.operation_id) == ("dry_run", None)
        assert rehearsed.new_balance == Decimal("60.00")
        assert served.last_position == before

    def test_notes_travel_along(self, finance: Client, login: int) -> None:
        when = datetime(2026, 1, 31, 12, tzinfo=UTC)
        paid = Deposit(
            request_id=new_id(),
            login=login,
            amount=1,
            comment='a "quoted" word',
            method="card",
            reference=f'psp "{login}"',
            effective_at=when,
            metadata={"fee": Decimal("0.30"), "tries": 2},
        )
        finance.book(paid)
        [row] = finance.history(HistoryQuery(reference=paid.reference))
        assert (row.comment, row.method, row.effective_at) == (paid.comment, "card", when)
        assert row.metadata == {"fee": Decimal("0.30"), "tries": 2}
        assert isinstance(row.metadata["fee"], Decimal)


class TestOnceWhateverHappens:
    @pytest.mark.parametrize("habit", HABITS)
    def test_the_same_again_is_the_first_answer_again(
        self, served: Served, admin: Caller, login: int, habit: Habit
    ) -> None:
        assert admin.key is not None
        command = Deposit(request_id=new_id(), login=login, amount=1)
        with Client(served.url, admin.key, habit=habit) as caller:
            first, again = caller.book(command), caller.book(command)
        assert (first.repeated, again.repeated) == (False, True)
        assert msgspec.structs.replace(again, repeated=False) == first
        assert len(admin.history(requestId=command.request_id)) == 1

    @pytest.mark.parametrize("habit", HABITS)
    def test_an_answer_that_is_cut_off_after_the_booking_is_fetched_by_the_same_id(
        self, relay: Proxy, admin: Caller, login: int, habit: Habit
    ) -> None:
        command = Deposit(request_id=new_id(), login=login, amount=7)
        relay.lose_answer(b"POST /balances/deposit")
        with through(relay, admin, habit=habit) as caller:
            operation = caller.book(command)
        assert not relay.armed
        assert operation.repeated
        [row] = admin.history(requestId=command.request_id)
        assert row["operationId"] == operation.operation_id
        assert admin.held(login)[0] == number("107.00")

    def test_so_is_one_that_is_cut_off_amid_its_bytes(self, relay: Proxy, admin: Caller, login: int) -> None:
        command = Deposit(request_id=new_id(), login=login, amount=7)
        with through(relay, admin) as caller:
            caller.user(login)
            relay.cut_after(500)  # the question has less, question and answer have more
            assert caller.book(command).operation_id
        assert not relay.armed
        assert admin.held(login)[0] == number("107.00")

    def test_a_connection_that_was_cut_while_it_was_idle_is_opened_anew(
        self, relay: Proxy, admin: Caller, login: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "IDLE_S", BOUND_S)  # none is old, however slow the machine
        with through(relay, admin) as caller:
            caller.user(login)
            caller.user(login)
            assert relay.accepted == 1
            relay.cut()
            assert not caller.book(Deposit(request_id=new_id(), login=login, amount=7)).repeated
        assert relay.accepted == 2
        assert admin.held(login)[0] == number("107.00")

    def test_so_is_a_batch(self, relay: Proxy, admin: Caller, login: int) -> None:
        commands = [Deposit(request_id=new_id(), login=login, amount=n) for n in (1, 2)]
        for atomic in (False, True):
            relay.lose_answer(b"POST /balances/batch")
            with through(relay, admin) as caller:
                assert repeated(caller.batch(commands, atomic=atomic)) == [True, True]
            assert not relay.armed
        assert admin.held(login)[0] == number("103.00")

    def test_an_atomic_batch_whose_answer_was_lost_gives_every_operation(
        self, relay: Proxy, admin: Caller, login: int
    ) -> None:
        commands = [Deposit(request_id=new_id(), login=login, amount=n) for n in (1, 2, 3)]
        relay.lose_answer(b"POST /balances/batch")
        with through(relay, admin) as caller:
            operations = caller.batch(commands, atomic=True)
        assert repeated(operations) == [True, True, True]
        assert [str(operation.amount) for operation in booked(operations)] == ["1.00", "2.00", "3.00"]
        assert admin.held(login)[0] == number("106.00")

    def test_an_account_is_opened_once_also_without_an_id_of_the_callers(
        self, relay: Proxy, admin: Caller
    ) -> None:
        relay.lose_answer(b"POST /users")
        with through(relay, admin) as caller:
            account = caller.open_user(UserFields(group="standard", name="Ann"))
            assert account.repeated
            assert account.request_id.startswith("client-")
            with pytest.raises(NotFound):
                caller.user(account.login + 1)

    def test_a_commit_whose_outcome_the_service_does_not_know_is_found_out(
        self, database_url: str, tmp_path: Path, admin: Caller, login: int
    ) -> None:
        """The way to the database is cut when the commit is done: 503 first, and then the operation."""
        assert admin.key is not None
        pauses: list[float] = []
        command = Deposit(request_id=new_id(), login=login, amount=7)
        with before_database(database_url) as (relay, url), service_on(url, tmp_path / "log") as service:
            relay.lose_answer(COMMIT)
            patience = Patience(tries=1000, pause_s=0.01, sleep=pauses.append)
            with Client(service.url, admin.key, patience=patience) as caller:
                operation = caller.book(command)
            service.stop()
        assert operation.repeated
        assert pauses[0] >= 1  # what Retry-After says, not our own first pause
        assert [row["operationId"] for row in admin.history(requestId=command.request_id)] == [
            operation.operation_id
        ]

    def test_items_of_a_batch_that_have_no_definite_answer_are_sent_until_they_have_one(
        self, database_url: str, tmp_path: Path, admin: Caller, login: int
    ) -> None:
        assert admin.key is not None
        commands: list[Deposit] = [Deposit(request_id=new_id(), login=login, amount=n) for n in (1, 0, 2)]
        with before_database(database_url) as (relay, url), service_on(url, tmp_path / "log") as service:

            def found_again(_: float) -> None:
                relay.take(CLEAR)

            patience = Patience(tries=1000, pause_s=0.01, sleep=found_again)
            with Client(service.url, admin.key, patience=patience) as caller:
                caller.user(login)
                relay.take(REFUSING)
                relay.cut()
                results = caller.batch(commands)
            service.stop()
        assert [getattr(result, "code", None) for result in results] == [None, "amount_zero", None]
        assert admin.held(login)[0] == number("103.00")


class TestPatience:
    def test_it_waits_as_long_as_it_is_told(self) -> None:
        pauses: list[float] = []
        patience = Patience(sleep=pauses.append)
        busy, answered = told(503, b'{"code":"queue_full"}', "Retry-After: 3"), told(200, b'{"groups":[]}')
        with answering([busy, answered]) as (url, asked), Client(url, "k", patience=patience) as caller:
            assert caller.groups() == ()
        assert pauses == [3.0]
        assert asked[0] == asked[1]

    def test_without_such_word_each_pause_is_longer(self) -> None:
        pauses: list[float] = []
        patience = Patience(tries=5, pause_s=1, pause_max_s=4, sleep=pauses.append)
        with (
            answering([told(502, b"<html>bad gateway</html>")]) as (url, asked),
            Client(url, "k", patience=patience) as caller,
            pytest.raises(NoAnswer) as raised,
        ):
            caller.book(Deposit(request_id="r-1", login=1, amount=1))
        assert len(pauses) == 4
        assert all(low <= pause <= 2 * low for low, pause in zip((0.5, 1, 2, 2), pauses, strict=True))
        assert (raised.value.status, raised.value.code, raised.value.request_id) == (502, "unreadable", "r-1")
        assert len(asked) == 5
        assert len(set(asked)) == 1

    @pytest.mark.parametrize("habit", HABITS)
    def test_a_request_goes_out_under_the_header_of_its_habit(self, habit: Habit) -> None:
        with (
            answering([told(400, b"{}")]) as (url, asked),
            Client(url, "k", habit=habit) as caller,
            pytest.raises(Refused),
        ):
            caller.book(Deposit(request_id="r-1", login=1, amount=1))
        headers = asked[0].decode().splitlines()
        assert [line for line in headers if "r-1" in line] == [f"{habit}: r-1"]

    def test_what_is_decided_of_a_batch_is_not_lost_over_what_is_not(self) -> None:
        """One item is booked, one not known; and when that is sent again, the key is revoked."""
        problem = {"title": "ManagerOffline", "status": 503, "code": "database_away", "detail": "away"}
        results = [BOOKED | {"httpStatus": 201}, problem | {"httpStatus": 503}]
        answers = told(200, json.dumps({"results": results}).encode()), told(401, b'{"code": "key_revoked"}')
        with answering(answers) as (url, asked), Client(url, "k", patience=Patience(pause_s=0)) as caller:
            commands = [Deposit(request_id=request_id, login=1, amount=1) for request_id in ("r-1", "r-2")]
            first, second = caller.batch(commands)
        assert isinstance(first, Operation)
        assert isinstance(second, NoAnswer)
        assert second.code == "database_away"
        assert b"r-1" in asked[0]
        assert b"r-1" not in asked[1]

    @pytest.mark.parametrize(
        ("second", "code"),
        [
            (b'{"title":"Unauthorized","status":401,"code":"key_revoked","detail":"revoked"}', "key_revoked"),
            (b"<html>a gateway that knows no such host</html>", "unreadable"),
        ],
    )
    def test_a_no_that_looks_for_no_request_id_does_not_make_a_booking_undone(
        self, second: bytes, code: str
    ) -> None:
        """The first try may have been booked; alone, the same answer is a refusal."""
        answers = told(503, b"{}"), told(401, second)
        with answering(answers) as (url, _), Client(url, "k", patience=Patience(pause_s=0)) as caller:
            with pytest.raises(NoAnswer, match=code):
                caller.book(Deposit(request_id="r-1", login=1, amount=1))
            with pytest.raises(Refused, match=code):
                caller.book(Deposit(request_id="r-1", login=1, amount=1))

    def test_nor_does_one_to_an_item_of_a_batch(self) -> None:
        problem = {"title": "PermissionDenied", "status": 403, "code": "outside_mask", "detail": "not yours"}
        items = {"results": [problem | {"httpStatus": 403}]}
        answers = told(503, b"{}"), told(200, json.dumps(items).encode())
        with (
            answering(answers) as (url, _),
            Client(url, "k", patience=Patience(tries=2, pause_s=0)) as caller,
        ):
            [result] = caller.batch([Deposit(request_id="r-1", login=1, amount=1)])
        assert isinstance(result, NoAnswer)
        assert result.code == "outside_mask"

    def test_there_is_no_further_try_when_the_time_is_over(self) -> None:
        pauses: list[float] = []
        with (
            answering([told(503, b"{}", "Retry-After: 3600")]) as (url, asked),
            Client(url, "k", patience=Patience(sleep=pauses.append)) as caller,
            pytest.raises(NoAnswer),
        ):
            caller.groups()
        assert (len(asked), pauses) == (1, [])

    def test_there_is_none_when_the_one_who_waits_is_told_to_stop(self) -> None:
        stopping = threading.Event()
        stopping.set()
        patience = Patience(sleep=stopping.wait)
        with (
            answering([told(503, b"{}")]) as (url, asked),
            Client(url, "k", patience=patience) as caller,
            pytest.raises(NoAnswer),
        ):
            caller.groups()
        assert len(asked) == 1

    def test_a_path_in_the_address_is_where_the_routes_are_mounted(self) -> None:
        with (
            answering([told(200, b'{"groups":[]}')]) as (url, asked),
            Client(f"{url}/mt4/manager/", "k") as caller,
        ):
            caller.groups()
        assert asked[0].startswith(b"GET /mt4/manager/groups HTTP/1.1")

    @pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost", "ftp://ledger.example", "http://"])
    def test_an_address_that_is_none_is_refused_before_the_key_goes_anywhere(self, url: str) -> None:
        with pytest.raises(ValueError, match="http"):
            Client(url, "k")

    def test_where_nobody_listens_it_says_so_with_the_request_id(self) -> None:
        patience = Patience(tries=2, pause_s=0)
        nowhere = Client("http://127.0.0.1:1", "k", patience=patience)
        with nowhere, pytest.raises(NoAnswer, match="Connection refused") as raised:
            nowhere.book(Deposit(request_id="r-1", login=1, amount=1))
        assert (raised.value.status, raised.value.code, raised.value.request_id) == (0, "no_answer", "r-1")

    def test_a_definite_no_is_not_asked_again(self) -> None:
        with (
            answering([told(413, b"<html>too large</html>")]) as (url, asked),
            Client(url, "k") as caller,
            pytest.raises(Refused) as raised,
        ):
            caller.groups()
        assert (raised.value.status, len(asked)) == (413, 1)

    def test_an_answer_of_another_shape_is_no_success(self) -> None:
        with (
            answering([told(200, b"<html>hello</html>")]) as (url, _),
            Client(url, "k") as caller,
            pytest.raises(NoAnswer, match="not as this client knows it"),
        ):
            caller.groups()


class TestRefusals:
    def test_a_refusal_says_what_and_why(self, finance: Client, login: int) -> None:
        request_id = new_id()
        with pytest.raises(ValidationError) as raised:
            finance.book(Withdraw(request_id=request_id, login=login, amount="100.01"))
        refused = raised.value
        assert (refused.status, refused.code, refused.field) == (400, "not_enough_money", "amount")
        assert refused.request_id == request_id
        assert refused.detail
        assert str(refused) == f"not_enough_money: {refused.detail}"
        assert str(refused.problem.available) == "100.00"

    def test_each_title_has_an_error_of_its_own(self, finance: Client, served: Served, login: int) -> None:
        with pytest.raises(NotFound, match="unknown_login"):
            finance.user(login + 1_000_000)
        with Client(served.url, served.key("reporting")) as reader, pytest.raises(Unauthorized):
            reader.book(Deposit(request_id=new_id(), login=login, amount=1))
        other = served.key("finance", "--groups", "euro")
        with Client(served.url, other) as limited, pytest.raises(PermissionDenied, match="outside_mask"):
            limited.book(Deposit(request_id=new_id(), login=login, amount=1))

    def test_another_request_that_did_the_same_is_named(self, finance: Client, login: int) -> None:
        paid = Deposit(request_id=new_id(), login=login, amount=1, method="card", reference=new_id())
        first = finance.book(paid)
        with pytest.raises(AlreadyApplied) as raised:
            finance.book(msgspec.structs.replace(paid, request_id=new_id()))
        assert raised.value.code == "reference_applied"
        assert raised.value.operation == msgspec.structs.replace(first, repeated=True)

    def test_an_account_that_is_disabled_already_moved_no_money(self, finance: Client, login: int) -> None:
        assert finance.disable_user(login).enable == 0
        with pytest.raises(AlreadyApplied) as raised:
            finance.disable_user(login)
        assert raised.value.operation is None
        assert finance.enable_user(login).enable == 1

    def test_in_a_batch_it_stands_in_its_place(self, finance: Client, login: int) -> None:
        first, broke, last = finance.batch(
            [
                Deposit(request_id=new_id(), login=login, amount=1),
                Withdraw(request_id=new_id(), login=login, amount=9999),
                Reverse(request_id=new_id(), operation_id="bal_1", reason="no such"),
            ]
        )
        assert isinstance(first, Operation)
        assert isinstance(broke, ValidationError)
        assert str(broke.problem.available) == "101.00"
        assert isinstance(last, NotFound)

    def test_one_refused_item_of_an_atomic_batch_refuses_all(self, finance: Client, login: int) -> None:
        commands = [Deposit(request_id=new_id(), login=login, amount=n) for n in (1, 0)]
        with pytest.raises(ValidationError, match="amount_zero") as raised:
            finance.batch(commands, atomic=True)
        assert raised.value.problem.index == 1
        assert finance.user(login).balance == 100


class TestReading:
    def test_history_is_read_page_by_page_to_its_end(self, finance: Client, login: int) -> None:
        finance.batch([Deposit(request_id=new_id(), login=login, amount=n) for n in range(1, 8)])
        query = HistoryQuery(login=login, order="asc", limit=3)
        rows = list(finance.history(query))
        assert [str(row.balance_change) for row in rows] == ["100.00", *(f"{n}.00" for n in range(1, 8))]
        assert [row.balance_before for row in rows[1:]] == [row.balance_after for row in rows[:-1]]
        later = list(finance.history(msgspec.structs.replace(query, offset=2)))
        assert later == rows[2:]

    def test_a_page_of_history_foots(self, finance: Client, login: int) -> None:
        finance.book(Withdraw(request_id=new_id(), login=login, amount="0.5"))
        today = finance.server().server_day
        page = finance.history_page(HistoryQuery(login=login, from_day=today, to_day=today, totals=True))
        assert page.totals is not None
        assert page.opening is not None
        assert page.closing is not None
        moved = sum(kind.balance_change for kind in page.totals["USD"].values())
        assert page.opening.balance + moved == page.closing.balance == Decimal("99.50")
        assert page.count == 2
        later = finance.held_at(login, page.rows[0].recorded_at)
        assert (later.balance, later.currency) == (Decimal("99.50"), "USD")

    def test_an_operation_is_found_by_its_id_and_by_its_request(self, finance: Client, login: int) -> None:
        request_id = new_id()
        assert finance.request(request_id) is None
        booked = finance.book(Deposit(request_id=request_id, login=login, amount=1))
        assert booked.operation_id is not None
        back = finance.book(Reverse(request_id=new_id(), operation_id=booked.operation_id, reason="back"))
        read = finance.request(request_id)
        assert read == finance.operation(booked.operation_id)
        assert read is not None
        assert (read.legs, read.reversed_by) == (booked.legs, back.operation_id)
        [event] = read.events
        assert json.loads(bytes(event))["balanceChange"] == 100

    def test_a_route_that_is_not_there_is_not_taken_for_a_request_that_did_not_happen(
        self, served: Served, admin: Caller
    ) -> None:
        assert admin.key is not None
        with (
            Client(f"{served.url}/elsewhere", admin.key) as lost,
            pytest.raises(NotFound, match="unknown_route"),
        ):
            lost.request("r-1")

    def test_accounts_come_by_rules_with_totals(self, finance: Client, login: int) -> None:
        query = AccountsQuery(
            where=[("login", "=", login), ("balance", ">", Decimal("99.995"))],
            where_between=[("margin_level", (Decimal(0), 1))],
            where_in=[("currency", ["USD", "EUR"])],
            order_by=("balance", "DESC"),
        )
        page = finance.accounts(query)
        [row] = page.rows
        assert (row.login, str(row.balance), row.group) == (login, "100.00", "standard")
        assert (page.count, str(page.total_balance), page.totals_currency) == (1, "100.00", "USD")
        assert page.totals_by_currency["USD"].balance == row.balance
        assert row == client.AccountRow(**{name: getattr(finance.user(login), name) for name in COLUMNS})

    def test_accounts_and_groups_are_written(self, finance: Client) -> None:
        group = finance.define_group("gold%31", GroupFields(currency="EUR", max_operation=Decimal("2E+3")))
        assert (group.group, str(group.max_operation)) == ("gold%31", "2000.00")
        assert group.group in {known.group for known in finance.groups()}
        opened = finance.open_user(UserFields(group=group.group, name="Ann", enable=False))
        changed = finance.change_user(opened.login, UserFields(leverage=50, enable=True))
        assert (changed.name, changed.leverage, changed.enable, changed.repeated) == ("Ann", 50, 1, False)

    def test_the_day_foots(self, finance: Client, login: int) -> None:
        finance.book(Deposit(request_id=new_id(), login=login, amount=1))
        report = finance.daily(group_filter="standard")
        [row] = report.rows
        assert row.balance.opening + sum(row.balance.movements.values()) == row.balance.closing
        assert report.day == finance.server().server_day

    def test_a_mirror_of_the_log_goes_on_where_it_stopped(self, finance: Client, served: Served) -> None:
        whole = list(finance.events())
        assert [event.position for event in whole] == list(range(1, served.last_position + 1))
        half = whole[len(whole) // 2].position
        assert list(finance.events(after=half, limit=7)) == whole[half:]
        followed = finance.follow(after=half)
        assert [next(followed) for _ in range(3)] == whole[half : half + 3]
        for event in whole:
            if event.leaf_hash is not None:
                assert sha256(b"\x00" + bytes(event.data)).hexdigest() == event.leaf_hash

    def test_who_follows_is_told_of_what_is_booked_meanwhile(
        self, finance: Client, admin: Caller, served: Served, login: int
    ) -> None:
        followed = finance.follow(after=served.last_position)
        answer = admin.booked("deposit", login=login, amount=1)
        assert next(followed).operation_id == answer["operationId"]


COLUMNS = client.Account.__struct_fields__
BOOKED = {
    "operationId": "bal_9",
    "status": "accepted",
    "kind": "deposit",
    "login": 1,
    "amount": 1,
    "currency": "JPY",
    "newBalance": 1,
    "newCredit": 0,
    "balanceChange": 1,
    "creditChange": 0,
    "requestId": "r-1",
    "reference": None,
    "position": 9,
    "serverDay": "2026-11-20",
    "recordedAt": "2026-11-20T13:00:00Z",
    "effectiveAt": "2026-11-20T13:00:00Z",
}

ASKED: tuple[tuple[type[msgspec.Struct], Any], ...] = (
    (Deposit, batches.DepositItem),
    (Withdraw, batches.WithdrawItem),
    (Credit, batches.CreditItem),
    (Transfer, batches.TransferItem),
    (Correction, batches.CorrectionItem),
    (Reverse, batches.ReverseItem),
    (Adjust, batches.AdjustItem),
    (UserFields, bodies.OpenBody),
    (GroupFields, bodies.GroupBody),
    (client.ServerFields, bodies.ServerBody),
    (AccountsQuery, AccountsBody),
)
ANSWERED: tuple[tuple[type[msgspec.Struct], Any], ...] = (
    (client.Leg, funding.Booked),
    (client.Operation, funding.Transferred),
    (client.OperationRead, funding.TransferredRead),
    (client.HistoryRow, history.HistoryRow),
    (client.HistoryPage, history.HistoryPage),
    (client.Held, history.Held),
    (client.HeldAt, history.HeldAt),
    (client.KindTotal, history.KindTotal),
    (client.User, accounts.Profile),
    (client.UserWritten, accounts.ProfileWritten),
    (client.AccountsPage, accounts.AccountsPage),
    (client.Totals, accounts.CurrencyTotals),
    (client.Rate, accounts.Rate),
    (client.Group, definitions.Group),
    (client.GroupWritten, definitions.GroupWritten),
    (client.Server, definitions.Server),
    (client.ServerWritten, definitions.ServerWritten),
    (client.Daily, reports.Daily),
    (client.DayRow, reports.DayRow),
    (client.DayColumn, reports.DayColumn),
    (client.LoggedEvent, audit.LoggedEvent),
    (client.LogPage, audit.LogPage),
    (client.Problem, problems.Problem),
)
OURS = {"repeated"}
"""Fields that the client itself tells."""

NOT_IN_LISTS = {"expiresAt", "stale"}
"""A row of history is a leg without these."""

UNUSED = {"format", "type"}
"""Fields that a typed client has no use for."""


class TestAgainstTheService:
    """The client stands alone, so its words are held against those of the service."""

    @pytest.mark.parametrize(("ours", "theirs"), ASKED, ids=lambda kind: kind.__name__)
    def test_it_can_ask_for_all_that_the_service_takes(self, ours: Any, theirs: Any) -> None:
        assert set(ours.__struct_encode_fields__) == set(theirs.__struct_encode_fields__)

    def test_it_can_ask_history_for_everything(self) -> None:
        theirs = set(HistoryAsked.__struct_encode_fields__) - UNUSED
        assert set(HistoryQuery.__struct_encode_fields__) == theirs

    @pytest.mark.parametrize(("ours", "theirs"), ANSWERED, ids=lambda kind: kind.__name__)
    def test_it_reads_all_that_the_service_answers(self, ours: Any, theirs: Any) -> None:
        mine = set(ours.__struct_encode_fields__) - OURS
        known = set(theirs.__struct_encode_fields__)
        assert known - mine <= UNUSED
        assert mine - known == (NOT_IN_LISTS if ours is client.HistoryRow else set())

    def test_it_needs_nothing_else_of_this_project(self) -> None:
        lines = Path(client.__file__).read_text(encoding="utf-8").splitlines()
        imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
        imported = {name.partition(".")[0] for name in imports}
        assert "msgspec" in imported
        assert imported.isdisjoint({"api", "ledger", "projections"})


def booked(results: Sequence[Operation | LedgerError]) -> list[Operation]:
    """Give the operations, where nothing was refused."""
    operations = [result for result in results if isinstance(result, Operation)]
    assert len(operations) == len(results), results
    return operations


def repeated(results: Sequence[Operation | LedgerError]) -> list[bool]:
    return [operation.repeated for operation in booked(results)]


def told(status: int, body: bytes, *headers: str) -> bytes:
    """Write an answer as some gateway or service might."""
    lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def answering(answers: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Listen, and answer what comes with these in turn, then with the last; give address and questions."""
    asked: list[bytes] = []
    left = list(answers)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, left, asked))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            left.clear()
            with suppress(OSError):
                socket.create_connection(listener.getsockname()).close()  # wakes who waits for another caller
            thread.join(30)
        assert not thread.is_alive()


def _answer(listener: socket.socket, left: list[bytes], asked: list[bytes]) -> None:
    while left:
        caller, _ = listener.accept()
        with caller, caller.makefile("rb") as lines:
            while left and (question := _question(lines)):
                asked.append(question)
                caller.sendall(left[0])
                del left[: len(left) > 1]


def _question(lines: Any) -> bytes:
    """Read a request: its head, and its body where it has one."""
    head = b""
    while (line := lines.readline()) not in {b"\r\n", b""}:
        head += line
    size = re.search(rb"(?i)content-length: (\d+)", head)
    return head + lines.read(int(size[1])) if size else head
