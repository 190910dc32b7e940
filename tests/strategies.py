"""Arbitrary commands, as the edge lets them through, and arbitrary books that such commands lead to.

Accounts 1001 and 1002 are in USD, 2001 in KWD (3 digits), 3001 in JPY (none), 4001 in BTC (8). Account
1003 is in USD too, and owes money.
"""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from ledger.commands import (
    Adjust,
    BookDeal,
    Command,
    Correct,
    CreateKey,
    DefineGroup,
    DefineServer,
    DefineSymbol,
    Deposit,
    DisableAccount,
    EnableAccount,
    ExpireCredit,
    GiveCredit,
    OpenAccount,
    Reverse,
    RevokeKey,
    Transfer,
    UpdateAccount,
    Withdraw,
)
from ledger.decide import decide
from ledger.money import Amount
from ledger.refusals import Refusal
from tests.make import NOW, at, given_only, group_defined, request

if TYPE_CHECKING:
    from ledger.book import Book

FOREIGN = (("dinar", "KWD", 3, 2001), ("yen", "JPY", 0, 3001), ("coin", "BTC", 8, 4001))
LOGINS = (1001, 1002, 1003, 2001, 3001, 4001)
GROUPS = ("standard", "dinar", "yen", "coin", "new")
SIGNED_KINDS = ("charge", "commission", "agent", "rebate", "interest", "dividend", "tax")

_json = msgspec.json.Decoder(float_hook=Decimal)
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_maybe_text = st.none() | _texts.filter(bool)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5, minutes=-30))])
_past = st.datetimes(at("2020-01-02 00:00").replace(tzinfo=None), NOW.replace(tzinfo=None), timezones=_zones)
_later = st.timedeltas(timedelta(microseconds=1), timedelta(days=60)).map(lambda delta: NOW + delta)
_numbers = st.integers(0, 2**53 - 1)
_flags = st.none() | st.booleans()


def _written(units: int, digits: int) -> Amount:
    return Amount(units, digits)


def amounts(low: int = 1, high: int = 100_000) -> st.SearchStrategy[Amount]:
    """Give amounts as written: with decimals that fit most accounts or do not, and trailing zeros."""
    units = st.integers(low, high).filter(bool)
    return st.builds(_written, units, st.sampled_from([0, 0, 0, 1, 2, 2, 3, 8]))


def _plain_json() -> st.SearchStrategy[Any]:
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | _texts
        | st.from_regex(rb"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,20}([eE][-+]?[0-9]{1,2})?", fullmatch=True).map(
            _json.decode
        )
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
        max_leaves=6,
    )


metadata = st.none() | st.dictionaries(_texts, _plain_json(), max_size=3)
_note: dict[str, Any] = {
    "comment": _maybe_text,
    "reference": st.none() | st.sampled_from(["p1", "p2"]),
    "method": st.none() | st.sampled_from(["card", "wire"]),
    "effective_at": st.none() | _past,
    "metadata": metadata,
}
_logins = st.sampled_from(LOGINS)
_dollars = st.sampled_from([1001, 1002])
_signed = amounts(-100_000) | amounts(-700, -1)
_profile: dict[str, Any] = {
    **dict.fromkeys(
        ("name", "email", "country", "phone", "address", "city", "zipcode", "comment"), st.none() | _texts
    ),
    **dict.fromkeys(("enable", "enable_read_only", "enable_change_password"), _flags),
    **dict.fromkeys(("magic", "customer_id", "regdate"), st.none() | _numbers),
    "leverage": st.none() | st.integers(1, 1000),
}


def _at_least_one(command: Correct | Adjust) -> bool:
    return any(getattr(command, name, None) is not None for name in ("amount", "balance", "credit"))


deposits = st.builds(Deposit, login=_logins, amount=amounts(), **_note)
withdrawals = st.builds(Withdraw, login=_logins, amount=amounts(high=3_000), **_note)
credits_ = st.builds(GiveCredit, login=_logins, amount=_signed, expires_at=st.none() | _later, **_note)
transfers = st.builds(
    Transfer, source=_dollars, target=st.just(1003) | _dollars, amount=amounts(high=3_000), **_note
)
corrections = st.builds(
    Correct,
    login=_logins,
    balance=st.none() | _signed,
    credit=st.none() | _signed,
    corrects=st.none() | st.integers(10, 24),
    reason=_texts,
    **_note,
).filter(_at_least_one)
_results = amounts(-100_000) | amounts(-700, 700) | st.just(Amount(0, 0))
deals = st.builds(
    BookDeal,
    login=_logins,
    deal_id=st.sampled_from(["d1", "d2", "d3"]),
    profit=_results,
    **dict.fromkeys(("storage", "commission", "taxes"), st.none() | _signed),  # 0 is as if not given
    symbol=st.none() | st.sampled_from(["EURUSD", "unknown"]),
    ticket=st.none() | _numbers,
    lots=st.none() | st.just("0.1"),
    time=st.none() | _past,
)
reversals = st.builds(Reverse, operation=st.integers(10, 24), reason=_texts)
charges = st.builds(Adjust, login=_logins, kind=st.sampled_from(SIGNED_KINDS), amount=_signed, **_note)
conversions = st.builds(Adjust, login=_logins, kind=st.just("bonus-conversion"), amount=amounts(), **_note)
compensations = st.builds(
    Adjust,
    login=st.just(1003) | _logins,
    kind=st.just("negative-balance"),
    credit=st.none() | amounts(high=500),
    **_note,
)
openings = st.builds(
    Adjust,
    login=_logins,
    kind=st.just("opening"),
    amount=st.none() | _signed,
    credit=st.none() | _signed,
    **_note,
).filter(_at_least_one)
money_commands: st.SearchStrategy[Command] = st.one_of(
    deposits,
    withdrawals,
    credits_,
    transfers,
    corrections,
    deals,
    reversals,
    charges,
    conversions,
    compensations,
    openings,
)

