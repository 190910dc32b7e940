"""The rules of accounts, groups, the server's clock and keys."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given as for_all
from hypothesis import settings

from ledger.book import Book
from ledger.clock import ServerClock
from ledger.commands import (
    Command,
    CreateKey,
    DefineServer,
    DisableAccount,
    EnableAccount,
    OpenAccount,
    RevokeKey,
    StartSimulation,
    UpdateAccount,
)
from ledger.events import AccountOpened, AccountUpdated, GroupDefined, KeyCreated, KeyRevoked
from ledger.refusals import AlreadyApplied, NotFound, ValidationError
from ledger.registry import LOGIN_FIRST, LOGIN_MAX
from tests import strategies
from tests.make import (
    NOW,
    account_disabled,
    account_opened,
    at,
    booked,
    cents,
    define_group,
    define_server,
    deposit,
    deposited,
    given,
    given_only,
    group_defined,
    open_account,
    refused,
    server_defined,
    when,
)

KEY = CreateKey(
    key="k9", name="desk", role="finance", scopes=("funding:deposit",), groups="*", secret_hash="ab"
)

# Accounts.


def test_an_account_is_opened_with_its_groups_currency_and_leverage() -> None:
    book = given(group_defined("dinar", "KWD", 3, leverage=50))
    [event] = when(book, open_account(3001, group="dinar", name="Ann"))
    assert isinstance(event, AccountOpened)
    assert (event.login, event.currency, event.digits, event.leverage) == (3001, "KWD", 3, 50)
    assert (event.name, event.email, event.enable, event.magic) == ("Ann", "", True, 0)
    assert event.regdate == int(NOW.astimezone(UTC).timestamp())
    assert (event.stream, event.version, event.position) == ("account:3001", 1, 5)
    assert book.accounts[3001].balance == 0


def test_what_the_caller_gives_comes_before_the_groups_defaults() -> None:
    [event] = when(given(), open_account(3001, leverage=7, enable=False, regdate=5))
    assert isinstance(event, AccountOpened)
    assert (event.leverage, event.enable, event.regdate) == (7, False, 5)


def test_without_a_login_the_next_free_one_is_given() -> None:
    [first] = when(given_only(group_defined()), open_account())
    assert isinstance(first, AccountOpened)
    assert first.login == LOGIN_FIRST == 1001
    book = given(account_opened(7000))
    assert [getattr(when(book, open_account())[0], "login", None) for _ in range(2)] == [7001, 7002]


def test_a_login_is_taken_once() -> None:
    refusal = refused(given(), open_account(1001), "login_taken")
    assert isinstance(refusal, ValidationError)
    assert refusal.field == "login"


def test_a_disabled_accounts_login_stays_taken() -> None:
    refused(given(account_disabled()), open_account(1001), "login_taken")


def test_an_account_needs_a_group_that_is_defined() -> None:
    assert refused(given(), open_account(3001, group="gold"), "unknown_group").field == "group"
    assert refused(given(), OpenAccount(login=3001), "unknown_group").field == "group"
    assert refused(given(), UpdateAccount(login=1001, group="gold"), "unknown_group").field == "group"


def test_a_login_is_a_number_that_every_client_can_hold() -> None:
    refused(given(), open_account(LOGIN_MAX + 1), "bad_login")
    when(given(), open_account(LOGIN_MAX))


def test_only_the_given_fields_of_an_account_change() -> None:
    book = given()
    [event] = when(book, UpdateAccount(login=1001, name="Ann", leverage=5))
    assert isinstance(event, AccountUpdated)
    assert (event.name, event.leverage, event.email, event.group) == ("Ann", 5, None, None)
    assert book.accounts[1001].group == "standard"


def test_an_account_moves_to_a_group_of_its_own_currency_only() -> None:
    book = given(group_defined("vip"), group_defined("euro", "EUR"))
    assert refused(book, UpdateAccount(login=1001, group="euro"), "currency_mismatch").field == "group"
    when(book, UpdateAccount(login=1001, group="vip"))
    assert book.accounts[1001].group == "vip"


def test_in_a_new_group_the_new_groups_rules_hold() -> None:
    book = given(group_defined("vip", max_operation=cents(5)))
    booked(book, deposit(6))
    when(book, UpdateAccount(login=1001, group="vip"))
    refused(book, deposit(6), "amount_too_large")


def test_an_account_is_disabled_once_and_enabled_once() -> None:
    book = given()
    assert isinstance(refused(book, EnableAccount(login=1001), "already_enabled"), AlreadyApplied)
    when(book, DisableAccount(login=1001))
    assert book.accounts[1001].enable is False
    assert isinstance(refused(book, DisableAccount(login=1001), "already_disabled"), AlreadyApplied)
    when(book, EnableAccount(login=1001))
    assert book.accounts[1001].enable is True


# Groups.


def test_a_group_takes_its_defaults_where_nothing_is_given() -> None:
    [event] = when(given_only(), define_group("standard", "USD"))
    assert isinstance(event, GroupDefined)
    assert (event.digits, event.leverage, event.equity_mode, event.withdraw_policy) == (
        2,
        100,
        "gross",
        "protect_credit",
    )
    assert (event.refuse_when_stale, event.max_operation, event.coverage) == (False, None, False)
    assert (event.stream, event.version) == ("group:standard", 1)


@pytest.mark.parametrize(("currency", "digits"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("BTC", 8), ("XYZ", 2)])
def test_a_currency_has_the_standards_digits_unless_its_first_group_says_otherwise(
    currency: str, digits: int
) -> None:
    book = given_only()
    when(book, define_group("first", currency))
    assert book.definitions.digits[currency] == digits
    other = given_only()
    when(other, define_group("first", currency, digits=5))
    assert other.definitions.digits[currency] == 5


def test_digits_are_fixed_by_the_first_group_of_the_currency() -> None:
    book = given()
    refusal = refused(book, define_group("vip", digits=3), "digits_mismatch")
    assert isinstance(refusal, ValidationError)
    assert refusal.field == "digits"
    when(book, define_group("vip", digits=2))
    refused(book, define_group(digits=4), "digits_mismatch")
    yen = given_only(group_defined("yen", "JPY", 3))
    when(yen, define_group("other", "JPY"))
    assert yen.definitions.groups["other"].digits == 3


def test_a_group_never_changes_its_currency() -> None:
    assert refused(given(), define_group("standard", "EUR"), "currency_mismatch").field == "currency"


def test_a_new_definition_replaces_the_old_one_whole() -> None:
    book = given()
    when(book, define_group(max_operation="50.5", leverage=7, coverage=True))
    assert book.definitions.groups["standard"].max_operation == 5_050
    [event] = when(book, define_group(leverage=8))
    group = book.definitions.groups["standard"]
    assert (group.leverage, group.max_operation, group.coverage) == (8, None, False)
    assert event.version == 3


def test_a_groups_ceiling_has_no_more_decimals_than_its_currency() -> None:
    assert refused(given(), define_group(max_operation="0.001"), "too_many_decimals").field == "maxOperation"


# The server's clock.


def test_the_clock_is_set_and_holds_for_the_next_batch() -> None:
    book = given()
    assert book.definitions.clock == ServerClock("UTC", "00:00", "all")
    when(book, define_server("Europe/Athens", "00:00", "mon-fri", "EUR"))
    assert book.definitions.clock == ServerClock("Europe/Athens", "00:00", "mon-fri")
    assert book.definitions.book_currency == "EUR"
    [event] = when(book, define_server())
    assert (event.stream, event.version) == ("ledger", 2)


@pytest.mark.parametrize(
    ("command", "code", "field"),
    [
        (define_server("Europe/Sparta"), "bad_timezone", "timezone"),
        (define_server("+02:00"), "bad_timezone", "timezone"),
        (define_server(day_end="24:00"), "bad_day_end", "dayEnd"),
        (define_server(overnight_days="sun"), "bad_overnight_days", "overnightDays"),
        (define_server(book_currency="usd"), "bad_currency", "bookCurrency"),
    ],
    ids=str,
)
def test_a_clock_is_refused_by_what_is_wrong_with_it(command: DefineServer, code: str, field: str) -> None:
    assert refused(given(), command, code).field in {field, "currency"}


# Simulation.


def test_an_empty_ledger_can_be_marked_simulated_once() -> None:
    book = given_only(group_defined(), server_defined())
    when(book, KEY)
    [event] = when(book, StartSimulation(starts_at=at("2020-01-01 00:00")))
    assert book.definitions.simulated_from == at("2020-01-01 00:00")
    assert (event.stream, event.version) == ("ledger", 2)
    again = StartSimulation(starts_at=at("2021-01-01 00:00"))
    assert isinstance(refused(book, again, "already_simulated"), AlreadyApplied)


def test_a_ledger_with_real_accounts_cannot_be_simulated() -> None:
    refused(given(deposited()), StartSimulation(starts_at=NOW), "ledger_is_real")


# Keys.


def test_a_key_is_created_and_revoked() -> None:
    book = given()
    [created] = when(book, KEY)
    [revoked] = when(book, RevokeKey(key="k9", revoked_at=NOW))
    assert isinstance(created, KeyCreated)
    assert isinstance(revoked, KeyRevoked)
    assert (created.stream, created.version, created.secret_hash) == ("key:k9", 1, "ab")
    assert (revoked.stream, revoked.version, revoked.revoked_at) == ("key:k9", 2, NOW)


def test_a_key_may_be_revoked_again_to_end_sooner() -> None:
    book = given()
    when(book, KEY)
    when(book, RevokeKey(key="k9", revoked_at=at("2026-12-01 00:00")))
    [event] = when(book, RevokeKey(key="k9", revoked_at=NOW))
    assert event.version == 3


def test_an_unknown_key_cannot_be_revoked() -> None:
    assert isinstance(refused(given(), RevokeKey(key="k9", revoked_at=NOW), "unknown_key"), NotFound)


@settings(max_examples=50)
@for_all(strategies.books(), strategies.other_commands)
def test_what_is_not_money_never_moves_money(book: Book, command: Command) -> None:
    before = {login: (account.balance, account.credit) for login, account in book.accounts.items()}
    strategies.attempt(book, command)
    after = {login: (account.balance, account.credit) for login, account in book.accounts.items()}
    assert {login: after[login] for login in before} == before
    assert all(after[login] == (0, 0) for login in after.keys() - before.keys())
