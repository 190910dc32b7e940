"""The accounts list says what a naive reading of the rules says: rows, count and totals, for any filter."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from api.accounts import cells
from api.accounts_query import decode
from api.scopes import SCOPES
from ledger.commands import EVERYTHING, Access, DisableAccount, UpdateAccount
from ledger.events import to_json
from ledger.masks import parse_mask
from ledger.refusals import Refusal
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_list import AccountsPage, Question, read_accounts
from projections.batch import BatchViews
from projections.history import snapshot
from projections.totals import Moment
from tests import accounts_model as model
from tests.drive import Clock, LedgerUnderTest
from tests.make import adjust, credit, define_group, define_server, deposit, open_account

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.accounts_model import Asked, Row
    from tests.drive import Desk

GROUPS = {
    "STD-USD": ("USD", 2, "gross"),
    "STD-USD-net": ("USD", 2, "net"),
    "VIP_EUR": ("EUR", 2, "gross"),
    "demoJPY": ("JPY", 0, "net"),
    "STD-KWD": ("KWD", 3, "gross"),
    "empty": ("USD", 2, "gross"),
}
LOGINS = range(1001, 1061)
TEXTS = ("", "Ann", "ann", "An%", "A_n", "A\\n", "Ann O'Neil", 'x"y', "Zoë", "中文", "😀", "%", "_", "a\nb")
START = datetime(2026, 10, 28, 9, tzinfo=UTC)
TODAY = datetime(2026, 11, 14, 12, tzinfo=UTC)  # a Saturday, whose trading day is the Monday after it
MOMENT = Moment(now=TODAY, server_day=date(2026, 11, 14), trading_day=date(2026, 11, 16))
QUOTES = {("EUR", "USD"): ("1.08330", "1.08342"), ("USD", "JPY"): ("151.201", "151.214")}
FLAGS = ("enable", "enable_read_only", "enable_change_password", "online")


class Broker:
    """A ledger with some weeks behind it, open positions, and a naive reading of both."""

    def __init__(self, ledger: LedgerUnderTest, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.moment = MOMENT
        self.rows = model.all_rows(
            ledger, GROUPS, trading_day=MOMENT.trading_day, month=MOMENT.server_day.replace(day=1)
        )
        self.connection = runner.run(AsyncConnection.connect(ledger.service, autocommit=True))

    def ask(
        self, asked: Asked, *, access: Access = EVERYTHING, scopes: Sequence[str] = SCOPES
    ) -> AccountsPage:
        """Ask as a caller would, with a JSON body."""
        question = decode(msgspec.json.encode(asked)).question(access=access, scopes=frozenset(scopes))
        return self._runner.run(self._read(question))

    async def _read(self, question: Question) -> AccountsPage:
        async with snapshot(self.connection):
            definitions = await BatchViews().load_definitions(self.connection)
            return await read_accounts(self.connection, question, definitions, self.moment)

    def logins(self, **asked: Any) -> list[int]:
        """Say which accounts match, in their order."""
        return [row[0] for row in self.ask({"groupFilter": "*", "limit": 10_000, "offset": 0} | asked).rows]

    def stale(self, mask: str = "*", **asked: Any) -> list[str]:
        """Say why the totals of these accounts are stale."""
        totals = self.ask({"groupFilter": mask, "limit": 0, "offset": 0} | asked).totals
        reasons = [warning for warning in totals.warnings if warning.startswith("figures_stale")]
        assert totals.stale == bool(reasons)
        return reasons

    def refusal(self, *, scopes: Sequence[str] = SCOPES, **asked: Any) -> tuple[str, str | None]:
        """Ask what is refused; give the code and the field."""
        with pytest.raises(Refusal) as refused:
            self.ask({"groupFilter": "*", "limit": 10, "offset": 0} | asked, scopes=scopes)
        return refused.value.code, refused.value.field


@pytest.fixture(scope="module")
def broker(database_url: str) -> Iterator[Broker]:
    ledger = LedgerUnderTest(database_url, "main")
    with asyncio.Runner() as runner:
        runner.run(_live(ledger, Random(23)))
        broker = Broker(ledger, runner)
        yield broker
        runner.run(broker.connection.close())


async def _live(ledger: LedgerUnderTest, chance: Random) -> None:
    clock = Clock(START)
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_server("UTC", "00:00", "mon-fri", "USD"))
        for group, (currency, digits, mode) in GROUPS.items():
            await desk.book(define_group(group, currency, digits=digits, equity_mode=mode))
        for login in LOGINS:
            await desk.book(open_account(login, group=chance.choice(list(GROUPS)[:-1]), **_profile(chance)))
        await _trade(desk, clock, chance, until=TODAY - timedelta(days=1))
        _observe(ledger, chance)
        await _regroup(desk, chance)
        await _trade(desk, clock, chance, until=TODAY)


def _profile(chance: Random) -> dict[str, Any]:
    return {
        **{name: chance.choice(TEXTS) for name in model.TEXTS},
        **{name: chance.random() < 0.7 for name in FLAGS[:3]},
        "leverage": chance.choice([1, 50, 100]),
        "regdate": chance.choice([0, 1_700_000_000, 2**53 - 1]),
        "magic": chance.randrange(3),
        "customer_id": chance.randrange(3),
    }


async def _trade(desk: Desk, clock: Clock, chance: Random, *, until: datetime) -> None:
    while clock.now < until:
        login, amount = chance.choice(LOGINS), chance.choice(["1", "10", "100", "500"])
        moves = (deposit(amount, login=login), adjust("charge", f"-{amount}", login=login))
        others = (credit(amount, login=login), adjust("rebate", "0.01", login=login))
        await desk.outcome(chance.choice([*moves, *others]))
        clock.now = min(until, clock.now + timedelta(hours=chance.randrange(1, 5)))
    await desk.book(deposit(5, login=chance.choice(LOGINS)))


def _observe(ledger: LedgerUnderTest, chance: Random) -> None:
    """Put down what the trading server tells: positions of most accounts, who is online, quotes."""
    for login in chance.sample(LOGINS, 45):
        ledger.rows(
            "INSERT INTO figures SELECT login, group_name, enable, %s, %s, %s, %s, %s, %s, %s FROM accounts"
            " WHERE login = %s",
            *_figures(chance),
            TODAY,
            login,
        )
    ledger.rows("INSERT INTO online SELECT login FROM accounts WHERE mod(login, 3) = 0")
    _sum_up(ledger)


def _sum_up(ledger: LedgerUnderTest) -> None:
    """Put down the sums of figures, and that the feed has just been heard of."""
    ledger.rows(
        "INSERT INTO figure_totals SELECT group_name, enable, sum(orders), sum(unvalued), sum(profit),"
        " sum(storage), sum(commission), sum(margin) FROM figures GROUP BY 1, 2"
    )
    ledger.rows(
        "INSERT INTO feed_streams (stream, epoch, seq, gaps, as_of) VALUES ('positions', 1, 1, 0, %s)"
        " ON CONFLICT (stream) DO UPDATE SET as_of = excluded.as_of",
        TODAY,
    )
    ledger.rows("UPDATE valuation SET defined = 1")
    for (base, profit), (bid, ask) in QUOTES.items():
        _quote(ledger, base + profit, bid, ask, base=base, profit=profit)
    _quote(ledger, "GOLD", "2000.1", "2000.2", base="USD", profit="USD")


def _quote(ledger: LedgerUnderTest, symbol: str, bid: str, ask: str, *, base: str, profit: str) -> None:
    define = "INSERT INTO symbols VALUES (%s, 1, 1, 5, 100000, %s, %s, 1, 0, 0, 0, 'full', '')"
    ledger.rows(define, symbol, base, profit)
    columns = "symbol, bid, ask, quoted_at, received_at"
    ledger.rows(f"INSERT INTO quotes ({columns}) VALUES (%s, %s, %s, %s, %s)", symbol, bid, ask, TODAY, TODAY)


def _figures(chance: Random) -> list[int]:
    orders, unvalued = chance.choice([(0, 0), (1, 0), (2, 0), (3, 1)])
    if not orders:
        return [0] * 6
    margin = chance.choice([0, 1, 3, 64, 64, 64, 800, 12_345])  # of 64 a level can lie midway
    return [
        *(orders, unvalued, chance.randrange(-20_000, 20_000)),
        *(-chance.randrange(50), -chance.randrange(50), margin),
    ]


async def _regroup(desk: Desk, chance: Random) -> None:
    """Suspend and move accounts after their figures were summed up."""
    for login in chance.sample(LOGINS, 12):
        await desk.outcome(DisableAccount(login=login))
    for login in chance.sample(LOGINS, 12):
        await desk.outcome(UpdateAccount(login=login, group=chance.choice(["STD-USD", "STD-USD-net"])))


# Questions, from what is there and what is not.

MASKS = ("*", "*", "STD-*", "*,!STD-USD*", "VIP_EUR, demoJPY", "!x", "empty")
RULES = ("where", "whereNot", "whereIn", "whereNotIn", "whereBetween", "whereNotBetween")
ACCESS = st.builds(
    Access,
    mask=st.sampled_from(["*", "STD-*", "!x", "*,!demo*"]).map(parse_mask),
    logins=st.none() | st.frozensets(st.sampled_from([*LOGINS, 9]), max_size=30),
)


@st.composite
def questions(draw: st.DrawFn, rows: list[Row], *, rules: int) -> Asked:
    """Draw a question of some rules on any fields."""
    asked: Asked = {
        "groupFilter": draw(st.sampled_from(MASKS)),
        "limit": draw(st.sampled_from([0, 1, 7, 100])),
        "offset": draw(st.sampled_from([0, 0, 1, 5, 30, 1_000])),
    }
    for _ in range(rules):
        name, rule = draw(a_rule(rows))
        asked.setdefault(name, []).append(rule)
    if draw(st.booleans()):
        asked["orderBy"] = [draw(st.sampled_from(STRUCTURE)), draw(st.sampled_from(["ASC", "DESC"]))]
    return asked


@st.composite
def a_rule(draw: st.DrawFn, rows: list[Row]) -> tuple[str, Any]:
    field = draw(st.sampled_from(STRUCTURE))
    of_text = isinstance(rows[0][field], str)
    values = _texts(field) if of_text else _flags() if field in FLAGS else _numbers(rows, field)
    name = draw(st.sampled_from(RULES[:4] if of_text else RULES))
    match name:
        case "where":
            operators = [
                op for op in model.COMPARISONS if op in ("=", "==", "!=") or (op == "like") == of_text
            ]
            operator = draw(st.sampled_from(operators))
            return name, [field, operator, draw(_patterns(field) if operator == "like" else values)]
        case "whereNot":
            return name, [field, draw(values)]
        case "whereIn" | "whereNotIn":
            return name, [field, draw(st.lists(values, min_size=1, max_size=5))]
        case _:
            return name, [field, sorted(draw(st.lists(values, min_size=2, max_size=2)), key=model.exact)]


def _texts(field: str) -> st.SearchStrategy[Any]:
    known = {"group": [*GROUPS, "std-usd"], "currency": ["USD", "EUR", "JPY", "KWD", "GBP", ""]}
    return st.sampled_from(known.get(field, TEXTS))


def _patterns(field: str) -> st.SearchStrategy[str]:
    places = st.tuples(st.integers(0, 9), st.integers(0, 9))
    pieces = st.builds(lambda text, place: text[min(place) : max(place)], _texts(field), places)
    return st.builds("%".join, st.lists(pieces, min_size=1, max_size=3))


def _flags() -> st.SearchStrategy[Any]:
    return st.sampled_from(["0", "1"]).map(_raw)


def _numbers(rows: list[Row], field: str) -> st.SearchStrategy[Any]:
    """Give numbers that accounts have, or by a hair do not have."""
    values = st.sampled_from(sorted({row[field] for row in rows}))
    hairs = st.sampled_from(list(map(Fraction, ("0", "0.001", "-0.005", "0.000000000001", "1"))))
    others = st.sampled_from(["0", "-0", "0.00", "100.005", "-1", "99999999999999999999999"]).map(_raw)
    return st.builds(lambda value, hair: _raw(value + hair), values, hairs) | others


def _raw(number: Fraction | str) -> msgspec.Raw:
    if isinstance(number, Fraction):
        number = f"{Decimal(number.numerator) / Decimal(number.denominator):f}"
    return msgspec.Raw(number.encode())


# Properties.

examples = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@examples
@given(st.data(), st.just(EVERYTHING) | ACCESS)
def test_rows_count_and_totals_are_those_of_a_naive_reading_whoever_asks(
    broker: Broker, data: st.DataObject, access: Access
) -> None:
    agrees(broker, data.draw(questions(broker.rows, rules=data.draw(st.integers(0, 1)))), access)


@examples
@given(st.data())
def test_pairs_of_rules_agree_with_a_naive_reading(broker: Broker, data: st.DataObject) -> None:
    agrees(broker, data.draw(questions(broker.rows, rules=2)), EVERYTHING)


@examples
@given(st.data())
def test_triples_of_rules_agree_with_a_naive_reading(broker: Broker, data: st.DataObject) -> None:
    agrees(broker, data.draw(questions(broker.rows, rules=3)), EVERYTHING)


def agrees(broker: Broker, asked: Asked, access: Access) -> None:
    page = broker.ask(asked, access=access)
    rows, matched = model.answer(broker.rows, asked, access)
    assert read_back(page) == rows
    assert page.totals.count == len(matched)
    assert page.totals.stale == any(row["stale"] for row in matched)
    sums = model.sums(matched)
    assert {
        currency: {name: Fraction(total, 10**part.digits) for name, total in part.totals.items()}
        for currency, part in page.totals.by_currency.items()
    } == sums
    assert converted(page) == naive_conversion(sums)


def read_back(page: AccountsPage) -> list[list[Any]]:
    """Give rows as a caller reads them, numbers exact."""
    written = to_json([cells(row) for row in page.rows])
    return [
        [_cell(cell) for cell in row] for row in msgspec.json.decode(written, type=list[list[msgspec.Raw]])
    ]


def _cell(cell: msgspec.Raw) -> Any:
    text = bytes(cell)
    return msgspec.json.decode(text) if text.startswith(b'"') else Fraction(text.decode())


def converted(page: AccountsPage) -> tuple[str, dict[str, Fraction] | None]:
    totals = page.totals
    if totals.totals is None:
        return totals.currency, None
    return totals.currency, {n: Fraction(total, 10**totals.digits) for n, total in totals.totals.items()}


def naive_conversion(sums: dict[str, dict[str, Fraction]]) -> tuple[str, dict[str, Fraction] | None]:
    """Give the totals in the one currency, or in dollars; there is no rate for dinars."""
    if len(sums) == 1:
        [(currency, totals)] = sums.items()
        return currency, totals
    if "KWD" in sums:
        return "USD", None
    mids = {pair: (Fraction(bid) + Fraction(ask)) / 2 for pair, (bid, ask) in QUOTES.items()}
    rates = {"USD": Fraction(1), "EUR": mids["EUR", "USD"], "JPY": 1 / mids["USD", "JPY"]}
    totals = {
        name: sum((found[name] * rates[c] for c, found in sums.items()), Fraction(0)) for name in model.MONEY
    }
    return "USD", {name: Fraction(round(total * 100), 100) for name, total in totals.items()}


# The broker, and what is easily got wrong.


def test_the_broker_has_every_kind_of_account(broker: Broker) -> None:
    def some(matches: Any) -> bool:
        return any(map(matches, broker.rows)) and not all(map(matches, broker.rows))

    assert {row["currency"] for row in broker.rows} == {"USD", "EUR", "JPY", "KWD"}
    assert {row["group"] for row in broker.rows} == {*GROUPS} - {"empty"}
    assert some(lambda row: row["prevbalance"] != row["balance"])
    assert some(lambda row: row["prevmonthbalance"] not in (0, row["prevbalance"]))
    assert some(lambda row: row["margin_level"] % 1)
    assert some(lambda row: row["equity"] < 0)
    assert all(some(lambda row, flag=flag: row[flag]) for flag in FLAGS)


def test_not_between_is_the_exact_complement_of_between(broker: Broker) -> None:
    for field in ("balance", "margin_level", "login", "profit"):
        values = sorted(row[field] for row in broker.rows)
        ends = [_raw(values[10]), _raw(values[40])]
        inside, outside = (
            broker.logins(whereBetween=[[field, ends]]),
            broker.logins(whereNotBetween=[[field, ends]]),
        )
        assert sorted([*inside, *outside]) == list(LOGINS)
        assert len(inside) >= 31  # both ends are in


def test_a_value_that_stands_in_a_list_twice_finds_its_accounts_once(broker: Broker) -> None:
    assert broker.logins(whereIn=[["login", [1001, 1001, 1002]]]) == [1001, 1002]
    assert broker.logins(whereIn=[["name", ["Ann", "Ann"]]]) == broker.logins(where=[["name", "=", "Ann"]])


def test_money_compares_by_what_is_written_in_the_accounts_own_currency(broker: Broker) -> None:
    for number in ("0.005", "0.01", "0.010", "99.999", "100", "100.0000000001"):
        expected = [int(row["login"]) for row in broker.rows if row["balance"] > Fraction(number)]
        assert broker.logins(where=[["balance", ">", _raw(number)]]) == expected
        assert broker.logins(where=[["balance", ">", number]]) == expected


def test_only_the_percent_sign_is_special_in_like_and_case_counts(broker: Broker) -> None:
    def names(pattern: str) -> set[str]:
        page = broker.ask(
            {"groupFilter": "*", "limit": 100, "offset": 0, "where": [["name", "like", pattern]]}
        )
        return {row[STRUCTURE.index("name")] for row in page.rows}

    present = {row["name"] for row in broker.rows}
    assert names("A_n") == {"A_n"} & present
    assert names("A\\n") == {"A\\n"} & present
    assert names("ann") == {"ann"} & present
    assert names("%") == present
    assert names("A%n") == {text for text in present if text[:1] == "A" and text[-1:] == "n"}


def test_a_mask_that_only_excludes_selects_nothing(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "!x", "limit": 100, "offset": 0})
    assert (page.rows, page.totals.count, page.totals.currency) == ([], 0, "USD")
    assert set((page.totals.totals or {}).values()) == {0}


def test_nothing_matched_adds_up_to_zero_in_the_currency_that_was_asked_for(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "empty", "limit": 9, "offset": 0, "totalsCurrency": "JPY"})
    assert (page.totals.currency, page.totals.digits, page.totals.by_currency) == ("JPY", 0, {})
    assert set((page.totals.totals or {}).values()) == {0}


def test_a_limit_of_zero_gives_the_totals_alone(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "*", "limit": 0, "offset": 0})
    assert (page.rows, page.totals.count) == ([], len(LOGINS))


def test_an_offset_beyond_the_end_gives_the_totals_and_no_rows(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "*", "limit": 9, "offset": 2**53 - 1, "where": [["login", ">", 1050]]})
    assert (page.rows, page.totals.count) == ([], 10)


def test_pages_join_to_the_whole_list_in_any_order(broker: Broker) -> None:
    for order in ({}, {"orderBy": ["equity", "DESC"]}, {"orderBy": ["login", "DESC"]}):
        whole = broker.logins(**order)
        pages = [broker.logins(limit=7, offset=start, **order) for start in range(0, 63, 7)]
        assert [login for page in pages for login in page] == whole


def test_a_missing_rate_is_named_and_no_wrong_total_is_given(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "STD-KWD, STD-USD", "limit": 0, "offset": 0})
    assert page.totals.totals is None
    assert page.totals.currency == "USD"
    assert any("KWD" in warning and "USD" in warning for warning in page.totals.warnings)
    assert set(page.totals.by_currency) == {"KWD", "USD"}


def test_totals_are_converted_with_the_rates_that_are_listed(broker: Broker) -> None:
    page = broker.ask({"groupFilter": "VIP_EUR, demoJPY", "limit": 0, "offset": 0, "totalsCurrency": "USD"})
    assert [(rate.source, rate.target, rate.symbols) for rate in page.totals.rates] == [
        ("EUR", "USD", ("EURUSD",)),
        ("JPY", "USD", ("USDJPY",)),
    ]


def test_a_group_that_counts_net_and_one_that_counts_gross_are_added_each_by_its_own_rule(
    broker: Broker,
) -> None:
    page = broker.ask({"groupFilter": "STD-USD*", "limit": 0, "offset": 0})
    rows = [row for row in broker.rows if row["group"].startswith("STD-USD")]
    assert page.totals.totals is not None
    assert page.totals.totals["equity"] == 100 * sum(row["equity"] for row in rows)


SCANNED: Asked = {"where": [["login", ">", 0]]}
"""A rule that all accounts pass, and for which they have to be looked at."""


def test_figures_are_stale_as_soon_as_the_feed_was_silent_for_more_than_a_minute(quiet: Broker) -> None:
    quiet.moment = msgspec.structs.replace(MOMENT, now=TODAY + timedelta(seconds=60))
    assert quiet.stale() == quiet.stale(**SCANNED) == []
    quiet.moment = msgspec.structs.replace(MOMENT, now=TODAY + timedelta(seconds=60, microseconds=1))
    for reasons in (quiet.stale(), quiet.stale(**SCANNED)):
        assert any("no word of the open positions" in reason for reason in reasons)
    assert quiet.stale("VIP_EUR") == quiet.stale("VIP_EUR", **SCANNED) == []  # nothing is open there


@pytest.mark.parametrize("symbol", ["USDJPY", "GOLD"])
def test_an_old_quote_makes_those_accounts_stale_that_are_valued_by_it(
    ledger: LedgerUnderTest, quiet: Broker, symbol: str
) -> None:
    before = TODAY - timedelta(seconds=60, microseconds=1)
    ledger.rows(
        "INSERT INTO positions (ticket, login, symbol, buy, lots, open_price, storage, commission)"
        " VALUES (1, 1002, 'GOLD', true, 1, 2000, 0, 0)"
    )
    ledger.rows("UPDATE quotes SET quoted_at = %s WHERE symbol = %s", before, symbol)
    ledger.rows("UPDATE figures SET quoted_at = %s WHERE login = 1002", before)
    for asked in ({}, SCANNED):
        assert quiet.stale("STD-USD", **asked) == []
        [reason] = quiet.stale("demoJPY", **asked)
        assert "a quote" in reason


def test_a_position_that_has_no_quote_makes_its_account_stale(ledger: LedgerUnderTest, quiet: Broker) -> None:
    ledger.rows("UPDATE figures SET unvalued = 1 WHERE login = 1002")
    ledger.rows("UPDATE figure_totals SET unvalued = 1 WHERE group_name = 'demoJPY'")
    for asked in ({}, SCANNED):
        assert quiet.stale("STD-USD", **asked) == []
        assert quiet.stale("demoJPY", **asked) == ["figures_stale: 1 open positions lack a quote or a rate"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"groupFilter": "VIP*,STD-USD*"},
        {"where": [["enable", "=", 1]]},
        {"whereNotIn": [["enable", [0]]], "where": [["group", "like", "%USD"], ["currency", "!=", "JPY"]]},
    ],
)
def test_what_is_asked_of_groups_and_flags_alone_comes_from_the_sums_that_are_kept(
    ledger: LedgerUnderTest, quiet: Broker, asked: Asked
) -> None:
    def balance(**more: Any) -> int:
        question = {"groupFilter": "*", "limit": 0, "offset": 0, **asked, **more}
        return quiet.ask(question).totals.by_currency["USD"].totals["balance"]

    assert balance() == 0
    ledger.rows("UPDATE totals_added SET balance = 7 WHERE group_name = 'STD-USD'")  # no account has it
    assert balance() == 7
    assert balance(whereNot=[["magic", 1]]) == 0


@pytest.fixture
def quiet(ledger: LedgerUnderTest) -> Iterator[Broker]:
    """Yield a broker of three accounts, of which two have an open position."""
    with asyncio.Runner() as runner:
        runner.run(_open(ledger, {1001: "STD-USD", 1002: "demoJPY", 1003: "VIP_EUR"}))
        for login in (1001, 1002):
            ledger.rows(
                "INSERT INTO figures SELECT login, group_name, enable, 1, 0, 5, 0, 0, 1, %s FROM accounts"
                " WHERE login = %s",
                TODAY,
                login,
            )
        _sum_up(ledger)
        broker = Broker(ledger, runner)
        yield broker
        runner.run(broker.connection.close())


async def _open(ledger: LedgerUnderTest, logins: dict[int, str]) -> None:
    async with ledger.desk(clock=Clock(START)) as desk:
        for group, (currency, digits, mode) in GROUPS.items():
            await desk.book(define_group(group, currency, digits=digits, equity_mode=mode))
        for login, group in logins.items():
            await desk.book(open_account(login, group=group))


def test_without_the_scope_nobody_filters_or_sorts_by_what_is_hidden(broker: Broker) -> None:
    scopes = [scope for scope in SCOPES if scope != "users:pii"]
    for field in PERSONAL:
        assert broker.refusal(scopes=scopes, where=[[field, "=", "x"]]) == ("scope_missing", field)
        assert broker.refusal(scopes=scopes, whereNotIn=[[field, ["x"]]]) == ("scope_missing", field)
        assert broker.refusal(scopes=scopes, orderBy=[field, "ASC"]) == ("scope_missing", field)


REFUSED: list[tuple[str, Any, str, str]] = [
    # The array, what it holds, and the refusal with the field that it names.
    ("where", [["balanse", "=", 1]], "unknown_field", "balanse"),
    ("whereIn", [["balanse", [1]]], "unknown_field", "balanse"),
    ("orderBy", ["balanse", "ASC"], "unknown_field", "balanse"),
    ("where", [["balanse", "=", None]], "unknown_field", "balanse"),
    ("whereIn", [["balanse", 1]], "unknown_field", "balanse"),
    ("where", [["stale", "=", 1]], "unknown_field", "stale"),
    ("where", [["x" * 500, "=", 1]], "unknown_field", "x" * 64),
    ("where", [["balance", "<>", 1]], "bad_operator", "balance"),
    ("where", [["balance", "in", 1]], "bad_operator", "balance"),
    ("where", [["balance", "like", "1%"]], "bad_operator", "balance"),
    ("where", [["name", ">", "A"]], "bad_operator", "name"),
    ("where", [["group", "<=", "A"]], "bad_operator", "group"),
    ("whereBetween", [["name", ["A", "B"]]], "bad_operator", "name"),
    ("whereNotBetween", [["currency", ["A", "B"]]], "bad_operator", "currency"),
    ("where", [["balance", "=", "much"]], "wrong_type", "balance"),
    ("where", [["balance", "=", msgspec.Raw(b"1e3")]], "wrong_type", "balance"),
    ("where", [["balance", "=", None]], "wrong_type", "balance"),
    ("where", [["balance", "=", True]], "wrong_type", "balance"),
    ("where", [["balance", "=", [1]]], "wrong_type", "balance"),
    ("where", [["login", "=", "1001"]], "wrong_type", "login"),
    ("where", [["name", "=", 5]], "wrong_type", "name"),
    ("where", [["currency", "=", 5]], "wrong_type", "currency"),
    ("where", [["enable", "=", 2]], "wrong_type", "enable"),
    ("where", [["online", "=", "1"]], "wrong_type", "online"),
    ("where", [["balance", "=", msgspec.Raw(b"1" * 500)]], "wrong_type", "balance"),
    ("where", [["name", "like", "%a" * 600]], "wrong_type", "name"),
    ("where", [["name", "=", "a\0"]], "bad_text", "name"),
    ("whereNot", [["name", 5]], "wrong_type", "name"),
    ("whereIn", [["name", "Ann"]], "wrong_type", "name"),
    ("whereIn", [["balance", [1, "x"]]], "wrong_type", "balance"),
    ("whereIn", [["balance", []]], "empty_list", "balance"),
    ("whereNotIn", [["name", []]], "empty_list", "name"),
    ("whereBetween", [["balance", [2, 1]]], "bad_range", "balance"),
    ("whereNotBetween", [["margin_level", [0.02, 0.01]]], "bad_range", "margin_level"),
    ("whereBetween", [["balance", [1]]], "wrong_type", "balance"),
    ("whereBetween", [["balance", [1, 2, 3]]], "wrong_type", "balance"),
    ("where", [["balance", "="]], "wrong_type", "where[0]"),
    ("where", [["balance", "=", 1], ["balance", "=", 1, 2]], "wrong_type", "where[1]"),
    ("where", ["balance", "=", 1], "wrong_type", "where[0]"),
    ("where", {"balance": 1}, "wrong_type", "where"),
    ("orderBy", ["balance", "UP"], "wrong_type", "orderBy[1]"),
    ("orderBy", ["balance"], "wrong_type", "orderBy"),
    ("where", [["balance", ">", 1]] * 101, "too_many_rules", "where"),
    ("limit", 10_001, "wrong_type", "limit"),
    ("limit", -1, "wrong_type", "limit"),
    ("offset", -1, "wrong_type", "offset"),
    ("totalsCurrency", "dollars", "bad_currency", "totalsCurrency"),
    ("groupFilter", "x" * 5000, "bad_mask", "groupFilter"),
    ("having", [], "unknown_field", "having"),
]


@pytest.mark.parametrize(("name", "value", "code", "field"), REFUSED)
def test_what_cannot_be_answered_exactly_is_refused_by_the_name_of_its_field(
    broker: Broker, name: str, value: Any, code: str, field: str
) -> None:
    assert broker.refusal(**{name: value}) == (code, field)
