"""What a request asked can be read back from the events it caused: the hinge of exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from ledger.commands import (
    Command,
    Correct,
    CreateKey,
    DefineServer,
    DisableAccount,
    EnableAccount,
    ExpireCredit,
    GiveCredit,
    RevokeKey,
    StartSimulation,
    UpdateAccount,
)
from ledger.decide import decide
from ledger.events import decode, encode
from ledger.money import Amount
from ledger.refusals import Refusal
from ledger.requests import content_of_command, content_of_events, differences
from tests import strategies
from tests.make import (
    NOW,
    account_disabled,
    adjust,
    at,
    correct,
    credit,
    credited,
    define_group,
    define_server,
    deposit,
    deposited,
    given,
    given_only,
    moved,
    open_account,
    refused,
    request,
    reverse,
    transfer,
    when,
    withdraw,
)

if TYPE_CHECKING:
    from ledger.book import Book


def test_a_permission_that_is_true_is_not_one_that_is_1() -> None:
    book = given_only()
    when(book, define_group("new", permissions={"trade": True}), "r1")
    refusal = refused(book, define_group("new", permissions={"trade": 1}), "request_id_reused", "r1")
    assert refusal.extra["fields"] == ["permissions"]


KINDS = {
    "deposit": strategies.deposits,
    "withdrawal": strategies.withdrawals,
    "credit": strategies.credits_,
    "transfer": strategies.transfers,
    "correction": strategies.corrections,
    "reversal": strategies.reversals,
    "charge": strategies.charges,
    "bonus-conversion": strategies.conversions,
    "negative-balance": strategies.compensations,
    "opening": strategies.openings,
    "account-opened": strategies.account_openings,
    "account-updated": strategies.account_updates,
    "suspension": strategies.suspensions,
    "group-defined": strategies.group_definitions,
    "server-defined": strategies.server_definitions,
    "key-created": strategies.key_creations,
    "key-revoked": strategies.key_revocations,
}
NOTE: dict[str, Any] = {
    "comment": "rent",
    "reference": "p1",
    "method": "card",
    "effective_at": at("2026-11-01 10:00+02:00"),
    "metadata": {"order": 17, "rate": 1.5, "tags": ["a", None, True], "": {}},
}
KEY = CreateKey(
    key="k9",
    name="desk",
    role="finance",
    scopes=("users:read",),
    groups="*",
    secret_hash="00",
    amount_max="10.50",
)
EXAMPLES: list[Command] = [
    deposit(100),
    deposit("0.10", **NOTE),
    withdraw("1.00", **NOTE),
    credit(5),
    credit("-5.00", **NOTE),
    credit(5, expires_at=at("2026-12-01 10:00+02:00"), **NOTE),
    transfer("3.30", **NOTE),
    correct(balance=-1),
    correct(credit="-1.50"),
    correct(balance="1.5", credit=-2, corrects=4, **NOTE),
    reverse(4),
    reverse(4, ""),
    adjust("charge", -5, **NOTE),
    adjust("bonus-conversion", "5.00", **NOTE),
    adjust("opening", -5),
    adjust("opening", credit="5.0"),
    adjust("opening", 5, credit=5, **NOTE),
    open_account(3001),
    open_account(),
    open_account(3001, name="", leverage=100, enable=False, enable_read_only=False, magic=0, regdate=0),
    open_account(3001, name="Ann", email="a@b.c", enable=True, customer_id=7),
    UpdateAccount(login=1001, name=""),
    UpdateAccount(login=1001, enable=False, leverage=5, group="standard"),
    DisableAccount(login=1001),
    EnableAccount(login=1002),
    define_group(),
    define_group("new", "JPY"),
    define_group(
        "new", digits=2, leverage=100, max_operation="50.50", permissions={"a": 1.5}, coverage=False
    ),
    define_group("new", "JPY", max_operation=0),
    define_server("Europe/Athens"),
    KEY,
]


def rich() -> Book:
    return given(deposited(100), credited(100), account_disabled(1002))


def the_same_again(command: Command) -> Command:
    """Write the amounts with two decimals more or less."""
    names = [name for name in command.__struct_fields__ if isinstance(getattr(command, name), Amount)]
    return type(command)(
        **{name: getattr(command, name) for name in command.__struct_fields__}
        | {name: _rewritten(getattr(command, name)) for name in names}
    )


def _rewritten(amount: Amount) -> Amount:
    units, digits = amount.normalized()
    return Amount(units * 10, digits + 1) if digits < 8 else Amount(units, digits)


def check(book: Book, command: Command) -> None:
    events = decide(book, request(command, "r1"))
    asked = content_of_command(command)
    assert content_of_events(events) == asked
    assert content_of_events([decode(encode(event)) for event in events]) == asked
    assert content_of_command(the_same_again(command)) == asked
    book.apply(events)
    refused(book, command, "request_applied", "r1")


@pytest.mark.parametrize("command", EXAMPLES, ids=str)
def test_what_was_asked_is_read_back_from_the_events(command: Command) -> None:
    check(rich(), command)


def test_what_was_asked_is_read_back_from_a_negative_balance() -> None:
    check(given(moved("charge", balance=-5)), adjust("negative-balance", **NOTE))
    check(given(moved("charge", balance=-5), credited(9)), adjust("negative-balance", credit="3.0"))


def test_what_was_asked_is_read_back_from_a_key_and_a_simulation() -> None:
    book = given_only()
    check(book, StartSimulation(starts_at=NOW))
    book = given()
    when(book, KEY)
    check(book, RevokeKey(key="k9", revoked_at=NOW))


def test_what_was_asked_is_read_back_from_an_expiry() -> None:
    grant = credited(50, expires_at=at("2026-11-10 09:00"), at=at("2026-11-01 09:00"))
    check(given(grant), ExpireCredit(login=1001, grant=4))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@for_all(data=st.data())
def test_what_any_request_asked_is_read_back_from_its_events(kind: str, data: st.DataObject) -> None:
    book = data.draw(strategies.books())
    command = data.draw(KINDS[kind])
    try:
        decide(book, request(command))
    except Refusal:
        assume(False)
    check(book, command)


@settings(max_examples=300)
@for_all(
    st.sampled_from(EXAMPLES) | strategies.any_command, st.sampled_from(EXAMPLES) | strategies.any_command
)
def test_two_requests_have_one_content_only_when_they_ask_the_same(one: Command, other: Command) -> None:
    same = content_of_command(one) == content_of_command(other)
    assert same == (one == other)
    assert same == (not differences(content_of_command(one), content_of_command(other)))


def test_content_is_named_as_it_is_published() -> None:
    command = GiveCredit(login=1, amount=Amount(500, 2), expires_at=NOW, **NOTE)
    named = set(content_of_command(command))
    assert named == {
        "kind",
        "login",
        "amount",
        "expiresAt",
        "comment",
        "reference",
        "method",
        "effectiveAt",
        "metadata",
    }
    assert set(content_of_command(define_server())) == {
        "kind",
        "timezone",
        "dayEnd",
        "overnightDays",
        "bookCurrency",
    }
    assert set(content_of_command(open_account(1, enable_read_only=True))) == {
        "kind",
        "login",
        "group",
        "enable_read_only",
    }
    assert set(content_of_command(define_group(max_operation=5, withdraw_policy="mt"))) == {
        "kind",
        "group",
        "currency",
        "maxOperation",
        "withdrawPolicy",
    }


def test_what_was_not_given_is_not_compared() -> None:
    assert "comment" not in content_of_command(deposit())
    assert "credit" not in content_of_command(Correct(login=1, balance=Amount(1, 0), reason="r"))
    assert differences({"a": 1, "b": 2}, {"a": 1, "c": 3}) == ["b", "c"]


def test_defaults_that_were_asked_for_differ_from_defaults_that_were_not() -> None:
    book = given()
    when(book, open_account(3001), "r1")
    refusal = refused(book, open_account(3001, leverage=100), "request_id_reused", "r1")
    assert refusal.extra["fields"] == ["leverage"]


def test_a_server_is_compared_by_all_four_fields() -> None:
    book = given()
    when(book, define_server(), "r1")
    other = DefineServer(timezone="UTC", day_end="17:00", overnight_days="all", book_currency="EUR")
    assert refused(book, other, "request_id_reused", "r1").extra["fields"] == ["bookCurrency", "dayEnd"]
