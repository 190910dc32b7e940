"""The rules of money: what each kind of operation moves, and why one is refused."""

from __future__ import annotations

import pytest

from ledger.book import Book
from ledger.commands import Command, ExpireCredit, expiry_of
from ledger.events import Event, GrantChange, MoneyMoved
from ledger.funding import ADJUST_KINDS, BALANCE_MAX
from ledger.money import AMOUNT_MAX
from ledger.refusals import AlreadyApplied, NotFound, PermissionDenied, ValidationError
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
    credit_out,
    credited,
    deal,
    define_server,
    deposit,
    deposited,
    given,
    given_only,
    group_defined,
    moved,
    refused,
    reverse,
    server_defined,
    transfer,
    transferred,
    when,
    withdraw,
    withdrawn,
)

SOON, LATER = at("2026-12-01 10:00"), at("2026-12-31 10:00")
FUTURE = at("2026-11-18 12:00:00.000001")
SIGNED = ["charge", "commission", "agent", "rebate", "interest", "dividend", "tax"]


def holds(book: Book, login: int = 1001) -> tuple[int, int]:
    account = book.accounts[login]
    return account.balance, account.credit


# Deposits and withdrawals.


def test_a_deposit_enters_the_balance() -> None:
    book = given()
    event = booked(book, deposit(100, comment="rent", reference="p1", method="card", metadata={"a": 1}))
    assert (event.kind, event.amount, event.balance_change, event.credit_change) == (
        "deposit",
        10_000,
        10_000,
        0,
    )
    assert (event.balance, event.credit, event.currency, event.group) == (10_000, 0, "USD", "standard")
    assert (event.comment, event.reference, event.method, event.metadata) == ("rent", "p1", "card", {"a": 1})
    assert (event.position, event.operation, event.stream, event.version) == (4, 4, "account:1001", 2)
    assert holds(book) == (10_000, 0)


def test_an_event_carries_who_asked_and_when() -> None:
    event = booked(given(), deposit(), request_id="r1")
    assert (event.request_id, event.operator_id, event.key_id) == ("r1", "alice", "k1")
    assert event.recorded_at == event.effective == at("2026-11-18 12:00")
    assert (str(event.server_day), str(event.trading_day)) == ("2026-11-18", "2026-11-18")


def test_a_deposit_to_a_disabled_account_is_accepted_with_a_warning() -> None:
    assert booked(given(account_disabled()), deposit()).warnings == ("account_disabled",)
    assert booked(given(), deposit()).warnings == ()


def test_a_deposit_that_happened_earlier_keeps_its_own_time() -> None:
    event = booked(given(), deposit(effective_at=at("2026-11-01 08:00")))
    assert event.effective == at("2026-11-01 08:00")
    assert event.recorded_at == at("2026-11-18 12:00")


