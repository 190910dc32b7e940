"""What the service counts of itself is right, and tells nothing private."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from api.database import Database
from api.present import present
from api.refusal_log import QUEUE_MAX
from api.service import Service
from ledger.commands import Deposit, Request
from ledger.money import Amount
from ledger.refusals import ManagerOffline
from projections.refusals import Refused
from tests import exposition
from tests.api.served import BOUND_S, Caller, Served, new_id
from tests.logins import login, name_of, say
from tests.service import service_on, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Sample = tuple[str, frozenset[tuple[str, str]]]


def scraped(served: Served) -> dict[Sample, float]:
    """Give every sample by its name and labels."""
    answer = served.http.get(served.url + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return exposition.values(answer.text)


class Watch:
    """Tells by how much samples grow."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = scraped(served)

    def grown(self, name: str, **labels: str) -> float:
        sample = (f"fundledger_{name}", frozenset(labels.items()))
        return scraped(self._served).get(sample, 0) - self._before.get(sample, 0)


def value(served: Served, name: str, **labels: str) -> float:
    """Give a sample; what a database leaves unsaid for a second comes with a later answer."""
    sample = (f"fundledger_{name}", frozenset(labels.items()))
    found: dict[Sample, float] = {}

    def told() -> bool:
        found.update(scraped(served))
        return sample in found

    within(BOUND_S, told)
    return found[sample]


def test_operations_are_counted_by_kind_a_transfer_once(served: Served, admin: Caller) -> None:
    watch = Watch(served)
    one, other = admin.open(balance="10"), admin.open()
    admin.booked("transfer", from_=one, to=other, amount=1)
    admin.batch({"op": "deposit", "requestId": new_id(), "login": one, "amount": 1})
    assert watch.grown("operations_total", kind="transfer") == 1
    assert watch.grown("operations_total", kind="deposit") == 1
    assert watch.grown("operations_total", kind="opening") == 1
    assert watch.grown("operations_total", kind="account-opened") == 2


def test_commands_are_counted_by_what_came_of_them(served: Served, admin: Caller) -> None:
    login, sent, watch = admin.open(), new_id(), Watch(served)
    for _ in range(2):
        admin.book("deposit", request_id=sent, login=login, amount=5)
    admin.book("withdraw", login=login, amount=6)
    admin.booked("adjust", login=login, kind="rebate", amount=1)
    admin.post("/balances/deposit?dryRun=true", {"login": login, "amount": 1}, request_id=new_id())
    count = watch.grown
    assert count("commands_total", kind="deposit", outcome="booked") == 1
    assert count("commands_total", kind="deposit", outcome="repeated") == 1
    assert count("commands_total", kind="deposit", outcome="rehearsed") == 1
    assert count("commands_total", kind="withdrawal", outcome="refused") == 1
    assert count("commands_total", kind="rebate", outcome="booked") == 1


def test_commands_of_a_batch_and_deals_are_counted_one_by_one(served: Served, admin: Caller) -> None:
    login, watch = admin.open(), Watch(served)
    item = {"op": "deposit", "login": login, "amount": 1}
    wrong = {"op": "withdraw", "requestId": new_id(), "login": login, "amount": 50}
    admin.batch(item | {"requestId": new_id()}, wrong)
    deals = {"deals": [{"dealId": new_id(), "login": login, "profit": 1}]}
    assert [admin.post("/feed/deals", deals).status for _ in range(2)] == [200, 200]
    count = watch.grown
    assert count("commands_total", kind="deposit", outcome="booked") == 1
    assert count("commands_total", kind="withdrawal", outcome="refused") == 1
    assert count("commands_total", kind="trade", outcome="booked") == 1
    assert count("commands_total", kind="trade", outcome="repeated") == 1


def test_an_atomic_batch_that_is_refused_books_nothing_of_any_kind(served: Served, admin: Caller) -> None:
    login, watch = admin.open(), Watch(served)
    item = {"op": "deposit", "requestId": new_id(), "login": login, "amount": 1}
    wrong = {"op": "withdraw", "requestId": new_id(), "login": login, "amount": 50}
    assert admin.batch(item, wrong, atomic=True).status == 400
    assert watch.grown("commands_total", kind="deposit", outcome="booked") == 0
    assert watch.grown("commands_total", kind="deposit", outcome="refused") == 1
    assert watch.grown("commands_total", kind="withdrawal", outcome="refused") == 1
    assert admin.batch(item, atomic=True).status == 200
    assert watch.grown("commands_total", kind="deposit", outcome="booked") == 1
    assert admin.batch(item, item | {"requestId": new_id()}, atomic=True)["code"] == "batch_partly_applied"
    assert watch.grown("commands_total", kind="deposit", outcome="refused") == 3
    assert admin.batch(item, atomic=True).status == 409
    assert watch.grown("commands_total", kind="deposit", outcome="repeated") == 1


