"""Reports over HTTP: exposure, the users export in its three formats, the daily report."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator
from fractions import Fraction
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from psycopg_pool import PoolTimeout

from api.exports import Relay, export
from api.reports import decimal
from ledger.refusals import ManagerOffline
from projections.accounts import PERSONAL, STRUCTURE
from tests.api.served import BOUND_S, Caller, Exact, Served, number
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Iterator


CROWD = 60_000
PAIR = {"digits": 5, "contractSize": 100000, "baseCurrency": "EUR", "profitCurrency": "USD"}


@pytest.fixture(scope="module")
def broker(admin: Caller) -> Caller:
    """Give the admin of a ledger with open positions, and a group for coverage."""
    assert admin.put("/groups/cover", {"currency": "USD", "coverage": True}).status == 200
    assert admin.put("/symbols/EURUSD", PAIR).status == 200
    assert admin.put("/symbols/XAUUSD", PAIR | {"digits": 2, "contractSize": 100}).status == 200
    client, euro, cover = (admin.open(group, balance="1000") for group in ("standard", "euro", "cover"))
    admin.open("yen", balance="5000", credit="70")
    admin.send("PATCH", f"/users/{client}", {"name": "=cmd()", "email": 'a "b", c', "phone": "+30 69"})
    assert admin.post("/feed/quotes", {"quotes": [["EURUSD", 1.10000, 1.10020]]}).status == 200
    positions = [
        {"ticket": 1, "login": client, "symbol": "EURUSD", "side": "buy", "lots": 1, "openPrice": 1.09},
        {"ticket": 2, "login": euro, "symbol": "EURUSD", "side": "sell", "lots": 0.3, "openPrice": 1.08},
        {"ticket": 3, "login": euro, "symbol": "EURUSD", "side": "sell", "lots": 0.6, "openPrice": 1.07},
        {"ticket": 4, "login": cover, "symbol": "EURUSD", "side": "buy", "lots": 0.05, "openPrice": 1.1},
    ]
    told = admin.post("/feed/positions", {"kind": "snapshot", "positions": positions})
    assert (told.status, told["accepted"]) == (200, 4)
    return admin


# Exposure.


def test_exposure_is_by_symbol_unless_asked_otherwise(broker: Caller) -> None:
    answer = broker.get("/reports/exposure")
    assert answer.status == 200
    assert (answer["by"], answer["bookCurrency"]) == ("symbol", "USD")
    [row] = answer["rows"]
    coverage = row.pop("coverage")
    assert row == {
        "symbol": "EURUSD",
        "orders": 3,
        "buyLots": number("1.00"),
        "buyPrice": number("1.09000000"),
        "sellLots": number("0.90"),
        "sellPrice": number("1.07333333"),
        "netLots": number("0.10"),
        # 1,000.00 won; (0.3 * 1.08 + 0.6 * 1.07 - 0.9 * 1.1002) * 100,000 lost.
        "profit": number("-1418.00"),
        "uncoveredLots": number("0.05"),
        "uncoveredProfit": number("-1418.00"),
    }
    assert coverage == {
        "orders": 1,
        "buyLots": number("0.05"),
        "buyPrice": number("1.10000000"),
        "sellLots": number("0.00"),
        "sellPrice": None,
        "netLots": number("0.05"),
        "profit": number("0.00"),
    }


def test_exposure_by_group_is_in_book_currency_and_in_the_groups_own(broker: Caller) -> None:
    rows = {row["group"]: row for row in broker.get("/reports/exposure", by="group")["rows"]}
    euro = rows["euro"]
    assert (euro["currency"], euro["accounts"], euro["orders"], euro["lots"]) == (
        "EUR",
        1,
        2,
        number("0.90"),
    )
    own = euro["inGroupCurrency"]
    login = next(row[0] for row in accounts(broker) if row[6] == "euro")
    profile = broker.get(f"/users/{login}")
    assert own == {name: profile[name] for name in ("profit", "margin", "equity")}
    assert isinstance(euro["equity"], Exact)
    assert rows["cover"]["coverageGroup"] is True


def test_exposure_by_currency_nets_clients_and_coverage(broker: Caller) -> None:
    rows = broker.get("/reports/exposure", by="currency")["rows"]
    assert rows == [
        {
            "currency": "EUR",
            "clients": number("10000.00"),
            "coverage": number("5000.00"),
            "net": number("5000.00"),
        },
        {
            "currency": "USD",
            # -1 * 100,000 * 1.1 + 0.9 * 100,000 * 1.1002
            "clients": number("-10982.00"),
            "coverage": number("-5500.00"),
            "net": number("-5482.00"),
        },
    ]


def test_a_figure_that_lacks_a_rate_is_null_and_the_warning_names_it(broker: Caller) -> None:
    answer = broker.get("/reports/exposure", by="group", groupFilter="yen")
    [row] = answer["rows"]
    assert row["equity"] is None
    assert row["inGroupCurrency"]["equity"] == 5070
    assert answer["warnings"] == ["rate_missing: there is no rate from JPY to USD"]
    assert answer["stale"] is False


def test_exposure_of_some_groups_only(broker: Caller, served: Served) -> None:
    [row] = broker.get("/reports/exposure", groupFilter="euro,cover")["rows"]
    assert (row["orders"], row["coverage"]["orders"]) == (2, 1)
    limited = served.caller("reporting", "--groups", "standard")
    [seen] = limited.get("/reports/exposure")["rows"]
    assert (seen["orders"], seen["coverage"]["orders"]) == (1, 0)


# The users export.


def accounts(caller: Caller) -> list[list[Any]]:
    """Give the rows of GET /accounts."""
    rows: list[list[Any]] = caller.get("/accounts", groupFilter="*", limit=10_000, offset=0)["rows"]
    return rows


def unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith(("'=", "'+")) else cell


def test_the_export_says_what_the_accounts_list_says(broker: Caller) -> None:
    listed = broker.get("/accounts", groupFilter="*", limit=10_000, offset=0)
    exported = broker.get("/reports/users")
    assert exported.headers["content-type"] == "application/json"
    for name in ("structure", "rows", "count", "position", "stale"):
        assert exported[name] == listed[name], name
    assert exported["asOf"].endswith("Z")
    assert listed["warnings"] == ["rate_missing: there is no rate from JPY to USD"]
    assert exported["warnings"] == []  # an export converts nothing


def test_a_position_without_a_quote_makes_report_and_export_stale(broker: Caller) -> None:
    login = accounts(broker)[0][0]
    gold = {"ticket": 9, "login": login, "symbol": "XAUUSD", "side": "buy", "lots": 1, "openPrice": 2000}
    broker.post("/feed/positions", {"kind": "delta", "positions": [gold]})
    exposed, exported = broker.get("/reports/exposure"), broker.get("/reports/users")
    broker.post("/feed/positions", {"kind": "delta", "positions": [], "closed": [9]})
    assert exposed["stale"] is exported["stale"] is True
    assert exposed["warnings"] == ["quote_missing: there is no quote of XAUUSD"]
    assert exported["warnings"] == ["figures_stale: 1 open positions lack a quote or a rate"]


def test_ndjson_is_one_object_a_line_with_the_published_names(broker: Caller) -> None:
    answer = broker.get("/reports/users", format="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line, parse_float=Exact) for line in answer.text.splitlines()]
    assert [list(row.values()) for row in rows] == accounts(broker)
    assert all(list(row) == list(STRUCTURE) for row in rows)


def test_csv_has_a_header_and_no_cell_that_a_spreadsheet_would_run(broker: Caller) -> None:
    answer = broker.get("/reports/users", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="users.csv"'
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == list(STRUCTURE)
    assert [[unguarded(cell) for cell in row] for row in rows] == [
        [str(cell) for cell in row] for row in accounts(broker)
    ]
    assert "'=cmd()" in {cell for row in rows for cell in row}
    assert not {cell[0] for row in rows for cell in row if cell and cell[0] in "=+@\t\r\n"}


def test_personal_columns_are_blank_without_the_scope_for_them(broker: Caller, served: Served) -> None:
    dealer = served.caller("dealer").get("/reports/users")
    places = [STRUCTURE.index(name) for name in PERSONAL]
    assert {row[place] for row in dealer["rows"] for place in places} == {""}
    assert dealer["count"] == len(accounts(broker))


def test_an_export_tells_only_of_what_the_key_may_see(broker: Caller, served: Served) -> None:
    limited = served.caller("reporting", "--groups", "*,!euro")
    assert "euro" not in {row[6] for row in limited.get("/reports/users")["rows"]}
    assert limited.get("/reports/users", groupFilter="euro")["rows"] == []
    login = accounts(broker)[0][0]
    alone = served.caller("reporting", "--logins", str(login))
    assert [row[0] for row in alone.get("/reports/users")["rows"]] == [login]


@pytest.mark.parametrize(("form", "text"), [("csv", ",".join(STRUCTURE) + "\n"), ("ndjson", "")])
def test_an_export_of_nothing_is_whole(broker: Caller, form: str, text: str) -> None:
    assert broker.get("/reports/users", groupFilter="none", format=form).text == text


# Large exports.


@pytest.fixture(scope="module")
def crowd(broker: Caller) -> Iterator[Caller]:
    """Give a ledger with more accounts than fit into any buffer on the way."""
    login = broker.open("vip", balance="1")
    for table in ("accounts", "profiles"):
        broker.served.ledger.rows(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('login', n))).*"
            f" FROM {table} t, generate_series(1000001, {1_000_000 + CROWD}) n WHERE login = {login}"
        )
    yield broker
    for table in ("accounts", "profiles"):
        broker.served.ledger.rows(f"DELETE FROM {table} WHERE login > 1000000")


def test_a_large_export_is_whole_and_in_order(crowd: Caller) -> None:
    answer = crowd.get("/reports/users", groupFilter="vip")
    assert answer["count"] == len(answer["rows"]) > CROWD
    assert [row[0] for row in answer["rows"]] == sorted(row[0] for row in answer["rows"])


def test_a_caller_that_goes_away_leaves_nothing_open(crowd: Caller, served: Served) -> None:
    headers = {"authorization": f"Bearer {crowd.key}"}
    for _ in range(5):  # more often than there are connections for exports
        url = f"{served.url}/reports/users?format=ndjson"
        with served.http.stream("GET", url, headers=headers) as response:
            next(response.iter_raw())
    within(30, lambda: active(served) == 0)
    assert crowd.get("/reports/users", format="csv").status == 200


def active(served: Served) -> int:
    """Count the connections that are writing an export, or hold a transaction open."""
    return int(
        served.ledger.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'"
        )
    )


def test_an_export_that_fails_in_the_middle_is_cut_off(crowd: Caller, served: Served) -> None:
    headers = {"authorization": f"Bearer {crowd.key}"}
    url = f"{served.url}/reports/users?format=ndjson"
    with (
        served.http.stream("GET", url, headers=headers) as response,
        psycopg.connect(served.ledger.superuser) as holder,
    ):
        chunks = response.iter_raw()
        next(chunks)
        holder.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")  # the next step will wait for it
        end = Thread(target=end_whoever_waits, args=(served, holder.info.backend_pid))
        end.start()
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in chunks:
                pass
        end.join()
    assert "an export was cut off" in served.logged
    assert crowd.get("/reports/users", format="csv").status == 200


def end_whoever_waits(served: Served, pid: int) -> None:
    """Break the connection that waits for a lock of this process."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE %s = ANY(pg_blocking_pids(pid)) AND backend_type = 'client backend'"
    )
    within(30, lambda: bool(served.ledger.rows(query, pid)))


