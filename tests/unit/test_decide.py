"""Which refusal comes first, requests exactly once, references, and what a key may do."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import commands
from ledger.commands import Caller, Command, Request, UpdateAccount
from ledger.decide import RULES, decide
from ledger.events import Event, MoneyMoved
from ledger.refusals import AlreadyApplied, PermissionDenied, ValidationError
from tests.make import (
    account_disabled,
    account_opened,
    account_updated,
    adjust,
    at,
    booked,
    cents,
    correct,
    credit,
    credited,
    define_group,
    deposit,
    deposited,
    given,
    group_defined,
    key,
    moved,
    open_account,
    refused,
    reverse,
    transfer,
    transferred,
    when,
    withdraw,
)

VIP = (group_defined("vip"), account_opened(2001, group="vip"))
PAID: dict[str, Any] = {"method": "card", "reference": "p1"}
MONEY: list[Command] = [
    deposit(5),
    withdraw(5),
    credit(5),
    transfer(5),
    correct(balance=5),
    adjust("charge", -5),
    adjust("opening", 5, credit=5),
    adjust("bonus-conversion", 5),
    reverse(4),
]


def name_of(value: object) -> str:
    return getattr(value, "kind", type(value).__name__)


# Requests: exactly once.


@pytest.mark.parametrize("command", MONEY, ids=name_of)
def test_same_request_twice_is_applied_once(command: Command) -> None:
    book = given(deposited(100), credited(100))
    first = when(book, command, "r1")
    refusal = refused(book, command, "request_applied", "r1")
    assert isinstance(refusal, AlreadyApplied)
    assert refusal.extra["operation"] == tuple(first)


@pytest.mark.parametrize(
    "command", [open_account(3001), define_group("gold"), UpdateAccount(login=1001, name="Ann")], ids=name_of
)
def test_the_same_registration_twice_is_applied_once(command: Command) -> None:
    book = given()
    when(book, command, "r1")
    refused(book, command, "request_applied", "r1")


def test_a_repeat_may_write_its_amount_in_another_way() -> None:
    book = given()
    booked(book, deposit(1500), request_id="r1")
    refused(book, deposit("1500.00"), "request_applied", "r1")
    refused(book, deposit("1500.0"), "request_applied", "r1")


def test_a_repeat_from_another_key_and_operator_is_still_a_repeat() -> None:
    book = given()
    booked(book, deposit(), request_id="r1")
    refused(book, deposit(), "request_applied", "r1", caller=Caller(key_id="k2", operator_id="bob"))


@pytest.mark.parametrize(
    ("second", "fields"),
    [
        (deposit(101), ["amount"]),
        (deposit(100, login=1002), ["login"]),
        (deposit(100, comment="other"), ["comment"]),
        (deposit(100, **PAID), ["method", "reference"]),
        (deposit(100, effective_at=at("2026-11-01 00:00")), ["effectiveAt"]),
        (deposit(100, metadata={"a": 1}), ["metadata"]),
        (withdraw(100), ["kind"]),
        (credit(100, expires_at=at("2026-12-01 00:00")), ["expiresAt", "kind"]),
        (transfer(100), ["from", "kind", "login", "to"]),
    ],
    ids=str,
)
def test_a_request_id_used_for_something_else_is_refused_by_naming_the_difference(
    second: Command, fields: list[str]
) -> None:
    book = given()
    first = booked(book, deposit(100), request_id="r1")
    refusal = refused(book, second, "request_id_reused", "r1")
    assert isinstance(refusal, ValidationError)
    assert (refusal.extra["fields"], refusal.extra["operation"]) == (fields, (first,))


def test_a_refused_request_uses_nothing_up() -> None:
    book = given()
    refused(book, withdraw(10), "not_enough_money", "r1")
    booked(book, deposit(10))
    booked(book, withdraw(10), request_id="r1")


def test_a_repeat_is_answered_as_such_whatever_has_changed_since() -> None:
    book = given(deposited(100))
    booked(book, withdraw(60), request_id="r1")
    refused(book, withdraw(60), "request_applied", "r1")
    when(book, UpdateAccount(login=1001, enable=False))
    refused(book, withdraw(60), "request_applied", "r1")
    when(book, define_group(max_operation=1))
    refused(book, withdraw(60), "request_applied", "r1", caller=key(amount_max=1))


def test_the_first_operation_is_named_only_to_a_key_that_may_see_its_login() -> None:
    book = given(*VIP)
    booked(book, deposit(login=2001), request_id="r1")
    standard = key("standard")
    hidden = refused(book, deposit(99), "request_id_reused", "r1", caller=standard)
    assert hidden.extra.get("operation") is None
    assert hidden.extra.get("fields") is None
    when(book, transfer(10, source=2001, target=1001), "r2")
    assert refused(book, deposit(), "request_id_reused", "r2", caller=standard).extra.get("operation") is None


def test_a_groups_definition_is_named_only_to_a_key_whose_mask_selects_the_group() -> None:
    book = given(*VIP)
    [defined] = when(book, define_group("vip", max_operation=77), "r1")
    hidden = refused(book, deposit(5), "request_id_reused", "r1", caller=key("standard"))
    assert hidden.extra.get("operation") is None
    assert hidden.extra.get("fields") is None
    told = refused(book, deposit(5, login=2001), "request_id_reused", "r1", caller=key("vip"))
    assert told.extra["operation"] == (defined,)


# References.


def test_the_same_reference_again_is_the_same_payment() -> None:
    book = given()
    first = booked(book, deposit(100, **PAID))
    refusal = refused(book, deposit("100.00", **PAID, comment="other words"), "reference_applied")
    assert isinstance(refusal, AlreadyApplied)
    assert refusal.extra["operation"] == (first,)


@pytest.mark.parametrize("second", [deposit(101, **PAID), deposit(100, login=1002, **PAID)], ids=str)
def test_the_same_reference_for_another_booking_is_refused(second: Command) -> None:
    book = given()
    first = booked(book, deposit(100, **PAID))
    refusal = refused(book, second, "reference_reused")
    assert isinstance(refusal, ValidationError)
    assert (refusal.field, refusal.extra["operation"]) == ("reference", (first,))


@pytest.mark.parametrize(
    "second",
    [
        deposit(100, method="wire", reference="p1"),
        deposit(100, method="card", reference="p2"),
        deposit(100, reference="p1"),
        deposit(100, method="card"),
        withdraw(100, **PAID),
        credit(100, **PAID),
        adjust("rebate", 100, **PAID),
    ],
    ids=str,
)
def test_another_kind_method_or_reference_is_another_payment(second: Command) -> None:
    book = given()
    booked(book, deposit(100, **PAID))
    booked(book, second)


def test_a_reference_without_a_method_is_only_a_note() -> None:
    book = given()
    booked(book, deposit(100, reference="p1"))
    booked(book, deposit(100, reference="p1"))


@pytest.mark.parametrize(
    ("command", "other"),
    [
        (transfer(5, **PAID), transfer(6, **PAID)),
        (transfer(5, **PAID), transfer(5, target=2001, **PAID)),
        (correct(balance=5, **PAID), correct(credit=5, **PAID)),
        (adjust("opening", 5, **PAID), adjust("opening", 5, credit=5, **PAID)),
        (adjust("rebate", 5, **PAID), adjust("rebate", -5, **PAID)),
        (credit(5, **PAID), credit(6, **PAID)),
        (withdraw(5, **PAID), withdraw(6, **PAID)),
    ],
    ids=str,
)
def test_every_kind_of_operation_keeps_its_references(command: Command, other: Command) -> None:
    book = given(*VIP, deposited(100), credited(100))
    when(book, command)
    refused(book, command, "reference_applied")
    refused(book, other, "reference_reused")


def test_a_reversed_operation_frees_its_reference() -> None:
    book = given()
    first = booked(book, deposit(100, **PAID))
    booked(book, reverse(first.operation))
    again = booked(book, deposit(200, **PAID))
    refused(book, deposit(100, **PAID), "reference_reused")
    booked(book, reverse(again.operation))
    booked(book, deposit(100, **PAID))


def test_the_first_payment_is_named_only_to_a_key_that_may_see_its_login() -> None:
    book = given(*VIP)
    booked(book, deposit(login=2001, **PAID))
    assert "operation" not in refused(book, deposit(**PAID), "reference_reused", caller=key("standard")).extra


# What a key reaches.


@pytest.mark.parametrize("caller", [key("vip"), key("*,!standard"), key(logins=[1002]), key("")], ids=str)
@pytest.mark.parametrize("command", MONEY, ids=name_of)
def test_an_account_outside_the_keys_reach_is_refused(command: Command, caller: Caller) -> None:
    book = given(deposited(100), credited(100))
    assert isinstance(refused(book, command, "outside_mask", caller=caller), PermissionDenied)


def test_both_sides_of_a_transfer_must_be_in_reach() -> None:
    book = given(*VIP, deposited(100), deposited(100, login=2001))
    refused(book, transfer(1, target=2001), "outside_mask", caller=key("standard"))
    refused(book, transfer(1, source=2001, target=1001), "outside_mask", caller=key("standard"))
    when(book, transfer(1, target=2001), caller=key("standard,vip"))


def test_both_sides_of_a_reversed_transfer_must_be_in_reach() -> None:
    book = given(*VIP, deposited(100), transferred(10, target=2001))
    refused(book, reverse(7), "outside_mask", caller=key("standard"))
    refused(book, reverse(7), "outside_mask", caller=key(logins=[1001]))


def test_what_a_correction_corrects_must_be_in_reach() -> None:
    book = given(*VIP, deposited(100, login=2001))
    refused(book, correct(balance=1, corrects=6), "outside_mask", caller=key("standard"))


def test_an_account_is_opened_and_moved_only_within_the_keys_reach() -> None:
    book = given(*VIP)
    refused(book, open_account(3001, group="vip"), "outside_mask", caller=key("standard"))
    refused(book, open_account(3001), "outside_mask", caller=key(logins=[3002]))
    refused(book, open_account(), "outside_mask", caller=key(logins=[3002]))
    refused(book, UpdateAccount(login=1001, group="vip"), "outside_mask", caller=key("standard"))
    when(book, open_account(3001), caller=key("standard", logins=[3001]))


def test_an_account_that_moved_out_of_the_mask_is_out_of_reach() -> None:
    book = given(*VIP, account_updated(group="vip"))
    refused(book, deposit(), "outside_mask", caller=key("standard"))


# A key's limits.


@pytest.mark.parametrize("command", MONEY, ids=name_of)
def test_a_key_moves_at_most_its_limit_in_one_operation(command: Command) -> None:
    facts = [deposited(5), credited(100), deposited(100)]
    refusal = refused(given(*facts), command, "key_limit", caller=key(amount_max="4.99"))
    assert isinstance(refusal, PermissionDenied)
    when(given(*facts), command, caller=key(amount_max=5))


@pytest.mark.parametrize("command", MONEY, ids=name_of)
def test_a_key_moves_at_most_its_limit_in_one_server_day(command: Command) -> None:
    book = given(deposited(5), credited(100), deposited(100))
    clerk = key(amount_day_max=9)
    book.limited = {"k1"}
    when(book, command, caller=clerk)
    assert book.used == {("k1", "USD"): 500}
    refused(book, deposit("4.01"), "key_day_limit", caller=clerk)
    booked(book, deposit(4), caller=clerk)
    refused(book, deposit("0.01"), "key_day_limit", caller=clerk)


def test_money_out_uses_up_a_days_limit_as_money_in_does() -> None:
    book = given(deposited(100))
    book.limited, clerk = {"k1"}, key(amount_day_max=10)
    booked(book, withdraw(6), caller=clerk)
    refused(book, withdraw(5), "key_day_limit", caller=clerk)
    refused(book, correct(balance=-5), "key_day_limit", caller=clerk)
    booked(book, correct(balance=-4), caller=clerk)


def test_another_key_has_limits_of_its_own() -> None:
    book = given()
    book.limited = {"k1", "k2"}
    booked(book, deposit(10), caller=key(amount_day_max=10))
    booked(book, deposit(10), caller=key(amount_day_max=10, key_id="k2"))
    booked(book, deposit(10), caller=key(key_id="k3"))


def test_limits_are_in_each_accounts_own_currency() -> None:
    book = given(
        group_defined("dinar", "KWD", 3), account_opened(3001, group="dinar", currency="KWD", digits=3)
    )
    book.limited, clerk = {"k1"}, key(amount_max="0.5", amount_day_max="0.75")
    booked(book, deposit("0.500", login=3001), caller=clerk)
    refused(book, deposit("0.501", login=3001), "key_limit", caller=clerk)
    refused(book, deposit("0.251", login=3001), "key_day_limit", caller=clerk)
    booked(book, deposit("0.5"), caller=clerk)


def test_the_larger_of_balance_and_credit_counts_against_a_limit() -> None:
    book = given()
    refused(book, correct(balance=1, credit=9), "key_limit", caller=key(amount_max=8))
    refused(book, adjust("opening", 9, credit=1), "key_limit", caller=key(amount_max=8))


def test_a_negative_balance_counts_as_what_it_brings() -> None:
    book = given(moved("charge", balance=-30), credited(50))
    refused(book, adjust("negative-balance"), "key_limit", caller=key(amount_max=29))
    refused(book, adjust("negative-balance", credit=40), "key_limit", caller=key(amount_max=39))
    booked(book, adjust("negative-balance", credit=40), caller=key(amount_max=40))


def test_a_refused_operation_uses_up_no_limit() -> None:
    book = given()
    book.limited, clerk = {"k1"}, key(amount_day_max=10)
    refused(book, withdraw(10), "not_enough_money", caller=clerk)
    booked(book, deposit(10), caller=clerk)


# The order of refusals, pairwise.

USED = (deposited(1, request_id="used"), deposited(1, **PAID), account_disabled(), *VIP)
TOO_MUCH = "1000000.001"  # more than any balance, limit or ceiling here, and too many decimals
LIMITED = key("standard", amount_max=10)
IN_ORDER: list[tuple[str, Command, str | None, Caller]] = [
    # each row breaks its own rule and every later one
    ("unknown_login", withdraw(TOO_MUCH, login=9, **PAID), "used", LIMITED),
    ("outside_mask", withdraw(TOO_MUCH, login=2001, **PAID), "used", LIMITED),
    ("request_id_reused", withdraw(TOO_MUCH, **PAID), "used", LIMITED),
    ("reference_reused", deposit(TOO_MUCH, **PAID), None, LIMITED),
    ("key_limit", withdraw(TOO_MUCH), None, LIMITED),
    ("account_disabled", withdraw(TOO_MUCH), None, key()),
    ("too_many_decimals", withdraw("1000.001", login=1002), None, key()),
    ("amount_too_large", withdraw(1000, login=1002), None, key()),
    ("not_enough_money", withdraw(10, login=1002), None, key()),
]


@pytest.mark.parametrize(
    ("code", "command", "request_id", "caller"), IN_ORDER, ids=[row[0] for row in IN_ORDER]
)
def test_of_several_reasons_the_first_in_the_published_order_is_given(
    code: str, command: Command, request_id: str | None, caller: Caller
) -> None:
    book = given(group_defined(max_operation=cents(100)), *USED)
    refused(book, command, code, request_id, caller=caller)


def test_an_unknown_login_comes_before_one_outside_the_mask() -> None:
    book = given(*VIP)
    standard = key("standard")
    assert refused(book, transfer(1, source=9, target=2001), "unknown_login", caller=standard).field == "from"
    assert refused(book, transfer(1, source=2001, target=9), "unknown_login", caller=standard).field == "to"


def test_an_unknown_login_comes_before_an_unknown_operation() -> None:
    refused(given(), correct(balance=1, login=9, corrects=77), "unknown_login")


def test_an_account_outside_the_mask_comes_before_a_repeat() -> None:
    book = given()
    booked(book, deposit(), request_id="r1")
    refused(book, deposit(), "outside_mask", "r1", caller=key("vip"))


def test_a_repeat_comes_before_its_own_reference() -> None:
    book = given()
    booked(book, deposit(**PAID), request_id="r1")
    refused(book, deposit(**PAID), "request_applied", "r1")


def test_the_operation_limit_comes_before_the_days_and_both_before_a_disabled_account() -> None:
    book = given(deposited(100), account_disabled())
    refused(book, withdraw(9), "key_limit", caller=key(amount_max=8, amount_day_max=8))
    refused(book, withdraw(9), "key_day_limit", caller=key(amount_max=9, amount_day_max=8))
    refused(book, withdraw(9), "account_disabled", caller=key(amount_max=9, amount_day_max=9))


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (deposit(login=9), "login"),
        (withdraw(1, login=9), "login"),
        (credit(1, login=9), "login"),
        (correct(balance=1, login=9), "login"),
        (adjust("charge", 1, login=9), "login"),
        (transfer(1, source=9), "from"),
        (transfer(1, target=9), "to"),
        (UpdateAccount(login=9, name="Ann"), "login"),
    ],
    ids=str,
)
def test_an_unknown_login_is_named_by_its_field(command: Command, field: str) -> None:
    assert refused(given(), command, "unknown_login").field == field


# Deciding is pure.


def test_deciding_changes_nothing() -> None:
    book = given(deposited(100))
    asked = Request(command=transfer(10), request_id="r1", caller=key())
    assert decide(book, asked) == decide(book, asked)


def test_every_command_has_a_rule() -> None:
    named = {
        value
        for value in vars(commands).values()
        if isinstance(value, type) and issubclass(value, commands.Command) and "NAME" in vars(value)
    }
    assert named == RULES.keys()


def test_every_event_is_what_its_book_becomes() -> None:
    book = given(deposited(100))
    events: list[Event] = [event for command in MONEY[:-1] for event in when(book, command)]
    legs = [event for event in events if isinstance(event, MoneyMoved)]
    assert [leg.position for leg in legs] == list(range(5, 5 + len(legs)))
    last = {leg.login: leg for leg in legs}
    for login, leg in last.items():
        account = book.accounts[login]
        assert (account.balance, account.credit, account.version) == (leg.balance, leg.credit, leg.version)