def test_commands_that_nobody_could_book_are_told_apart(database_url: str) -> None:
    service = Service(Database(database_url, "main"), ledger="main")
    requests = [
        Request(command=Deposit(login=1, amount=Amount(1, 0)), request_id=request_id) for request_id in "ab"
    ]

    async def run() -> None:
        await service.writer.stop()
        with pytest.raises(ManagerOffline):
            await service.carry_out_each(requests)
        with pytest.raises(ManagerOffline):
            await service.carry_out_all(requests)

    asyncio.run(run())
    assert service.metrics.commands == {("deposit", "failed"): 4}


def test_what_books_nothing_is_no_operation(served: Served, admin: Caller) -> None:
    login, watch = admin.open(), Watch(served)
    assert admin.book("withdraw", login=login, amount=1).status == 400
    assert (
        admin.post("/balances/deposit?dryRun=true", {"login": login, "amount": 1}, request_id="d").status
        == 200
    )
    item = {"op": "deposit", "login": login, "amount": 1}
    assert admin.batch(item | {"requestId": new_id()}, dry_run=True).status == 200
    wrong = {"op": "withdraw", "requestId": new_id(), "login": login, "amount": 5}
    assert admin.batch(item | {"requestId": new_id()}, wrong, atomic=True).status == 400
    assert watch.grown("operations_total", kind="deposit") == 0
    assert watch.grown("operations_total", kind="withdrawal") == 0


def test_refusals_are_counted_by_code_in_every_way_in(served: Served, admin: Caller, nobody: Caller) -> None:
    login, sent, watch = admin.open(), new_id(), Watch(served)
    nobody.get("/groups")
    admin.book("deposit", login=login, amount=0)
    admin.batch({"op": "deposit", "requestId": new_id(), "login": login, "amount": 0})
    for _ in range(2):
        admin.book("deposit", request_id=sent, login=login, amount=1)
    replay = {"idempotency-key": sent}
    body = {"login": login, "amount": 1}
    assert admin.send("POST", "/balances/deposit", body, headers=replay).status == 201
    admin.get("/nowhere")
    assert watch.grown("refusals_total", code="key_missing") == 1
    assert watch.grown("refusals_total", code="amount_zero") == 2
    assert watch.grown("refusals_total", code="request_applied") == 2
    assert watch.grown("refusals_total", code="unknown_route") == 1


def test_answers_are_counted_by_route_and_status(served: Served, admin: Caller) -> None:
    login, watch = admin.open(), Watch(served)
    admin.booked("deposit", login=login, amount=1)
    admin.get(f"/users/{login}")
    admin.get("/users/999999999")
    admin.get("/nowhere/at/all")
    count = watch.grown
    assert count("http_answers_total", method="POST", route="/balances/deposit", status="201") == 1
    assert count("http_answers_total", method="GET", route="/users/{login}", status="200") == 1
    assert count("http_answers_total", method="GET", route="/users/{login}", status="404") == 1
    assert count("http_answers_total", method="GET", route="unknown", status="404") == 1


def test_commits_are_counted_with_their_size_and_time(served: Served, admin: Caller) -> None:
    login, watch = admin.open(), Watch(served)
    items = [{"op": "deposit", "requestId": new_id(), "login": login, "amount": 1} for _ in range(20)]
    admin.batch(*items)
    assert watch.grown("batch_requests_count") == watch.grown("commit_seconds_count") == 1
    assert watch.grown("batch_requests_sum") == 20
    assert watch.grown("batch_requests_bucket", le="16.0") == 0
    assert watch.grown("batch_requests_bucket", le="32.0") == 1
    assert watch.grown("commit_seconds_sum") > 0