async def never_ending(let_go: asyncio.Event) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b"x"
    finally:
        let_go.set()


async def without_a_connection() -> AsyncGenerator[bytes, None]:
    raise PoolTimeout
    yield b""


async def begun_and_failed() -> AsyncGenerator[bytes, None]:
    yield b"x"
    raise ZeroDivisionError


def test_a_caller_that_reads_nothing_loses_the_export() -> None:
    async def read() -> None:
        let_go = asyncio.Event()
        relay = Relay(never_ending(let_go), patience_s=0)
        await relay.begin()
        async with asyncio.timeout(BOUND_S):
            await let_go.wait()
        with pytest.raises(TimeoutError):
            async for _ in relay:
                pass

    asyncio.run(read())


def test_what_fails_is_raised_after_what_came_before() -> None:
    async def read() -> None:
        answer = await export(begun_and_failed(), headers={}, media_type="text/csv", name="x.csv")
        async for _ in answer.iterator:
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(read())


def test_more_exports_than_there_are_connections_for_are_told_to_come_back() -> None:
    async def read() -> None:
        await export(without_a_connection(), headers={}, media_type="text/csv", name="x.csv")

    with pytest.raises(ManagerOffline) as refused:
        asyncio.run(read())
    assert (refused.value.code, refused.value.extra["retry_after"]) == ("exports_busy", 10)