_groups = st.sampled_from(GROUPS)
account_openings = st.builds(
    OpenAccount, login=st.none() | st.integers(5001, 5003), group=_groups, **_profile
)
account_updates = st.builds(UpdateAccount, login=_logins, group=st.none() | _groups, **_profile)
suspensions = st.builds(DisableAccount, login=_logins) | st.builds(EnableAccount, login=_logins)
group_definitions = st.builds(
    DefineGroup,
    group=_groups,
    currency=st.sampled_from(["USD", "KWD", "JPY", "BTC", "EUR"]),
    digits=st.none() | st.sampled_from([0, 2, 3, 8]),
    leverage=st.none() | st.integers(1, 1000),
    equity_mode=st.none() | st.sampled_from(["gross", "net"]),
    withdraw_policy=st.none() | st.sampled_from(["protect_credit", "mt"]),
    refuse_when_stale=_flags,
    margin_call=st.none() | st.just("100.00"),
    stop_out=st.none() | st.just("50"),
    max_operation=st.none() | amounts(500_000, 10_000_000),
    coverage=_flags,
    permissions=metadata,
)
symbol_definitions = st.builds(
    DefineSymbol,
    symbol=st.sampled_from(["EURUSD", "USDJPY"]),
    digits=st.sampled_from([3, 5]),
    contract_size=st.sampled_from(["100000", "0.5"]),
    base_currency=st.just("EUR"),
    profit_currency=st.just("USD"),
    margin_rate=st.none() | st.just("1.5"),
    swap_long=st.none() | st.just("-0.3"),
    spread=st.none() | st.integers(0, 20),
    trade_mode=st.none() | st.just("close_only"),
    description=st.none() | _texts.filter(bool),
)
server_definitions = st.builds(
    DefineServer,
    timezone=st.sampled_from(["UTC", "Europe/Athens", "America/New_York"]),
    day_end=st.sampled_from(["00:00", "17:00"]),
    overnight_days=st.sampled_from(["all", "mon-fri"]),
    book_currency=st.sampled_from(["USD", "EUR"]),
)
key_creations = st.builds(
    CreateKey,
    key=st.sampled_from(["k2", "k3"]),
    name=_texts,
    role=st.just("finance"),
    scopes=st.lists(st.sampled_from(["funding:deposit", "users:read"]), max_size=2).map(tuple),
    groups=st.just("*"),
    secret_hash=st.just("00"),
    logins=st.none() | st.lists(_logins, max_size=2).map(tuple),
    amount_max=st.none() | st.just("10.50"),
    amount_day_max=st.none() | st.just("100"),
    expires_at=st.none() | _later,
    replaces=st.none() | st.just("k0"),
)
key_revocations = st.builds(RevokeKey, key=st.just("k1"), revoked_at=_past)
other_commands: st.SearchStrategy[Command] = st.one_of(
    account_openings,
    account_updates,
    suspensions,
    group_definitions,
    symbol_definitions,
    server_definitions,
    key_creations,
    key_revocations,
)
expiries = st.builds(ExpireCredit, login=_logins, grant=st.integers(10, 24))
any_command: st.SearchStrategy[Command] = money_commands | other_commands


def _riches(login: int) -> list[Command]:
    return [
        Adjust(login=login, kind="opening", amount=Amount(20_000, 0), credit=Amount(10_000, 0)),
        GiveCredit(login=login, amount=Amount(500, 0), expires_at=NOW + timedelta(days=2)),
    ]


STANDING: list[Command] = [
    *(OpenAccount(login=login, group=group) for group, _, _, login in FOREIGN),
    OpenAccount(login=1003, group="standard"),
    Adjust(login=1003, kind="charge", amount=Amount(-50, 0)),
    Adjust(login=1003, kind="opening", credit=Amount(5_000, 0)),
    DefineSymbol(
        symbol="EURUSD", digits=5, contract_size="100000", base_currency="EUR", profit_currency="USD"
    ),
    *_riches(1001),
    *_riches(1002)[1:],
    CreateKey(key="k1", name="desk", role="finance", scopes=(), groups="*", secret_hash="00"),
]


@st.composite
def books(draw: st.DrawFn, *, commands: st.SearchStrategy[Command] = any_command) -> Book:
    """Give a book with money in it, after some arbitrary commands of which the possible ones are booked."""
    book = given_only(
        group_defined(), *(group_defined(group, currency, digits) for group, currency, digits, _ in FOREIGN)
    )
    for login in (1001, 1002):
        attempt(book, OpenAccount(login=login, group="standard"))
    rich = [command for login in draw(st.sets(_logins, max_size=3)) for command in _riches(login)]
    for command in STANDING + rich + draw(st.lists(commands, max_size=4)):
        attempt(book, command)
    return book


def attempt(book: Book, command: Command) -> bool:
    """Book a command where it is possible; say whether it was."""
    try:
        book.apply(decide(book, request(command)))
    except Refusal:
        return False
    return True