def test_the_moment_is_told(served: Served, admin: Caller) -> None:
    admin.open()
    assert value(served, "log_head") == served.last_position
    within(BOUND_S, lambda: value(served, "ready") == value(served, "database_up") == 1)
    assert value(served, "writer_connected") == 1
    assert value(served, "queue_depth") == value(served, "followers") == 0
    assert value(served, "refusals_dropped_total") == 0
    within(BOUND_S, lambda: value(served, "refusals_waiting") == 0)


@contextmanager
def held_up(served: Served, statement: str, *calls: Callable[[], Any]) -> Iterator[None]:
    """Stand in the service's way by a lock while calls are made; they come to their end after it."""
    threads = [threading.Thread(target=call) for call in calls]
    with psycopg.connect(served.ledger.superuser) as connection:
        connection.execute(statement.encode())
        for thread in threads:
            thread.start()
        yield
        connection.rollback()
    for thread in threads:
        thread.join(BOUND_S)


def test_a_commit_that_waits_shows_in_queue_and_time(served: Served, admin: Caller) -> None:
    login = admin.open()
    posts = [lambda: admin.booked("deposit", login=login, amount=1) for _ in range(3)]
    with held_up(served, "LOCK TABLE gate IN EXCLUSIVE MODE", *posts):
        within(BOUND_S, lambda: value(served, "queue_depth") == 3)
        within(BOUND_S, lambda: value(served, "commit_running_seconds") > 0)
    assert value(served, "queue_depth") == value(served, "commit_running_seconds") == 0


def readers(served: Served) -> tuple[float, ...]:
    """Give how the readers' pool stands: its connections, those that are lent, who waits."""
    found, pool = scraped(served), frozenset({("pool", "readers")})
    names = ("pool_connections", "pool_in_use", "pool_waiting")
    return tuple(found[(f"fundledger_{name}", pool)] for name in names)


def test_lent_connections_and_callers_that_wait_for_one_show_by_pool(served: Served, admin: Caller) -> None:
    reads = [lambda: admin.get("/balances/history", limit=1) for _ in range(6)]
    with held_up(served, "LOCK TABLE history IN ACCESS EXCLUSIVE MODE", *reads):
        within(BOUND_S, lambda: readers(served) == (4, 4, 2))
    within(BOUND_S, lambda: readers(served) == (4, 0, 0))
    assert value(served, "pool_connections_max", pool="readers") == 4


WAITS_FOR_A_LOCK = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def test_what_the_feed_has_not_taken_and_placed_yet_shows(served: Served, admin: Caller) -> None:
    login = admin.open()

    def tell() -> None:
        assert admin.post("/feed/online", {"logins": [login]}).status == 200

    def tell_later() -> None:
        within(BOUND_S, lambda: bool(served.ledger.rows(WAITS_FOR_A_LOCK)))
        tell()

    with held_up(served, "SELECT FROM feed_streams FOR UPDATE", tell, tell_later):
        assert admin.send("PATCH", f"/users/{login}", {"group": "vip"}).status == 200
        within(BOUND_S, lambda: value(served, "valuations_waiting") == 1)
        within(BOUND_S, lambda: value(served, "feed_waiting") > 0)
    assert value(served, "feed_waiting") == 0
    within(BOUND_S, lambda: value(served, "valuations_waiting") == 0)


def test_messages_of_the_feed_that_never_came_are_counted(served: Served, admin: Caller) -> None:
    admin.post("/feed/positions", {"seq": 1, "kind": "delta", "positions": []})
    watch = Watch(served)
    assert admin.post("/feed/positions", {"seq": 5, "kind": "delta", "positions": []}).status == 200
    assert watch.grown("feed_gaps_total", stream="positions") == 3
    assert value(served, "feed_stale", stream="positions") == 0
    assert value(served, "feed_age_seconds", stream="positions") < 60


def test_refused_attempts_that_are_not_stored_yet_show(served: Served, admin: Caller) -> None:
    poor = served.caller("user", "--logins", "1")
    with held_up(served, "LOCK TABLE refusals IN ACCESS EXCLUSIVE MODE"):
        assert poor.get("/symbols").status == 401
        assert value(served, "refusals_waiting") >= 1
    within(BOUND_S, lambda: value(served, "refusals_waiting") == 0)