# The daily report.


def test_a_day_of_a_group_adds_up(broker: Caller) -> None:
    login = broker.open("small", balance="100")
    broker.booked("deposit", login=login, amount=number("50.25"))
    broker.booked("credit", login=login, amount=number("7.00"))
    broker.booked("withdraw", login=login, amount=number("20.00"))
    answer = broker.get("/reports/daily", groupFilter="small")
    [row] = answer["rows"]
    assert row == {
        "group": "small",
        "currency": "USD",
        "operations": 4,
        "activeAccounts": 1,
        "balance": {
            "opening": number("0.00"),
            "movements": {
                "deposit": number("50.25"),
                "opening": number("100.00"),
                "withdrawal": number("-20.00"),
            },
            "closing": number("130.25"),
        },
        "credit": {
            "opening": number("0.00"),
            "movements": {"credit": number("7.00")},
            "closing": number("7.00"),
        },
    }
    del row["group"]
    assert answer["totals"] == [row]
    assert answer["closed"] is False


def test_a_change_of_group_is_a_movement_of_both(broker: Caller) -> None:
    login = broker.open("mt", balance="30")
    broker.send("PATCH", f"/users/{login}", {"group": "small"})
    rows = {row["group"]: row for row in broker.get("/reports/daily")["rows"]}
    assert rows["mt"]["balance"]["movements"] == {
        "group-change": number("-30.00"),
        "opening": number("30.00"),
    }
    assert rows["small"]["balance"]["movements"]["group-change"] == number("30.00")


