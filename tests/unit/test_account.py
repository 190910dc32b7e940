"""An account is the sum of its events: balance, credit, grants, yesterday's and last month's balance."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from ledger import account
from ledger.account import Account, Grant, credit_taken
from ledger.events import Event, GrantChange
from ledger.money import format_minor
from tests.make import (
    account_disabled,
    account_enabled,
    account_opened,
    account_updated,
    at,
    cents,
    credit_out,
    credited,
    deposited,
    given,
    moved,
    server_defined,
    withdrawn,
)

SOON, LATER = at("2026-12-01 00:00"), at("2026-12-31 00:00")


def after(*facts: Event, login: int = 1001) -> Account:
    return given(*facts).accounts[login]


def test_a_new_account_holds_nothing() -> None:
    new = after()
    assert (new.balance, new.credit, new.version, new.enable, new.grants) == (0, 0, 1, True, ())


def test_the_balance_is_the_sum_of_what_came_in_and_went_out() -> None:
    assert after(deposited(100), withdrawn(30), deposited("0.01")).balance == cents("70.01")


def test_credit_is_kept_apart_from_the_balance() -> None:
    held = after(deposited(100), credited(50))
    assert (held.balance, held.credit) == (cents(100), cents(50))


def test_another_accounts_money_changes_nothing_here() -> None:
    assert after(deposited(100, login=1002)) == after()


def test_every_event_counts_one_version() -> None:
    facts = [deposited(), account_updated(name="Ann"), account_disabled(), account_enabled()]
    assert [after(*facts[:n]).version for n in range(5)] == [1, 2, 3, 4, 5]


def test_an_account_is_disabled_enabled_and_moved_to_another_group() -> None:
    assert after(account_disabled()).enable is False
    assert after(account_disabled(), account_enabled()).enable is True
    assert after(account_updated(enable=False)).enable is False
    assert after(account_updated(group="vip")).group == "vip"
    assert after(account_disabled(), account_updated(name="Ann")).enable is False


def test_a_stream_cannot_begin_with_money() -> None:
    with pytest.raises(AssertionError):
        account.evolve(None, deposited())


def test_time_travel_is_the_sum_of_the_first_events() -> None:
    stream = [account_opened(), deposited(100), withdrawn(30)]
    assert account.fold([]) is None
    folded = account.fold(stream[:2])
    assert folded is not None
    assert folded.balance == cents(100)


# Yesterday's and last month's balance.


def test_the_previous_balance_of_a_new_account_is_zero() -> None:
    held = after(deposited(100))
    assert held.prevbalance(date(2026, 11, 18)) == 0
    assert held.prevmonthbalance(date(2026, 11, 18)) == 0


def test_the_previous_balance_is_the_one_before_the_days_first_change() -> None:
    held = after(deposited(100, at=at("2026-11-17 10:00")), deposited(5), deposited(6))
    assert held.prevbalance(date(2026, 11, 18)) == cents(100)
    assert held.prevmonthbalance(date(2026, 11, 18)) == 0


def test_without_any_change_today_the_previous_balance_is_the_balance() -> None:
    held = after(deposited(100, at=at("2026-10-17 10:00")))
    assert held.prevbalance(date(2026, 11, 18)) == cents(100)
    assert held.prevmonthbalance(date(2026, 11, 18)) == cents(100)
    assert held.prevmonthbalance(date(2026, 10, 31)) == 0


def test_the_previous_months_balance_is_the_one_before_the_months_first_change() -> None:
    held = after(
        deposited(100, at=at("2026-10-31 10:00")),
        deposited(5, at=at("2026-11-01 00:00")),
        deposited(6, at=at("2026-11-17 10:00")),
        deposited(7),
    )
    assert held.prevmonthbalance(date(2026, 11, 18)) == cents(100)
    assert held.prevbalance(date(2026, 11, 18)) == cents(111)
    assert held.prevmonthbalance(date(2026, 12, 1)) == cents(118)


def test_the_same_month_of_another_year_is_another_month() -> None:
    held = after(deposited(100, at=at("2025-11-18 10:00")), deposited(5))
    assert held.prevmonthbalance(date(2026, 11, 18)) == cents(100)


def test_on_a_mon_fri_clock_the_weekend_counts_as_monday() -> None:
    clock = server_defined(overnight_days="mon-fri")
    friday, saturday, monday = at("2026-11-13 10:00"), at("2026-11-14 10:00"), at("2026-11-16 10:00")
    held = after(clock, deposited(100, at=friday), deposited(5, at=saturday), deposited(6, at=monday))
    assert held.prevbalance(date(2026, 11, 16)) == cents(100)
    assert held.prevbalance(date(2026, 11, 17)) == cents(111)


def test_a_month_that_ends_on_saturday_ends_there_though_its_trading_day_is_monday() -> None:
    clock = server_defined(overnight_days="mon-fri")
    saturday, sunday = at("2026-10-31 10:00"), at("2026-11-01 10:00")
    held = after(clock, deposited(100, at=saturday), deposited(5, at=sunday))
    assert held.prevmonthbalance(date(2026, 11, 2)) == cents(100)
    assert held.prevbalance(date(2026, 11, 2)) == 0


def test_credit_does_not_begin_a_day_of_the_balance() -> None:
    held = after(deposited(100, at=at("2026-11-17 10:00")), credited(50))
    assert held.balance_day == date(2026, 11, 17)
    assert held.prevbalance(date(2026, 11, 18)) == cents(100)


# Credit that expires.


def test_a_grant_is_open_until_it_is_used_up() -> None:
    grant = credited(50, expires_at=SOON)
    assert after(grant).grants == (Grant(4, SOON, cents(50)),)
    assert after(grant, credit_out(20, (4, SOON, 20))).grants == (Grant(4, SOON, cents(30)),)
    assert after(grant, credit_out(50, (4, SOON, 50))).grants == ()


def test_credit_that_comes_back_to_a_grant_reopens_it() -> None:
    back = moved("reversal", credit=50, corrects=5, grants=(GrantChange(4, SOON, cents(50)),))
    held = after(credited(50, expires_at=SOON), credit_out(50, (4, SOON, 50)), back)
    assert held.grants == (Grant(4, SOON, cents(50)),)


def test_credit_without_an_expiry_is_no_grant() -> None:
    assert after(credited(50)).grants == ()


def test_credit_taken_out_uses_up_the_soonest_expiry_first() -> None:
    held = after(credited(50, expires_at=LATER), credited(30, expires_at=SOON), credited(10))
    assert list(credit_taken(held, cents(40))) == [
        GrantChange(5, SOON, -cents(30)),
        GrantChange(4, LATER, -cents(10)),
    ]


def test_credit_without_an_expiry_is_used_up_last() -> None:
    held = after(credited(10), credited(30, expires_at=SOON))
    assert list(credit_taken(held, cents(35))) == [GrantChange(5, SOON, -cents(30))]


def test_of_two_grants_with_one_expiry_the_older_goes_first() -> None:
    held = after(credited(10, expires_at=SOON), credited(10, expires_at=SOON))
    assert [change.grant for change in credit_taken(held, cents(10))] == [4]


def test_the_grant_that_is_put_right_goes_before_all_others() -> None:
    held = after(credited(50, expires_at=LATER), credited(30, expires_at=SOON))
    assert list(credit_taken(held, cents(60), first=4)) == [
        GrantChange(4, LATER, -cents(50)),
        GrantChange(5, SOON, -cents(10)),
    ]


CHANGES = st.lists(st.tuples(st.integers(-(10**10), 10**10), st.integers(0, 40)), max_size=30)


@for_all(CHANGES)
def test_balance_and_previous_balances_are_sums_over_the_log(changes: list[tuple[int, int]]) -> None:
    booked, today = [], at("2026-01-01 12:00")
    for change, days in changes:
        today += timedelta(days=days)
        booked.append((today.date(), change))
    held = after(*(corrected(change, day) for day, change in booked))
    month = today.date().replace(day=1)
    assert held.balance == sum(change for _, change in booked)
    assert held.prevbalance(today.date()) == sum(change for day, change in booked if day < today.date())
    assert held.prevmonthbalance(today.date()) == sum(change for day, change in booked if day < month)


def corrected(change: int, day: date) -> Event:
    return moved("correction", balance=format_minor(change, 2), at=at(f"{day} 12:00"))