def test_what_the_process_takes_of_the_machine_is_told(served: Served) -> None:
    found = scraped(served)
    assert found[("process_resident_memory_bytes", frozenset())] > 20_000_000
    assert found[("process_cpu_seconds_total", frozenset())] > 0


def test_the_age_of_each_stream_of_the_feed_is_told(served: Served) -> None:
    served.ledger.rows(
        "INSERT INTO feed_streams (stream, epoch, seq, gaps, received_at)"
        " VALUES ('quotes', 1, 1, 0, now() - interval '1 hour')"
        " ON CONFLICT (stream) DO UPDATE SET received_at = excluded.received_at"
    )
    assert 3_600 <= value(served, "feed_age_seconds", stream="quotes") < 3_700
    assert value(served, "feed_stale", stream="quotes") == 1


def test_nothing_private_is_told(served: Served, admin: Caller) -> None:
    login = admin.post("/users", {"group": "vip", "name": "Ann", "login": 87_654_321})["login"]
    admin.booked("deposit", login=login, amount="1234.56", comment="for Ann", method="card", reference="psp")
    admin.get(f"/users/{login}")
    admin.send("GET", "/groups", headers={"x-operator-id": "Zoe"})
    text = served.http.get(served.url + "/metrics").text
    for private in (str(login), "Ann", "Zoe", "1234.56", "psp", "card", "vip", admin.key_id, str(admin.key)):
        assert private not in text
    labels = {name for _, pairs in exposition.values(text) for name, _ in pairs}
    assert labels <= {"kind", "outcome", "code", "method", "route", "status", "le", "stream", "pool"}


def test_metrics_need_no_key(nobody: Caller) -> None:
    assert nobody.get("/metrics").status == 200


def test_a_database_that_is_away_is_told(database_url: str) -> None:
    service = Service(Database(database_url, "main"), ledger="main")  # never opened: nothing answers

    async def run() -> str:
        return service.metrics.exposition(await present(service)).decode()

    told = exposition.values(asyncio.run(run()))
    assert told[("fundledger_database_up", frozenset())] == 0
    assert told[("fundledger_ready", frozenset())] == 0
    assert told[("fundledger_writer_connected", frozenset())] == 0
    assert ("fundledger_log_head", frozenset()) not in told


def test_a_service_that_loses_its_database_tells_so_and_when_it_is_back(
    database_url: str, tmp_path: Path
) -> None:
    def up() -> tuple[float, ...]:
        told = exposition.values(httpx.get(f"{service.url}/metrics", trust_env=False, timeout=BOUND_S).text)
        return tuple(told[(f"fundledger_{name}", frozenset())] for name in ("ready", "database_up"))

    with (
        login(database_url, "ledger_main_writer") as url,
        service_on(url, tmp_path / "log") as service,
        psycopg.connect(database_url, autocommit=True) as administrator,
    ):
        within(BOUND_S, lambda: up() == (1, 1))
        say(administrator, f"ALTER ROLE {name_of(url)} NOLOGIN")
        administrator.execute(END_SESSIONS, [name_of(url)])
        within(BOUND_S, lambda: up() == (0, 0))
        say(administrator, f"ALTER ROLE {name_of(url)} LOGIN")
        within(BOUND_S, lambda: up() == (1, 1))


END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


def test_refused_attempts_that_find_no_room_are_counted(database_url: str) -> None:
    service = Service(Database(database_url, "main"), ledger="main")  # never started: nothing is stored

    async def run() -> str:
        for _ in range(QUEUE_MAX + 3):
            service.refusal_log.note(ATTEMPT)
        return service.metrics.exposition(await present(service)).decode()

    told = exposition.values(asyncio.run(run()))
    assert told[("fundledger_refusals_waiting", frozenset())] == QUEUE_MAX
    assert told[("fundledger_refusals_dropped_total", frozenset())] == 3


ATTEMPT = Refused(
    refused_at=datetime(2026, 11, 20, tzinfo=UTC),
    key_id="k",
    operator_id=None,
    request_id=None,
    method="GET",
    route="/groups",
    status=401,
    code="key_revoked",
    detail="the key was revoked",
    field=None,
    login=None,
)


def test_services_in_one_process_count_apart(database_url: str) -> None:
    one, other = (Service(Database(database_url, "main"), ledger="main") for _ in range(2))
    one.metrics.refusals["amount_zero"] += 1
    assert other.metrics.refusals["amount_zero"] == 0
