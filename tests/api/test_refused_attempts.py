"""Refused attempts reach people: who tried what, why it was refused, and when; and nothing else is kept."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from api.database import Database
from api.problems import ITEMS_KEPT
from api.refusal_log import RefusalLog
from projections import refusals
from projections.refusals import Refused
from tests.api.served import BOUND_S, Caller, Served, new_id
from tests.drive import HANG_S, LedgerUnderTest, settled
from tests.make import NOW
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
FIRST_KEPT = "outside the key's reach"


def kept(auditor: Caller, **wanted: object) -> list[dict[str, Any]]:
    """Give the refused attempts of which all this is so."""
    answer = auditor.get("/audit/refusals", limit=10_000)
    assert answer.status == 200, answer.text
    rows: list[dict[str, Any]] = answer["refusals"]
    return [row for row in rows if wanted.items() <= row.items()]


def kept_at_last(auditor: Caller, **wanted: object) -> dict[str, Any]:
    """Give the one refused attempt of which all this is so, once it is stored."""
    within(BOUND_S, lambda: len(kept(auditor, **wanted)) > 0)
    [row] = kept(auditor, **wanted)
    return row


def stored(auditor: Caller) -> int:
    """Have everything stored that was refused before; give the last number."""
    sent = new_id()
    refused = auditor.book("withdraw", request_id=sent, login=auditor.open(), amount=1)
    assert refused.said == (400, "not_enough_money")
    return int(kept_at_last(auditor, requestId=sent)["number"])


def places() -> dict[tuple[str, str], set[int]]:
    """Give the places of each code in the documented order of precedence."""
    found: dict[tuple[str, str], set[int]] = {}
    for part in re.split(r"^###", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE):
        if heading := re.match(r"# (\d+)\. ", part):
            for code, title in re.findall(r"^\| `(\w+)` \| \d+ \| (\w+) ", part, re.MULTILINE):
                found.setdefault((code, title), set()).add(int(heading[1]))
    return found


def first_kept() -> int:
    [number] = re.findall(rf"^#### (\d+)\. {FIRST_KEPT}$", DOCS.read_text(), re.MULTILINE)
    return int(number)


class TestWhatIsKept:
    def test_it_says_who_tried_what_and_why_it_was_refused(self, admin: Caller) -> None:
        login, sent, began = admin.open(balance="5"), new_id(), datetime.now(UTC)
        headers = {"x-request-id": sent, "x-operator-id": "Zoë"}
        body = {"login": login, "amount": 9}
        answer = admin.send("POST", "/balances/withdraw", body, headers=headers)
        row = kept_at_last(admin, requestId=sent)
        assert row.pop("number") > 0
        assert began <= datetime.fromisoformat(row.pop("refusedAt")) <= datetime.now(UTC)
        assert row == {
            "keyId": admin.key_id,
            "operatorId": "Zoë",
            "requestId": sent,
            "method": "POST",
            "route": "/balances/withdraw",
            "status": 400,
            "code": "not_enough_money",
            "detail": answer["detail"],
            "field": "amount",
            "login": login,
        }

    def test_routes_are_named_by_their_templates(self, served: Served, admin: Caller) -> None:
        outsider, login = served.caller("manager", "--groups", "vip"), admin.open()
        assert outsider.get(f"/users/{login}").said == (403, "outside_mask")
        row = kept_at_last(admin, keyId=outsider.key_id)
        assert (row["method"], row["route"], row["login"]) == ("GET", "/users/{login}", login)
        booked = admin.booked("deposit", login=login, amount=1)["operationId"]
        assert outsider.get(f"/balances/operations/{booked}").status == 403
        kept_at_last(admin, keyId=outsider.key_id, route="/balances/operations/{operationId}")

    @pytest.mark.parametrize(
        "look",
        [
            lambda caller, login: caller.get("/balances/history", login=login),
            lambda caller, login: caller.get("/balances/asof", login=login, at="2026-01-01T00:00:00Z"),
        ],
    )
    def test_reads_outside_of_a_keys_reach_are_kept(
        self, served: Served, admin: Caller, look: Callable[[Caller, int], Any]
    ) -> None:
        outsider, login = served.caller("reporting", "--groups", "vip"), admin.open()
        assert look(outsider, login).said == (403, "outside_mask")
        assert kept_at_last(admin, keyId=outsider.key_id)["login"] == login

    def test_a_key_that_lacks_the_scope_is_kept(self, served: Served, admin: Caller) -> None:
        dealer = served.caller("dealer")
        answer = dealer.book("deposit", login=1, amount=1)
        assert answer.said == (401, "scope_missing")
        row = kept_at_last(admin, keyId=dealer.key_id)
        assert (row["code"], row["requestId"]) == ("scope_missing", answer["requestId"])

    @pytest.mark.parametrize(
        "probing", [{"where": '[["email","like","a%"]]'}, {"orderBy": '["phone","ASC"]'}]
    )
    def test_a_key_that_probes_a_personal_column_is_kept_and_told_of(
        self, served: Served, admin: Caller, probing: dict[str, str]
    ) -> None:
        dealer = served.caller("dealer")
        answer = dealer.get("/accounts", groupFilter="*", limit=1, offset=0, **probing)
        assert answer.said == (401, "scope_missing")
        row = kept_at_last(admin, keyId=dealer.key_id)
        assert (row["route"], row["code"], row["field"]) == ("/accounts", "scope_missing", answer["field"])
        within(BOUND_S, lambda: answer["requestId"] in served.logged)

    def test_a_dead_key_that_proves_itself_is_kept(self, served: Served, admin: Caller) -> None:
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        expired, revoked = served.caller("admin", "--expires", soon), served.caller()
        served.command("keys", "revoke", revoked.key_id)
        within(BOUND_S, lambda: expired.get("/groups").said == (401, "key_expired"))
        within(BOUND_S, lambda: revoked.get("/groups").said == (401, "key_revoked"))
        within(BOUND_S, lambda: bool(kept(admin, keyId=expired.key_id, code="key_expired")))
        within(BOUND_S, lambda: bool(kept(admin, keyId=revoked.key_id, code="key_revoked")))

    def test_who_has_no_key_of_this_ledger_is_not_kept(
        self, nobody: Caller, admin: Caller, served_elsewhere: Caller
    ) -> None:
        before = stored(admin)
        stranger = Caller(admin.served, served_elsewhere.key)
        assert nobody.get("/groups").said == (401, "key_missing")
        assert stranger.get("/groups").said == (401, "key_unknown")
        assert stored(admin) == before + 1

    def test_a_plain_repeat_is_not_kept_and_a_second_payment_of_one_reference_is(self, admin: Caller) -> None:
        login, sent, again = admin.open(), new_id(), new_id()
        payment = {"login": login, "amount": 1, "method": "card", "reference": new_id()}
        for expected in (201, 409):
            assert admin.book("deposit", request_id=sent, **payment).status == expected
        assert admin.book("deposit", request_id=again, **payment).said == (409, "reference_applied")
        kept_at_last(admin, requestId=again, code="reference_applied")
        assert kept(admin, requestId=sent) == []

    def test_a_withdrawal_that_waits_for_figures_is_no_attempt_that_was_refused(self, admin: Caller) -> None:
        symbol = {"digits": 2, "contractSize": 1, "baseCurrency": "USD", "profitCurrency": "USD"}
        assert admin.put("/symbols/WAITING", symbol).status == 200
        assert admin.put("/groups/careful", {"currency": "USD", "refuseWhenStale": True}).status == 200
        login, sent = admin.open("careful", balance="100"), new_id()
        position = {
            "ticket": 41,
            "login": login,
            "symbol": "WAITING",
            "side": "buy",
            "lots": 1,
            "openPrice": 1,
        }
        told = admin.post("/feed/positions", {"kind": "delta", "positions": [position]})
        assert told["accepted"] == 1
        refused = admin.book("withdraw", request_id=sent, login=login, amount=1)
        assert refused.said == (503, "figures_stale")
        stored(admin)
        assert kept(admin, requestId=sent) == []

    def test_a_dry_run_is_kept_only_where_the_key_may_not(self, served: Served, admin: Caller) -> None:
        login, outsider = admin.open(), served.caller("manager", "--groups", "vip")
        body = {"login": login, "amount": 1}
        rehearsed = [new_id(), new_id()]
        assert admin.post("/balances/withdraw?dryRun=true", body, request_id=rehearsed[0]).status == 400
        assert outsider.post("/balances/withdraw?dryRun=true", body, request_id=rehearsed[1]).status == 403
        kept_at_last(admin, requestId=rehearsed[1])
        assert kept(admin, requestId=rehearsed[0]) == []


class TestOrder:
    def test_what_is_kept_follows_the_documented_order_of_precedence(
        self, served: Served, admin: Caller
    ) -> None:
        place_of, first = places(), first_kept()
        tried = _refusals(served, admin)
        last = stored(admin)
        rows = {row["requestId"]: row for row in kept(admin)}
        for sent, (code, title) in tried.items():
            found = place_of[(code, title)]
            assert len({place >= first for place in found}) == 1, f"{code} is on both sides: try another"
            assert (sent in rows) == (max(found) >= first), (code, rows.get(sent))
        assert [row["number"] for row in kept(admin)] == list(range(1, last + 1))

    def test_an_amount_refused_by_the_body_is_not_kept_and_one_refused_by_the_account_is(
        self, admin: Caller
    ) -> None:
        login, small, body, account = admin.open("yen"), admin.open("small"), new_id(), new_id()
        assert admin.book("deposit", request_id=body, login=login, amount="0.000000001").status == 400
        assert admin.book("deposit", request_id=account, login=login, amount="0.1").status == 400
        assert kept_at_last(admin, requestId=account)["code"] == "too_many_decimals"
        assert admin.book("deposit", request_id=account, login=small, amount=1001).status == 400
        kept_at_last(admin, requestId=account, code="amount_too_large")
        assert kept(admin, requestId=body) == []


def _refusals(served: Served, admin: Caller) -> dict[str, tuple[str, str]]:
    """Have one request refused at each step; give the code and title of each by its request id."""
    login, disabled = admin.open(balance="10"), admin.open(balance="5", disabled=True)
    euro, dealer = admin.open("euro"), served.caller("dealer")
    outsider, limited = (
        served.caller("manager", "--groups", "vip"),
        served.caller("manager", "--max-amount", "1"),
    )
    daily = served.caller("manager", "--max-amount-day", "1")
    used, payment = new_id(), {"method": "card", "reference": new_id()}
    admin.booked("deposit", request_id=used, login=login, amount=1, **payment)
    reversed_ = admin.booked("deposit", login=login, amount=1)["operationId"]
    assert admin.book(f"operations/{reversed_}/reverse", reason="r").status == 201
    future = "2199-01-01T00:00:00Z"
    answers = [
        dealer.book("deposit", login=login, amount=1),
        admin.book("deposit", login=login, amount=0),
        admin.book("deposit", login=login, amount=1, nonsense=1),
        admin.book("deposit", login=login, amount=1, effectiveAt=future),
        admin.book("deposit", login=999_999_999, amount=1),
        admin.book("operations/bal_999999999/reverse", reason="r"),
        outsider.book("deposit", login=login, amount=1),
        admin.book("deposit", login=login, amount=2, method="card", reference=payment["reference"]),
        limited.book("deposit", login=login, amount=2),
        daily.book("deposit", login=login, amount=2),
        admin.book("withdraw", login=disabled, amount=1),
        admin.book("transfer", from_=login, to=euro, amount=1),
        admin.book("transfer", from_=login, to=login, amount=1),
        admin.book("credit", login=login, amount=-1),
        admin.book(f"operations/{reversed_}/reverse", reason="r"),
        admin.post("/users", {"group": "nowhere"}, request_id=new_id()),
        admin.post("/users", {"group": "standard", "login": login}, request_id=new_id()),
        admin.post(f"/users/{disabled}/disable", request_id=new_id()),
        admin.put("/groups/standard", {"currency": "EUR"}, request_id=new_id()),
    ]
    reused = admin.book("deposit", request_id=used, login=login, amount=2)
    found = {answer["requestId"]: (answer["code"], answer["title"]) for answer in [*answers, reused]}
    assert len(found) == len(answers) + 1
    assert len({code for code, _ in found.values()}) == len(found) - 1  # currency_mismatch comes twice
    return {sent: said for sent, said in found.items() if said[0] != "scope_missing"}


class TestBatches:
    def test_each_refused_item_is_kept_under_its_own_request_id(self, admin: Caller) -> None:
        login, first, second, wrong = admin.open(), new_id(), new_id(), new_id()
        admin.batch(
            {"op": "deposit", "requestId": new_id(), "login": login, "amount": 1},
            {"op": "withdraw", "requestId": first, "login": login, "amount": 5},
            {"op": "deposit", "requestId": wrong, "login": login, "amount": 0},
            {"op": "withdraw", "requestId": second, "login": login, "amount": 6},
        )
        for sent in (first, second):
            row = kept_at_last(admin, requestId=sent)
            assert (row["route"], row["code"]) == ("/balances/batch", "not_enough_money")
            assert (row["login"], row["status"]) == (login, 400)
        assert kept(admin, requestId=wrong) == []

    @pytest.mark.parametrize("login", [1, "abc"])
    def test_an_item_whose_scope_is_missing_is_kept(
        self, served: Served, admin: Caller, login: object
    ) -> None:
        dealer, sent = served.caller("dealer"), new_id()
        item = {"op": "deposit", "requestId": sent, "login": login, "amount": 1}
        for atomic in (False, True):
            dealer.batch(item, atomic=atomic)
        within(BOUND_S, lambda: len(kept(admin, requestId=sent)) == 2)
        assert {row["code"] for row in kept(admin, requestId=sent)} == {"scope_missing"}

    def test_an_item_without_a_usable_request_id_is_kept_without(self, served: Served, admin: Caller) -> None:
        dealer = served.caller("dealer")
        dealer.batch({"op": "deposit", "requestId": "a\0b" * 1000, "login": 1, "amount": 1})
        assert kept_at_last(admin, keyId=dealer.key_id)["requestId"] is None

    def test_the_item_that_refuses_an_atomic_call_is_kept_once(self, admin: Caller) -> None:
        login, booked, refused = admin.open(), new_id(), new_id()
        answer = admin.batch(
            {"op": "deposit", "requestId": booked, "login": login, "amount": 1},
            {"op": "withdraw", "requestId": refused, "login": login, "amount": 5},
            atomic=True,
        )
        assert answer.said == (400, "not_enough_money")
        assert kept_at_last(admin, requestId=refused)["login"] == login
        assert kept(admin, requestId=booked) == []

    def test_a_refusal_behind_a_call_that_was_partly_applied_is_kept_too(
        self, served: Served, admin: Caller
    ) -> None:
        login, applied, outside = admin.open("vip"), new_id(), new_id()
        insider = served.caller("manager", "--groups", "vip")
        insider.booked("deposit", request_id=applied, login=login, amount=1)
        answer = insider.batch(
            {"op": "deposit", "requestId": applied, "login": login, "amount": 1},
            {"op": "deposit", "requestId": outside, "login": admin.open(), "amount": 1},
            atomic=True,
        )
        assert answer.said == (400, "batch_partly_applied")
        kept_at_last(admin, requestId=applied, code="batch_partly_applied")
        kept_at_last(admin, requestId=outside, code="outside_mask")


class TestTheFeed:
    def test_what_cannot_be_so_is_kept_whatever_stream_tells_it(self, served: Served, admin: Caller) -> None:
        symbol = {"digits": 2, "contractSize": 1, "baseCurrency": "USD", "profitCurrency": "USD"}
        assert admin.put("/symbols/TOLD", symbol).status == 200
        feeder, login = served.caller("feed"), admin.open()
        unknown: dict[str, Any] = {"login": login, "symbol": "NOWHERE"}
        position = unknown | {"ticket": 71, "side": "buy", "lots": 1, "openPrice": 1}
        feeder.post("/feed/quotes", {"quotes": [["NOWHERE", 1, 2], ["TOLD", 5, 1], ["TOLD", "x", 1]]})
        feeder.post("/feed/positions", {"kind": "delta", "positions": [position]})
        feeder.post("/feed/deals", {"deals": [unknown | {"dealId": "71", "profit": 1}]})
        stored(admin)
        assert sorted((row["route"], row["code"]) for row in kept(admin, keyId=feeder.key_id)) == [
            ("/feed/deals", "unknown_symbol"),
            ("/feed/positions", "unknown_symbol"),
            ("/feed/quotes", "bad_quote"),
            ("/feed/quotes", "unknown_symbol"),
        ]

    def test_a_part_of_a_snapshot_that_comes_to_nothing_is_kept(self, served: Served, admin: Caller) -> None:
        feeder = served.caller("feed")

        def part(name: str, **more: object) -> tuple[int, str | None]:
            body = {"kind": "snapshot", "snapshotId": name, "final": False, "positions": []} | more
            return feeder.post("/feed/positions", body).said

        assert part("left") == part("next") == (200, None)
        assert part("left") == (400, "snapshot_void")
        assert part("numbered", seq=1) == (200, None)
        assert part("numbered", seq=3) == (400, "snapshot_incomplete")
        assert part("nameless", positions=[{}]) == (400, "bad_ticket")
        stored(admin)
        found = {row["code"] for row in kept(admin, keyId=feeder.key_id)}
        assert found == {"snapshot_void", "snapshot_incomplete"}


class TestReading:
    def test_pages_bring_each_once_and_in_order(self, admin: Caller) -> None:
        for _ in range(5):
            admin.book("withdraw", login=admin.open(), amount=1)
        last, seen, after = stored(admin), [], 0
        while (page := admin.get("/audit/refusals", after=after, limit=3))["next"] > after:
            seen += [row["number"] for row in page["refusals"]]
            after = page["next"]
        assert seen == list(range(1, last + 1))

    def test_a_key_sees_those_of_accounts_within_its_reach_alone(self, served: Served, admin: Caller) -> None:
        mine, theirs, partial = admin.open("vip"), admin.open(), served.caller("manager", "--groups", "vip")
        for login in (mine, theirs):
            admin.book("withdraw", login=login, amount=1)
        served.caller("dealer").book("deposit", login=mine, amount=1)
        before = stored(admin)
        seen = kept(partial)
        assert mine in {row["login"] for row in seen}
        assert {row["login"] for row in seen}.isdisjoint({theirs, None})
        assert {theirs, None} <= {row["login"] for row in kept(admin)}
        assert partial.get("/audit/refusals", limit=10_000)["next"] == before

    def test_it_needs_the_scope(self, served: Served) -> None:
        assert served.caller("reporting").get("/audit/refusals").said == (401, "scope_missing")


class TestStoring:
    def test_what_was_refused_before_the_end_is_stored(self, database_url: str, tmp_path: Path) -> None:
        other = Served(database_url, tmp_path / "log")
        caller, sent = other.caller(), new_id()
        with psycopg.connect(other.ledger.superuser) as holder:
            holder.execute("LOCK TABLE refusals")
            assert caller.put("/groups/x", {"currency": "U"}).status == 400
            assert caller.post("/users", {"group": "none"}, request_id=sent).said == (400, "unknown_group")
            holder.rollback()
        assert other.stop() == 0
        assert other.ledger.value("SELECT count(*) FROM refusals WHERE request_id = %s", sent) == 1

    def test_an_answer_does_not_wait_for_it(self, served: Served, admin: Caller) -> None:
        login, sent = admin.open(), new_id()
        with psycopg.connect(served.ledger.superuser) as holder:
            holder.execute("LOCK TABLE refusals")
            assert admin.book("withdraw", request_id=sent, login=login, amount=1).status == 400
            admin.booked("deposit", login=login, amount=1)
            holder.rollback()
        kept_at_last(admin, requestId=sent)

    def test_a_lost_connection_loses_and_doubles_nothing(self, ledger: LedgerUnderTest) -> None:
        async def run() -> None:
            async with _log(ledger) as (log, database):
                with ledger.connect() as holder:
                    holder.execute("BEGIN; LOCK TABLE refusals IN SHARE MODE")
                    log.note(attempt("one"))
                    log.note(attempt("two"))
                    await _until_blocked(ledger)
                    ledger.rows(_END_WAITING)
                    holder.execute("ROLLBACK")
                await settled(lambda: log.waiting == 0)
                async with database.keeping() as connection:
                    found = await refusals.page(connection, after=0, limit=10)
            assert [(row.number, row.refused.code) for row in found] == [(1, "one"), (2, "two")]

        asyncio.run(asyncio.wait_for(run(), HANG_S))

    def test_a_batch_whose_outcome_was_not_known_is_not_stored_again(self, ledger: LedgerUnderTest) -> None:
        async def run() -> list[int]:
            async with await AsyncConnection.connect(ledger.service, autocommit=True) as connection:
                name = uuid4()
                for _ in range(2):
                    await refusals.append(connection, name, [attempt("a"), attempt("b")], known=0)
                return [row.number for row in await refusals.page(connection, after=0, limit=10)]

        assert asyncio.run(run()) == [1, 2]

    def test_what_finds_no_room_is_counted(self, ledger: LedgerUnderTest) -> None:
        async def run() -> tuple[int, int]:
            async with _log(ledger, queue_max=2) as (log, _):
                for code in ("a", "b", "c", "d", "e"):
                    log.note(attempt(code))
                return log.waiting, log.dropped

        assert asyncio.run(run()) == (2, 3)
        assert ledger.rows("SELECT code FROM refusals ORDER BY number") == [("a",), ("b",)]

    def test_one_that_cannot_be_stored_takes_no_other_with_it(self, ledger: LedgerUnderTest) -> None:
        codes = [f"c{number}" for number in range(7)]

        async def run() -> int:
            async with _log(ledger) as (log, _):
                for code in codes:
                    log.note(attempt(code))
                log.note(attempt("no\0text"))
                log.note(attempt("last"))
                await settled(lambda: log.waiting == 0)
                return log.dropped

        assert asyncio.run(asyncio.wait_for(run(), HANG_S)) == 1
        found = ledger.rows("SELECT number, code FROM refusals ORDER BY number")
        assert found == list(enumerate([*codes, "last"], start=1))


class TestOneCall:
    def test_of_one_call_so_many_of_each_code_are_kept_and_all_are_counted(
        self, served: Served, admin: Caller
    ) -> None:
        outside, number = admin.open(), ITEMS_KEPT + 10
        narrow = served.caller("feed", "--groups", "vip")
        deals = [{"dealId": f"flood-{n}", "login": outside, "profit": 1} for n in range(number)]
        before = counted(served, "outside_mask")
        told = narrow.post("/feed/deals", {"deals": deals})
        assert len(told["errors"]) == number
        assert counted(served, "outside_mask") == before + number
        stored(admin)
        assert served.ledger.value(_KEPT_OF, narrow.key_id) == ITEMS_KEPT

    def test_a_batch_is_held_to_the_same(self, served: Served, admin: Caller) -> None:
        outside, narrow = admin.open(), served.caller("manager", "--groups", "vip")
        body = {"op": "deposit", "login": outside, "amount": 1}
        before = counted(served, "outside_mask")
        narrow.batch(*({**body, "requestId": new_id()} for _ in range(ITEMS_KEPT + 10)))
        assert counted(served, "outside_mask") == before + ITEMS_KEPT + 10
        stored(admin)
        assert served.ledger.value(_KEPT_OF, narrow.key_id) == ITEMS_KEPT

    def test_a_login_told_twice_is_refused_once(self, served: Served, admin: Caller) -> None:
        outside, mine = admin.open(), admin.open("vip")
        narrow = served.caller("feed", "--groups", "vip")
        told = narrow.post("/feed/online", {"logins": [outside, mine, outside, mine, outside]})
        assert (told["accepted"], told["ignored"]) == (1, 3)
        assert [(error["index"], error["code"]) for error in told["errors"]] == [(0, "outside_mask")]
        stored(admin)
        assert served.ledger.value(_KEPT_OF, narrow.key_id) == 1


_KEPT_OF = "SELECT count(*) FROM refusals WHERE key_id = %s"


def counted(served: Served, code: str) -> int:
    """Give how many refusals of a code the metrics count."""
    text = served.http.get(served.url + "/metrics").text
    found = re.search(rf'^fundledger_refusals_total{{code="{code}"}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_numbers_come_in_the_order_of_commit_also_from_two_processes(ledger: LedgerUnderTest) -> None:
    """A reader that goes on after the last number that it saw can miss none."""

    async def run() -> None:
        connect = AsyncConnection.connect
        async with (
            await connect(ledger.service) as slow,
            await connect(ledger.service, autocommit=True) as fast,
        ):
            await refusals.append(slow, uuid4(), [attempt("slow")] * 3, known=0)
            late = asyncio.create_task(refusals.append(fast, uuid4(), [attempt("fast")], known=0))
            await _until_blocked(ledger)
            assert not late.done()
            await slow.commit()
            with pytest.raises(psycopg.errors.UniqueViolation):
                await late
            await refusals.append(fast, uuid4(), [attempt("fast")], known=0)

    asyncio.run(asyncio.wait_for(run(), HANG_S))
    found = ledger.rows("SELECT number, code FROM refusals ORDER BY 1")
    assert found == [(1, "slow"), (2, "slow"), (3, "slow"), (4, "fast")]


def test_two_services_store_what_both_refuse(ledger: LedgerUnderTest) -> None:
    async def run() -> None:
        async with _log(ledger) as (one, _), _log(ledger) as (other, _):
            for number in range(200):
                (one if number % 2 else other).note(attempt(f"c{number}"))
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), HANG_S))
    rows = ledger.rows("SELECT number, code FROM refusals ORDER BY 1")
    assert [number for number, _ in rows] == list(range(1, 201))
    assert len({code for _, code in rows}) == 200


_WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, 'INTO refusals') > 0"
    " AND datname = current_database()"
)
_END_WAITING = f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS waiting"


def attempt(code: str) -> Refused:
    return Refused(
        refused_at=NOW,
        key_id="k",
        operator_id=None,
        request_id=None,
        method="POST",
        route="/balances/deposit",
        status=400,
        code=code,
        detail="d",
        field=None,
        login=None,
    )


@asynccontextmanager
async def _log(ledger: LedgerUnderTest, **options: Any) -> AsyncIterator[tuple[RefusalLog, Database]]:
    database = Database(ledger.database_url, ledger.name)
    log = RefusalLog(database, **options)
    await database.open()
    log.start()
    try:
        yield log, database
    finally:
        await log.stop()
        await database.close()


async def _until_blocked(ledger: LedgerUnderTest) -> None:
    async with await AsyncConnection.connect(ledger.superuser, autocommit=True) as watcher:
        while await (await watcher.execute(_WAITING)).fetchone() is None:
            pass