def test_movements_that_cancel_out_are_shown_as_nothing_rather_than_hidden(broker: Caller) -> None:
    assert broker.put("/groups/even", {"currency": "USD"}).status == 200
    login = broker.open("even")
    for amount in ("5", "-5"):
        broker.booked("correction", login=login, balance=number(amount), reason="a slip")
    [row] = broker.get("/reports/daily", groupFilter="even")["rows"]
    assert (row["operations"], row["balance"]["movements"]) == (2, {"correction": number("0.00")})


@pytest.mark.parametrize("digits", [27, 28, 29, 60])
def test_figures_of_any_length_are_written_to_the_last_digit(digits: int) -> None:
    written = decimal(Fraction(-(10**digits) - 1, 100), 2)
    assert written is not None
    assert bytes(written).decode() == "-1" + "0" * (digits - 2) + ".01"
    assert [bytes(decimal(Fraction(n, 8), d) or b"") for n, d in ((1, 2), (3, 2), (4, 0), (0, 3))] == [
        b"0.12",
        b"0.38",
        b"0",
        b"0.000",
    ]


def test_the_day_is_todays_server_day_unless_asked_otherwise(broker: Caller) -> None:
    today = broker.get("/reports/daily")["day"]
    booked = broker.booked("deposit", login=accounts(broker)[0][0], amount=1)
    assert today == booked["serverDay"]
    before = broker.get("/reports/daily", day="2020-02-29")
    assert (before["day"], before["closed"], before["rows"], before["totals"]) == ("2020-02-29", True, [], [])


@pytest.mark.parametrize("day", ["0001-01-01", "1500-01-01", "1899-12-31", "2200-01-01", "9999-12-31"])
def test_a_day_outside_of_any_books_is_refused(broker: Caller, day: str) -> None:
    answer = broker.get("/reports/daily", day=day)
    assert (answer.said, answer["field"]) == ((400, "bad_date"), "day")
    assert "1900..2199" in answer["detail"]


def test_a_day_that_has_not_begun_is_refused(broker: Caller) -> None:
    answer = broker.get("/reports/daily", day="2199-12-31")
    assert (answer.said, answer["field"]) == ((400, "bad_date"), "day")


def test_only_groups_that_the_key_sees_are_told_of(broker: Caller, served: Served) -> None:
    limited = served.caller("reporting", "--groups", "euro,yen")
    assert [row["group"] for row in limited.get("/reports/daily")["rows"]] == ["euro", "yen"]
    assert [row["currency"] for row in limited.get("/reports/daily")["totals"]] == ["EUR", "JPY"]


def test_a_key_limited_to_logins_is_told_nothing_of_whole_groups(broker: Caller, served: Served) -> None:
    limited = served.caller("reporting", "--logins", str(accounts(broker)[0][0]))
    assert limited.get("/reports/daily").said == (403, "whole_groups_only")


# What all reports refuse.


@pytest.mark.parametrize("route", ["exposure", "users", "daily"])
def test_a_report_needs_its_scope_and_a_mask_that_can_be_one(
    broker: Caller, served: Served, route: str
) -> None:
    assert served.caller("finance").get(f"/reports/{route}").said == (401, "scope_missing")
    assert broker.get(f"/reports/{route}", groupFilter="x" * 5000).said == (400, "bad_mask")
    assert broker.get(f"/reports/{route}", limit=5).said == (400, "unknown_field")


@pytest.mark.parametrize(
    ("route", "query"),
    [("exposure", {"by": "account"}), ("users", {"format": "xml"}), ("daily", {"day": "2026-11-31"})],
)
def test_a_value_that_is_none_of_those_that_exist_is_refused(
    broker: Caller, route: str, query: dict[str, str]
) -> None:
    answer = broker.get(f"/reports/{route}", **query)
    assert (answer.status, answer["field"]) == (400, next(iter(query)))
