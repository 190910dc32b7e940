"""Wishes, retries, steps of the clock and questions, in any order; after each step every account agrees."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.days import DAY, ServerClock
from tests.model.model import FLOATING, Body, Model
from tests.model.money import DEAL
from tests.model.pair import HABITS, Pair
from tests.model.queries import MASKS, instants, queries_about, questions_about
from tests.model.times import CLOCKS, SPANS, STARTS, TICK, close_after, month_end_after, odd_day_after
from tests.model.wishes import ADJUSTMENTS, EXPIRIES_S, OPS, Sum, Wish, a_few, body_of, one

if TYPE_CHECKING:
    from tests.model.stage import Stage

GROUPS: dict[str, Body] = {
    "STD-USD": {"currency": "USD"},
    "STD-MT": {"currency": "USD", "withdrawPolicy": "mt", "equityMode": "net"},
    "VIP-EUR": {"currency": "EUR"},
    "yen": {"currency": "JPY"},
    "dinar": {"currency": "KWD", "maxOperation": Decimal(10)},
}
DEFINITIONS: tuple[Body, ...] = (
    *({}, {"maxOperation": Decimal(100)}, {"withdrawPolicy": "mt", "leverage": 50}),
    *({"equityMode": "net"}, {"refuseWhenStale": True}),
)
MIDS = {"EURUSD": ("EUR", "USD", "1.5"), "USDJPY": ("USD", "JPY", "160"), "KWDUSD": ("KWD", "USD", "3.25")}
"""Rates that make halves of a cent."""

CHANGES = ("none", "request id", "written otherwise", "amount", "comment", "login", "op")
INDEX = st.integers(0, 99)
LATELY = 20
REVERSE = Wish("reverse", 0, Sum(1))
"""The last operation."""

COMMON = ("deposit", "withdraw", "transfer", "credit")


class How(NamedTuple):
    """How a command is sent."""

    habit: str = HABITS[0]
    dry: bool = False


HOW = st.sampled_from((How(), How(), How(HABITS[1]), How(HABITS[1]), How(dry=True)))


class Counted:
    """What all machines of a run have done."""

    def __init__(self) -> None:
        self.ledgers = self.steps = self.calls = self.acknowledged = 0
        self.seen: Counter[str] = Counter()

    def add(self, pair: Pair) -> None:
        """Count a ledger that is over."""
        self.ledgers += 1
        self.calls += pair.play.calls
        self.acknowledged += pair.acknowledged
        self.seen += pair.seen


class Machine(RuleBasedStateMachine):
    """What may be done to a ledger and its model."""

    stage: ClassVar[Stage]
    counted: ClassVar[Counted]
    pair: Pair

    @initialize(
        start=st.sampled_from(STARTS), clock=st.sampled_from(CLOCKS), other=st.sampled_from(tuple(GROUPS))
    )
    def begin(self, start: datetime, clock: ServerClock, other: str) -> None:
        """Found a ledger with a clock, groups, rates, and three accounts that hold something."""
        self.pair = Pair(self.stage, start)
        self.pair.set_clock(clock, "USD")
        for name, definition in GROUPS.items():
            self.pair.define_group(name, definition)
        self.pair.define_symbols(MIDS)
        for account, group in enumerate(("STD-USD", "STD-USD", other)):
            self.pair.open_account({"group": group}, self.pair.new_id())
            self._send([Wish(op, account, Sum(10_000)) for op in ("opening", "credit")], How())

    def teardown(self) -> None:
        """Hold everything against the model once more, unless something has failed already."""
        if hasattr(self, "pair"):
            self.pair.end(check=sys.exc_info()[0] is None)
            self.counted.add(self.pair)

    @property
    def model(self) -> Model:
        """The model as it stands."""
        return self.pair.model

    # Money

    @rule(wishes=a_few("deposit", "withdraw"), how=HOW)
    def pay(self, wishes: list[Wish], how: How) -> None:
        """Put money in, or take it out."""
        self._send(wishes, how)

    @rule(wish=one("deposit", "withdraw", "transfer"), reverses=st.booleans(), how=HOW)
    def pay_twice(self, wish: Wish, reverses: bool, how: How) -> None:
        """Send one payment under two request ids; perhaps the first is reversed in between."""
        body = body_of(wish._replace(payment=wish.payment or (0, 0)), self.model)
        for _ in range(2):
            self._send_new(body, how)
            if reverses:
                self._send([REVERSE], How())

    @rule(
        account=st.integers(0, 2),
        expiries_s=st.lists(st.sampled_from((None, *EXPIRIES_S)), min_size=1, max_size=3),
        wishes=a_few("credit", "credit", "bonus-conversion", "correction", "negative-balance"),
        reverses=st.booleans(),
    )
    def grant(self, account: int, expiries_s: list[int | None], wishes: list[Wish], reverses: bool) -> None:
        """Give an account credit that expires, and take some of it away; perhaps the last was a mistake."""
        given = [Wish("credit", account, Sum(2_000), expires_s=expires_s) for expires_s in expiries_s]
        taken = [wish._replace(account=account) for wish in wishes]
        self._send([*given, *taken, *([REVERSE] if reverses else [])], How())

    @rule(wishes=a_few("transfer"), how=HOW)
    def move(self, wishes: list[Wish], how: How) -> None:
        """Move money between accounts."""
        self._send(wishes, how)

    @rule(wishes=a_few("correction", "reverse", "reverse"), how=HOW)
    def mend(self, wishes: list[Wish], how: How) -> None:
        """Correct or reverse what was booked."""
        self._send(wishes, how)

    @rule(wishes=a_few(*ADJUSTMENTS), how=HOW)
    def adjust(self, wishes: list[Wish], how: How) -> None:
        """Book one of the other kinds."""
        self._send(wishes, how)

    @rule(index=INDEX, change=st.sampled_from(CHANGES), habit=st.sampled_from(HABITS))
    def send_again(self, index: int, change: str, habit: str) -> None:
        """Send one of the last commands again, as it was or changed."""
        if self.pair.sent:
            body, request_id = self._lately(index)
            again = _changed(body, change, self.model)
            if change == "request id":
                request_id = self.pair.new_id()
                self.pair.sent.append((again, request_id))
            self.pair.send(again, request_id, habit=habit, quoted=change == "written otherwise")

    @rule(
        items=st.lists(st.tuples(one(*OPS), st.none() | INDEX), min_size=1, max_size=4),
        mode=st.sampled_from(("each", "each", "atomic", "atomic", "dry")),
    )
    def send_many(self, items: list[tuple[Wish, int | None]], mode: str) -> None:
        """Send several in one call; some of them may have been sent before."""
        many: list[tuple[Body, str]] = []
        for wish, again in items:
            new = again is None or not self.pair.sent
            many.append((body_of(wish, self.model), self.pair.new_id()) if new else self._lately(again or 0))
        self.pair.send_batch(many, mode)
        self.pair.sent += [item for item in many if item not in self.pair.sent]

    # Accounts, definitions, time

    @rule(
        group=st.sampled_from((*GROUPS, "nowhere")),
        login=st.none() | st.integers(1001, 1009),
        again=st.booleans(),
    )
    def open_account(self, group: str, login: int | None, again: bool) -> None:
        """Open an account, and perhaps once more under the same request id."""
        if len(self.model.accounts) < 6:
            asked, request_id = {"group": group} | ({"login": login} if login else {}), self.pair.new_id()
            for _ in range(1 + again):
                self.pair.open_account(asked, request_id)

    @rule(
        index=INDEX,
        field=st.sampled_from(("group", "group", "leverage", "name", "enable")),
        value=INDEX,
        again=st.sampled_from(("", "", "same", "other")),
    )
    def change_account(self, index: int, field: str, value: int, again: str) -> None:
        """Change an account, into another group above all."""
        groups = (*GROUPS, "nowhere")
        values: Body = {"leverage": 1 + value, "name": f"Ann {value % 3}", "enable": value % 2}
        values["group"] = groups[value % len(groups)]
        login, asked, request_id = self._login(index), {field: values[field]}, self.pair.new_id()
        self.pair.change_account(login, asked, request_id)
        if again:
            other = {"comment": "other"} if again == "other" else {}
            self.pair.change_account(login, asked | other, request_id)

    @rule(index=INDEX, on=st.booleans())
    def switch_account(self, index: int, on: bool) -> None:
        """Disable an account, or enable it."""
        self.pair.switch(self._login(index), on=on)

    @rule(
        group=st.sampled_from(tuple(GROUPS)),
        definition=st.sampled_from((*DEFINITIONS, None)),
        clock=st.sampled_from(CLOCKS),
        book_currency=st.sampled_from(("USD", "EUR", "JPY")),
    )
    def define(self, group: str, definition: Body | None, clock: ServerClock, book_currency: str) -> None:
        """Give a group other limits and policies, or the server another clock."""
        if definition is None:
            self.pair.set_clock(clock, book_currency)
        else:
            self.pair.define_group(group, {"currency": GROUPS[group]["currency"]} | definition)

    @rule(by=st.sampled_from(SPANS))
    def wait(self, by: timedelta) -> None:
        """Put the clock on."""
        self.pair.go_to(self.model.now + by)

    @rule(before=st.booleans(), wishes=a_few(*COMMON))
    def wait_for_the_close(self, before: bool, wishes: list[Wish]) -> None:
        """Book something as a day ends, or just before."""
        self._go_to(close_after, before=before)
        self._send(wishes, How())

    @rule(before=st.booleans(), wishes=a_few(*COMMON))
    def wait_for_the_end_of_the_month(self, before: bool, wishes: list[Wish]) -> None:
        """Book something as a month ends, or just before."""
        self._go_to(month_end_after, before=before)
        self._send(wishes, How())

    @rule(before=st.booleans(), wishes=a_few(*COMMON))
    def wait_for_clocks_to_turn(self, before: bool, wishes: list[Wish]) -> None:
        """Book something as a day of 23 or 25 hours ends, or just before."""
        self._go_to(odd_day_after, before=before)
        self._send(wishes, How())

    # The trading server

    @rule(
        index=INDEX,
        figures=st.tuples(*[st.integers(-9_999, 9_999)] * 3, st.integers(0, 30_000)),
        closes=st.sampled_from((False, False, True)),
    )
    def tell_position(self, index: int, figures: tuple[int, ...], closes: bool) -> None:
        """Tell of an open position, or that it is closed."""
        login = self._login(index)
        digits = self.model.group_of(login)["digits"]
        worth: Body = {name: Decimal(f).scaleb(-digits) for name, f in zip(FLOATING, figures, strict=True)}
        self.pair.tell_position(login * 10 + index % 2, None if closes else worth | {"login": login})

    @rule(
        index=INDEX,
        profit=st.integers(-20_000, 20_000),
        number=st.integers(1, 5),
        part=st.sampled_from(DEAL),
    )
    def close_deal(self, index: int, profit: int, number: int, part: str) -> None:
        """Tell of a closed deal, perhaps once more or otherwise."""
        login = self._login(index)
        amount = Decimal(profit).scaleb(-self.model.group_of(login)["digits"])
        self.pair.close_deal({"dealId": f"d{number}", "login": login, "profit": Decimal(1)} | {part: amount})

    # Questions

    @invariant()
    def every_account_agrees(self) -> None:
        """Ask for all accounts and their sums."""
        if hasattr(self, "pair"):
            self.counted.steps += 1
            self.pair.ask_accounts({"groupFilter": "*", "limit": 100, "offset": 0})

    @rule(data=st.data())
    def ask_accounts(self, data: st.DataObject) -> None:
        """Ask for some accounts by random rules."""
        self.pair.ask_accounts(data.draw(questions_about(self.model)))

    @rule(data=st.data())
    def ask_history(self, data: st.DataObject) -> None:
        """Ask for some rows of history."""
        self.pair.ask_history(data.draw(queries_about(self.model)))

    @rule(
        index=INDEX,
        at=INDEX,
        by=st.sampled_from((-TICK, 0 * TICK, TICK)),
        basis=st.sampled_from(("recorded", "effective")),
    )
    def ask_the_past(self, index: int, at: int, by: timedelta, basis: str) -> None:
        """Ask what an account held at an instant at which something happened, or beside it."""
        known = instants(self.model)
        self.pair.ask_the_past(self._login(index), min(known[at % len(known)] + by, self.model.now), basis)

    @rule(back=st.integers(0, 20), earlier=st.booleans(), mask=st.sampled_from(MASKS))
    def ask_for_a_day(self, back: int, earlier: bool, mask: str) -> None:
        """Ask for the report of a server day on which something was booked, or of the day before it."""
        days = sorted({leg["serverDay"] for leg in self.model.legs} | {self.model.today()[0]})
        self.pair.ask_for_a_day(days[-1 - back % len(days)] - earlier * DAY, mask)

    @rule(index=INDEX)
    def ask_for_a_request(self, index: int) -> None:
        """Ask what became of a request."""
        if self.pair.sent:
            self.pair.ask_for_a_request(self._lately(index)[1])

    def _send(self, wishes: list[Wish], how: How) -> None:
        for wish in wishes:
            self._send_new(body_of(wish, self.model), how)

    def _send_new(self, body: Body, how: How) -> None:
        request_id = self.pair.new_id()
        self.pair.sent.append((body, request_id))
        self.pair.send(body, request_id, habit=how.habit, dry=how.dry)

    def _go_to(self, edge: Callable[[datetime, ServerClock], datetime], *, before: bool) -> None:
        at = edge(self.model.now, self.model.clock)
        self.pair.go_to(max(self.model.now, at - TICK) if before else at)

    def _lately(self, index: int) -> tuple[Body, str]:
        return self.pair.sent[-1 - index % min(len(self.pair.sent), LATELY)]

    def _login(self, index: int) -> int:
        logins = sorted(self.model.accounts)
        return logins[index % len(logins)]


def _changed(body: Body, change: str, model: Model) -> Body:
    """Give another body for the same request id, where the change fits; or the same, written otherwise."""
    amount: Any = body.get("amount", "")
    match change:
        case "amount" if amount:
            return body | {"amount": f"{Decimal(amount) + 1:f}"}
        case "comment" if body["op"] not in {"reverse", "correction"}:
            return body | {"comment": "changed"}
        case "login" if "login" in body:
            logins = sorted(model.accounts)
            return body | {"login": logins[-1] if body["login"] == logins[0] else logins[0]}
        case "op" if body["op"] in {"deposit", "withdraw"}:
            return body | {"op": "withdraw" if body["op"] == "deposit" else "deposit"}
        case "written otherwise" if "." in amount:
            return body | {"amount": amount.rstrip("0").rstrip(".")}
        case _:
            return body
