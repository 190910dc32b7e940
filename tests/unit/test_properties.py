"""What holds for any commands in any order: the invariants of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from ledger import account
from ledger.commands import Command, Reverse, Transfer
from ledger.decide import decide
from ledger.events import Event, MoneyMoved
from ledger.refusals import AlreadyApplied, Refusal
from tests import strategies
from tests.make import request, state_of

if TYPE_CHECKING:
    from ledger.book import Book

BOOKS = strategies.books()
COMMANDS = st.lists(strategies.money_commands, max_size=10)


def stream(book: Book, login: int) -> list[Event]:
    return [event for event in book.booked if getattr(event, "login", None) == login]


def legs(events: list[Event]) -> list[MoneyMoved]:
    return [event for event in events if isinstance(event, MoneyMoved)]


@for_all(BOOKS)
def test_an_account_is_the_fold_of_its_stream(book: Book) -> None:
    for login, held in book.accounts.items():
        assert account.fold(stream(book, login)) == held


@for_all(BOOKS)
def test_a_balance_is_the_sum_of_the_changes_and_each_leg_says_what_it_left(book: Book) -> None:
    for login, held in book.accounts.items():
        balance = credit = 0
        for leg in legs(stream(book, login)):
            balance, credit = balance + leg.balance_change, credit + leg.credit_change
            assert (leg.balance, leg.credit) == (balance, credit)
        assert (held.balance, held.credit) == (balance, credit)


@for_all(BOOKS)
def test_streams_and_positions_have_no_gap(book: Book) -> None:
    assert [event.position for event in book.booked] == list(range(5, 5 + len(book.booked)))
    for login in book.accounts:
        assert [event.version for event in stream(book, login)] == list(
            range(1, len(stream(book, login)) + 1)
        )


@settings(max_examples=200)
@for_all(BOOKS, strategies.any_command)
def test_twice_is_once(book: Book, command: Command) -> None:
    asked = request(command, "r1")
    try:
        book.apply(decide(book, asked))
    except Refusal:
        return
    before = state_of(book)
    with pytest.raises(AlreadyApplied) as caught:
        decide(book, asked)
    assert caught.value.code == "request_applied"
    assert caught.value.extra["operation"] == book.requests["r1"]
    assert state_of(book) == before


@for_all(BOOKS, strategies.any_command)
def test_deciding_changes_nothing_and_always_decides_the_same(book: Book, command: Command) -> None:
    before, asked = state_of(book), request(command)
    assert outcome(book, asked.command) == outcome(book, asked.command)
    assert state_of(book) == before


def outcome(book: Book, command: Command) -> object:
    try:
        return decide(book, request(command, "r1"))
    except Refusal as refusal:
        return type(refusal), refusal.code, refusal.field, refusal.extra


@settings(max_examples=200)
@for_all(BOOKS, COMMANDS)
def test_credit_is_never_below_zero_and_covers_its_open_grants(book: Book, commands: list[Command]) -> None:
    for command in commands:
        strategies.attempt(book, command)
        for held in book.accounts.values():
            assert held.credit >= 0
            assert all(grant.left > 0 for grant in held.grants)
            assert sum(grant.left for grant in held.grants) <= held.credit


@for_all(BOOKS, st.lists(strategies.transfers, max_size=5))
def test_transfers_conserve(book: Book, transfers: list[Transfer]) -> None:
    before = sum(held.balance for held in book.accounts.values() if held.currency == "USD")
    for command in transfers:
        strategies.attempt(book, command)
    assert sum(held.balance for held in book.accounts.values() if held.currency == "USD") == before


@for_all(BOOKS)
def test_a_reversal_is_exactly_the_opposite(book: Book) -> None:
    for number, operation in list(book.operations.items()):
        held = {login: (account.balance, account.credit) for login, account in book.accounts.items()}
        moves = legs(list(operation))
        if not moves or not strategies.attempt(book, Reverse(operation=number, reason="r")):
            continue
        for leg in moves:
            balance, credit = held[leg.login]
            now = book.accounts[leg.login]
            assert (now.balance, now.credit) == (balance - leg.balance_change, credit - leg.credit_change)
        assert not strategies.attempt(book, Reverse(operation=number, reason="again"))


@for_all(BOOKS, st.lists(strategies.withdrawals | strategies.transfers, max_size=6))
def test_money_taken_out_never_exceeds_what_was_withdrawable(book: Book, commands: list[Command]) -> None:
    for command in commands:
        before = dict(book.accounts)
        first = len(book.booked)
        strategies.attempt(book, command)
        for leg in legs(book.booked[first:]):
            held = before[leg.login]
            free = book.worth(held).withdrawable
            assert leg.balance_change > 0 or -leg.balance_change <= free
            assert leg.balance_change > 0 or leg.balance >= 0