@pytest.mark.parametrize(
    "command",
    [
        deposit(1, effective_at=FUTURE),
        withdraw(1, effective_at=FUTURE),
        credit(1, effective_at=FUTURE),
        transfer(1, effective_at=FUTURE),
        correct(balance=1, effective_at=FUTURE),
        adjust("charge", -1, effective_at=FUTURE),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_takes_effect_in_the_future(command: Command) -> None:
    refusal = refused(given(deposited(10)), command, "bad_effective_time")
    assert refusal.field == "effectiveAt"


def test_this_very_instant_is_not_the_future() -> None:
    booked(given(), deposit(effective_at=at("2026-11-18 12:00")))


def test_a_withdrawal_leaves_the_balance_and_its_amount_stays_positive() -> None:
    book = given(deposited(100))
    event = booked(book, withdraw(30))
    assert (event.kind, event.amount, event.balance_change, event.balance) == (
        "withdrawal",
        3_000,
        -3_000,
        7_000,
    )
    assert holds(book) == (7_000, 0)


def test_the_whole_balance_can_be_withdrawn() -> None:
    assert booked(given(deposited(100)), withdraw(100)).balance == 0


def test_a_withdrawal_above_the_balance_is_refused_with_what_is_available() -> None:
    refusal = refused(given(deposited(100)), withdraw("100.01"), "not_enough_money")
    assert isinstance(refusal, ValidationError)
    assert refusal.extra["available"] == (10_000, 2)
    assert refusal.field == "amount"


def test_credit_cannot_be_withdrawn() -> None:
    refused(given(credited(50)), withdraw(1), "not_enough_money")
    booked(given(deposited(10), credited(50)), withdraw(10))
    refused(given(deposited(10), credited(50)), withdraw(11), "not_enough_money")


def test_under_the_mt_policy_credit_is_no_cushion_either() -> None:
    book = given(group_defined(withdraw_policy="mt"), deposited(10), credited(50))
    refused(book, withdraw(11), "not_enough_money")
    booked(book, withdraw(10))


def test_nothing_can_be_withdrawn_from_a_balance_below_zero() -> None:
    book = given(moved("charge", balance=-10), credited(50))
    assert refused(book, withdraw("0.01"), "not_enough_money").extra["available"] == (0, 2)


def test_a_withdrawal_out_of_a_disabled_account_is_refused() -> None:
    refusal = refused(given(deposited(100), account_disabled()), withdraw(1), "account_disabled")
    assert isinstance(refusal, PermissionDenied)


def test_more_decimals_than_the_currency_has_are_refused_not_rounded() -> None:
    refused(given(), deposit("0.001"), "too_many_decimals")
    refused(given(), deposit("1.000"), "too_many_decimals")
    yen = given_only(group_defined("yen", "JPY", 0), account_opened(group="yen", currency="JPY", digits=0))
    refused(yen, deposit("1.5"), "too_many_decimals")
    assert booked(yen, deposit(15)).balance == 15


def test_the_group_may_set_a_lower_ceiling_on_one_operation() -> None:
    book = given(group_defined(max_operation=cents(50)), deposited(500), credited(500))
    for command in (
        deposit("50.01"),
        withdraw("50.01"),
        credit("50.01"),
        credit("-50.01"),
        transfer("50.01"),
        correct(balance="-50.01"),
        correct(credit="50.01"),
        adjust("charge", "-50.01"),
        adjust("bonus-conversion", "50.01"),
        adjust("opening", credit="50.01"),
    ):
        refused(book, command, "amount_too_large")
    booked(book, deposit(50))


def test_a_transfer_keeps_within_the_ceilings_of_both_groups() -> None:
    small = (group_defined("small", max_operation=cents(50)), account_updated(login=1002, group="small"))
    book = given(*small, deposited(500))
    refused(book, transfer("50.01"), "amount_too_large")
    when(book, transfer(50))


def test_an_account_cannot_hold_more_than_a_bigint_counts() -> None:
    full = moved("opening", balance_change=BALANCE_MAX - 1)
    book = given(full)
    refused(book, deposit("0.02"), "balance_out_of_range")
    assert booked(book, deposit("0.01")).balance == BALANCE_MAX


# Credit.


FULL = moved("opening", balance_change=BALANCE_MAX, credit_change=BALANCE_MAX)


@pytest.mark.parametrize(
    ("fact", "command", "code", "field"),
    [
        (FULL, deposit(1), "balance_out_of_range", "amount"),
        (FULL, credit(1), "balance_out_of_range", "amount"),
        (FULL, adjust("rebate", 1), "balance_out_of_range", "amount"),
        (FULL, adjust("bonus-conversion", 1), "balance_out_of_range", "amount"),
        (FULL, adjust("opening", 1), "balance_out_of_range", "amount"),
        (FULL, adjust("opening", -1, credit=1), "balance_out_of_range", "credit"),
        (FULL, correct(balance=1), "balance_out_of_range", "balance"),
        (FULL, correct(credit=1), "balance_out_of_range", "credit"),
        (FULL, deal("d-1", 1, storage=-1, taxes=1), "balance_out_of_range", None),
        (credited(5), credit(-6), "not_enough_credit", "amount"),
        (credited(5), adjust("bonus-conversion", 6), "not_enough_credit", "amount"),
        (credited(5), adjust("opening", credit=-6), "not_enough_credit", "credit"),
        (credited(5), adjust("opening", 1, credit=-6), "not_enough_credit", "credit"),
        (credited(5), correct(credit=-6), "not_enough_credit", "credit"),
        (moved("charge", balance=-1), adjust("negative-balance", credit=6), "not_enough_credit", "credit"),
    ],
)
def test_a_refusal_names_the_field_that_the_caller_sent(
    fact: Event, command: Command, code: str, field: str | None
) -> None:
    assert refused(given(fact), command, code).field == field


def test_a_refused_reversal_names_no_amount_for_none_was_sent() -> None:
    spent = given(deposited(100), credited(50), credit_out(20))
    assert refused(spent, reverse(5), "not_enough_credit").field is None
    filled = given(moved("charge", balance=-1), moved("opening", balance_change=BALANCE_MAX), deposited(1))
    assert refused(filled, reverse(4), "balance_out_of_range").field is None


def test_credit_is_given_and_taken_out_beside_the_balance() -> None:
    book = given(deposited(100))
    assert booked(book, credit(50)).credit == cents(50)
    event = booked(book, credit(-20))
    assert (event.amount, event.credit_change, event.balance_change) == (-2_000, -2_000, 0)
    assert holds(book) == (cents(100), cents(30))


def test_credit_never_goes_below_zero() -> None:
    refusal = refused(given(deposited(100), credited(50)), credit("-50.01"), "not_enough_credit")
    assert refusal.extra["available"] == (5_000, 2)


def test_credit_that_carries_a_loss_cannot_be_taken_out() -> None:
    book = given(credited(50), moved("charge", balance=-30))
    assert refused(book, credit("-20.01"), "not_enough_credit").extra["available"] == (2_000, 2)
    assert booked(book, credit(-20)).credit == cents(30)


def test_credit_may_expire() -> None:
    book = given()
    event = booked(book, credit(50, expires_at=SOON))
    assert event.expires_at == SOON
    assert [(grant.grant, grant.left) for grant in book.accounts[1001].grants] == [(4, 5_000)]


@pytest.mark.parametrize("expires_at", [at("2026-11-18 12:00"), at("2026-11-17 12:00")])
def test_credit_must_expire_in_the_future(expires_at: object) -> None:
    assert refused(given(), credit(50, expires_at=expires_at), "bad_expiration").field == "expiresAt"


def test_credit_that_goes_out_has_no_expiry() -> None:
    refused(given(credited(50)), credit(-10, expires_at=SOON), "bad_expiration")


def test_credit_taken_out_uses_up_the_soonest_expiry_first() -> None:
    book = given(credited(50, expires_at=LATER), credited(30, expires_at=SOON), credited(10))
    assert booked(book, credit(-40)).grants == (
        GrantChange(5, SOON, -cents(30)),
        GrantChange(4, LATER, -cents(10)),
    )
    assert [(grant.grant, grant.left) for grant in book.accounts[1001].grants] == [(4, cents(40))]


def test_credit_may_go_to_a_disabled_account_with_a_warning() -> None:
    assert booked(given(account_disabled()), credit(5)).warnings == ("account_disabled",)


# Expiry of credit.


def test_what_is_left_of_a_grant_goes_out_at_the_close_of_its_server_day() -> None:
    book = given(
        credited(50, expires_at=SOON, at=at("2026-11-01 09:00")),
        credit_out(20, (4, SOON, 20), at=at("2026-11-02 09:00")),
        now=at("2026-12-02 00:00:01"),
    )
    event = booked(book, ExpireCredit(login=1001, grant=4))
    assert (event.kind, event.credit_change, event.corrects) == ("credit", -cents(30), 4)
    assert event.effective == at("2026-12-02 00:00")
    assert holds(book) == (0, 0)
    assert book.accounts[1001].grants == ()


def test_a_grant_expires_at_the_close_and_not_before() -> None:
    before = at("2026-12-01 23:59:59.999999")
    facts = [credited(50, expires_at=SOON, at=at("2026-11-01 09:00"))]
    refused(given(*facts, now=before), ExpireCredit(login=1001, grant=4), "grant_not_open")
    booked(given(*facts, now=at("2026-12-02 00:00")), ExpireCredit(login=1001, grant=4))


def test_a_grant_that_ends_exactly_at_a_close_belongs_to_the_next_day() -> None:
    facts = [credited(50, expires_at=at("2026-12-01 00:00"), at=at("2026-11-01 09:00"))]
    refused(given(*facts, now=at("2026-12-01 23:00")), ExpireCredit(login=1001, grant=4), "grant_not_open")
    event = booked(given(*facts, now=at("2026-12-02 00:00")), ExpireCredit(login=1001, grant=4))
    assert event.effective == at("2026-12-02 00:00")


def test_after_a_downtime_a_grant_expires_as_of_its_own_close() -> None:
    clock = server_defined("America/New_York", "17:00")
    book = given(
        clock,
        credited(50, expires_at=SOON, at=at("2026-11-01 09:00")),
        now=at("2026-12-24 00:00"),
    )
    assert booked(book, ExpireCredit(login=1001, grant=5)).effective == at("2026-12-01 22:00")


def test_a_grant_expires_once() -> None:
    book = given(credited(50, expires_at=SOON, at=at("2026-11-01 09:00")), now=at("2026-12-03 00:00"))
    booked(book, ExpireCredit(login=1001, grant=4))
    assert isinstance(refused(book, ExpireCredit(login=1001, grant=4), "grant_not_open"), NotFound)


def test_a_grant_that_was_used_up_does_not_expire() -> None:
    book = given(
        credited(50, expires_at=SOON, at=at("2026-11-01 09:00")),
        credited(50, at=at("2026-11-01 09:00")),
        credit_out(50, (4, SOON, 50), at=at("2026-11-02 09:00")),
        now=at("2026-12-03 00:00"),
    )
    refused(book, ExpireCredit(login=1001, grant=4), "grant_not_open")
    assert holds(book) == (0, cents(50))


# Transfers.


def test_a_transfer_is_one_operation_with_two_legs() -> None:
    book = given(deposited(100))
    out, into = when(book, transfer(40, reference="t1", comment="moving"))
    assert isinstance(out, MoneyMoved)
    assert isinstance(into, MoneyMoved)
    assert (out.login, out.balance_change, out.balance, out.peer) == (1001, -4_000, 6_000, 1002)
    assert (into.login, into.balance_change, into.balance, into.peer) == (1002, 4_000, 4_000, 1001)
    assert (out.amount, into.amount) == (4_000, 4_000)
    assert (out.operation, into.operation, out.position, into.position) == (5, 5, 5, 6)
    assert out.request_id == into.request_id
    assert (holds(book, 1001), holds(book, 1002)) == ((6_000, 0), (4_000, 0))


def test_a_transfer_above_what_can_be_withdrawn_is_refused() -> None:
    refusal = refused(given(deposited(100), credited(50)), transfer("100.01"), "not_enough_money")
    assert refusal.extra["available"] == (10_000, 2)


def test_a_transfer_out_of_a_disabled_account_is_refused() -> None:
    refused(given(deposited(100), account_disabled()), transfer(1), "account_disabled")


def test_a_transfer_into_a_disabled_account_is_accepted_with_a_warning() -> None:
    out, into = when(given(deposited(100), account_disabled(1002)), transfer(1))
    assert isinstance(out, MoneyMoved)
    assert isinstance(into, MoneyMoved)
    assert (out.warnings, into.warnings) == ((), ("account_disabled",))


def test_a_transfer_across_currencies_is_refused() -> None:
    book = given(
        group_defined("euro", "EUR"), account_opened(2001, group="euro", currency="EUR"), deposited(100)
    )
    assert refused(book, transfer(1, target=2001), "currency_mismatch").field == "to"


def test_a_transfer_to_oneself_is_refused() -> None:
    refused(given(deposited(100)), transfer(1, target=1001), "same_login")


# Corrections.


def test_a_correction_changes_balance_and_credit_by_signed_amounts() -> None:
    book = given(deposited(100), credited(50))
    event = booked(book, correct(balance=-30, credit="-0.5", corrects=4, reason="typo"))
    assert (event.kind, event.balance_change, event.credit_change) == ("correction", -3_000, -50)
    assert (event.corrects, event.reason, event.amount) == (4, "typo", -3_000)
    assert holds(book) == (cents(70), cents("49.5"))


def test_a_correction_of_credit_alone_has_the_credit_as_its_amount() -> None:
    event = booked(given(credited(50)), correct(credit=-20))
    assert (event.amount, event.balance_change, event.credit_change) == (-2_000, 0, -2_000)


def test_a_correction_may_take_the_balance_below_zero() -> None:
    assert booked(given(deposited(10)), correct(balance=-30)).balance == -cents(20)


def test_a_correction_never_takes_credit_below_zero() -> None:
    refusal = refused(given(deposited(100), credited(5)), correct(credit="-5.01"), "not_enough_credit")
    assert refusal.field == "credit"


def test_a_correction_names_an_operation_that_exists() -> None:
    refusal = refused(given(deposited(10)), correct(balance=1, corrects=77), "unknown_operation")
    assert isinstance(refusal, ValidationError)
    assert refusal.field == "corrects"
    refused(given(deposited(10)), correct(balance=1, corrects=2), "unknown_operation")


def test_a_correction_of_a_grant_uses_up_that_grant_first() -> None:
    book = given(credited(50, expires_at=LATER), credited(30, expires_at=SOON))
    assert booked(book, correct(credit=-20, corrects=4)).grants == (GrantChange(4, LATER, -cents(20)),)


def test_a_disabled_account_can_be_corrected() -> None:
    event = booked(given(deposited(10), account_disabled()), correct(balance=-5))
    assert event.warnings == ("account_disabled",)


# Reversals.


def test_a_reversal_is_the_exact_opposite() -> None:
    book = given(deposited(100))
    event = booked(book, reverse(4, "wrong client"))
    assert (event.kind, event.balance_change, event.amount) == ("reversal", -10_000, -10_000)
    assert (event.corrects, event.reason) == (4, "wrong client")
    assert holds(book) == (0, 0)


def test_a_reversal_of_both_balance_and_credit_reverses_both() -> None:
    book = given(deposited(10), moved("opening", balance=5, credit=7))
    booked(book, reverse(5))
    assert holds(book) == (cents(10), 0)


def test_a_reversed_transfer_goes_back_on_both_sides() -> None:
    book = given(deposited(100), transferred(40))
    first, second = when(book, reverse(5))
    assert [getattr(leg, "balance_change", None) for leg in (first, second)] == [4_000, -4_000]
    assert first.operation == second.operation
    assert (holds(book, 1001), holds(book, 1002)) == ((cents(100), 0), (0, 0))


def test_a_reversal_may_take_the_balance_below_zero() -> None:
    book = given(deposited(100), withdrawn(60))
    assert booked(book, reverse(4)).balance == -cents(60)


def test_a_reversal_again_names_the_first_reversal() -> None:
    book = given(deposited(100))
    first = booked(book, reverse(4))
    refusal = refused(book, reverse(4), "already_reversed")
    assert isinstance(refusal, AlreadyApplied)
    assert refusal.extra["operation"] == (first,)


def test_a_reversal_cannot_be_reversed() -> None:
    book = given(deposited(100))
    reversal = booked(book, reverse(4))
    assert isinstance(refused(book, reverse(reversal.operation), "not_reversible"), ValidationError)


def test_an_operation_that_does_not_exist_cannot_be_reversed() -> None:
    assert isinstance(refused(given(deposited()), reverse(77), "unknown_operation"), NotFound)
    assert isinstance(refused(given(deposited()), reverse(2), "unknown_operation"), NotFound)


def test_a_reversal_that_would_take_credit_below_zero_is_refused() -> None:
    book = given(deposited(100), credited(50), credit_out(20))
    refused(book, reverse(5), "not_enough_credit")


def test_a_correction_can_be_reversed() -> None:
    book = given(deposited(100))
    mistake = booked(book, correct(balance=-30, corrects=4))
    assert booked(book, reverse(mistake.operation)).balance == cents(100)


def test_a_reversed_grant_does_not_expire_any_more() -> None:
    book = given(credited(50, expires_at=SOON), credited(50, expires_at=LATER))
    assert booked(book, reverse(5)).grants == (GrantChange(5, LATER, -cents(50)),)
    assert [grant.grant for grant in book.accounts[1001].grants] == [4]


def test_credit_that_a_reversal_brings_back_returns_to_its_grant_and_still_expires() -> None:
    book = given(deposited(10), credited(50, expires_at=SOON), credit_out(20, (5, SOON, 20)))
    assert booked(book, reverse(6)).grants == (GrantChange(5, SOON, cents(20)),)
    assert [grant.left for grant in book.accounts[1001].grants] == [cents(50)]


def test_credit_that_comes_back_after_its_grants_day_stays() -> None:
    past = at("2026-11-01 09:00")
    book = given(
        credited(50, expires_at=at("2026-11-10 09:00"), at=past),
        credit_out(20, (4, at("2026-11-10 09:00"), 20), at=past),
    )
    assert booked(book, reverse(5)).grants == ()


def test_credit_whose_expiry_is_reversed_comes_back_without_expiry() -> None:
    book = given(credited(50, expires_at=at("2026-11-20 23:00")), now=at("2026-11-21 00:00:01"))
    expiry = booked(book, ExpireCredit(login=1001, grant=4), request_id=expiry_of(4))
    when(book, define_server("America/New_York", "17:00"))  # by which the grant's day is open again
    assert booked(book, reverse(expiry.operation)).grants == ()
    assert (holds(book), book.accounts[1001].grants) == ((0, cents(50)), ())
    refused(book, ExpireCredit(login=1001, grant=4), "grant_not_open")


def test_credit_that_comes_back_after_its_grant_has_expired_stays_though_a_new_clock_opens_the_day() -> None:
    late = at("2026-11-20 23:00")
    book = given(credited(50, expires_at=late), credit_out(20, (4, late, 20)), now=at("2026-11-21 00:00:01"))
    booked(book, ExpireCredit(login=1001, grant=4), request_id=expiry_of(4))
    when(book, define_server("America/New_York", "17:00"))
    assert booked(book, reverse(5)).grants == ()
    assert (book.accounts[1001].credit, book.accounts[1001].grants) == (cents(20), ())


def test_a_disabled_account_can_be_reversed() -> None:
    assert booked(given(deposited(), account_disabled()), reverse(4)).warnings == ("account_disabled",)


def test_an_operation_is_reversed_in_the_accounts_present_group() -> None:
    book = given(group_defined("vip"), deposited(100), account_updated(group="vip"))
    assert booked(book, reverse(5)).group == "vip"


# The platforms' other kinds.


@pytest.mark.parametrize("kind", SIGNED)
def test_an_adjustment_moves_the_balance_either_way(kind: str) -> None:
    book = given(deposited(100))
    event = booked(book, adjust(kind, "-0.5"))
    assert (event.kind, event.amount, event.balance_change, event.credit_change) == (kind, -50, -50, 0)
    assert booked(book, adjust(kind, 1)).balance == cents("100.5")


@pytest.mark.parametrize("kind", SIGNED)
def test_a_charge_may_take_the_balance_below_zero(kind: str) -> None:
    assert booked(given(), adjust(kind, -5)).balance == -cents(5)


def test_a_bonus_conversion_turns_credit_into_balance() -> None:
    book = given(credited(50))
    event = booked(book, adjust("bonus-conversion", 20))
    assert (event.amount, event.balance_change, event.credit_change) == (2_000, 2_000, -2_000)
    assert holds(book) == (cents(20), cents(30))


def test_more_than_the_credit_cannot_be_converted() -> None:
    refused(given(credited(50)), adjust("bonus-conversion", "50.01"), "not_enough_credit")


def test_a_bonus_conversion_uses_up_the_soonest_expiry_first() -> None:
    book = given(credited(50, expires_at=LATER), credited(30, expires_at=SOON))
    assert [change.grant for change in booked(book, adjust("bonus-conversion", 30)).grants] == [5]


def test_a_negative_balance_is_brought_to_zero() -> None:
    event = booked(given(moved("charge", balance=-30)), adjust("negative-balance"))
    assert (event.balance_change, event.balance, event.credit_change) == (3_000, 0, 0)


def test_with_a_negative_balance_credit_is_cancelled_as_far_as_given() -> None:
    book = given(credited(50), moved("charge", balance=-30))
    event = booked(book, adjust("negative-balance", credit=20))
    assert (event.balance_change, event.credit_change) == (3_000, -2_000)
    assert holds(book) == (0, cents(30))
    refused(
        given(credited(5), moved("charge", balance=-30)),
        adjust("negative-balance", credit=6),
        "not_enough_credit",
    )


def test_a_balance_that_is_not_negative_needs_no_compensation() -> None:
    refused(given(), adjust("negative-balance"), "balance_not_negative")
    refused(given(deposited(1)), adjust("negative-balance"), "balance_not_negative")
    refused(given(), adjust("negative-balance", credit="0.001"), "too_many_decimals")


def test_an_opening_brings_balance_and_credit_of_a_running_broker() -> None:
    assert booked(given(), adjust("opening", 100)).balance == cents(100)
    assert booked(given(), adjust("opening", credit=50)).credit == cents(50)
    both = booked(given(), adjust("opening", -100, credit=50))
    assert (both.balance, both.credit, both.amount) == (-10_000, 5_000, -10_000)


def test_an_opening_never_brings_credit_below_zero() -> None:
    refused(given(), adjust("opening", credit=-1), "not_enough_credit")


def test_all_other_kinds_are_the_platforms_own() -> None:
    assert set(ADJUST_KINDS) == {*SIGNED, "bonus-conversion", "negative-balance", "opening"}


# Limits.


def test_the_largest_amount_can_be_booked() -> None:
    assert booked(given(), deposit(AMOUNT_MAX)).balance == AMOUNT_MAX * 100


def test_reversing_a_correction_of_a_grant_gives_the_credit_back_to_that_grant() -> None:
    book = given(credited(50, expires_at=at("2026-12-31T12:00:00Z")))
    grant = book.head + len(book.booked)
    taken = booked(book, correct(credit=-20, corrects=grant))
    assert [(left.grant, left.left) for left in book.accounts[1001].grants] == [(grant, 3_000)]
    booked(book, reverse(taken.operation))
    assert [(left.grant, left.left) for left in book.accounts[1001].grants] == [(grant, 5_000)]
