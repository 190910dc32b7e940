"""What the service counts of itself is right, and tells nothing private."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from api.database import Database
from api.service import Service
from tests.api.served import BOUND_S, Caller, Served, new_id, within

if TYPE_CHECKING:
    pass

Sample = tuple[str, frozenset[tuple[str, str]]]


def scraped(served: Served) -> dict[Sample, float]:
    """Give every sample by its name and labels."""
    answer = served.http.get(served.url + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def samples(text: str) -> dict[Sample, float]:
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}
    assert len(values) == len(found), "a sample is told twice"
    return values


class Watch:
    """Tells by how much samples grow."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = scraped(served)

    def grown(self, name: str, **labels: str) -> float:
        sample = (f"fundledger_{name}", frozenset(labels.items()))
        return scraped(self._served).get(sample, 0) - self._before.get(sample, 0)


def value(served: Served, name: str, **labels: str) -> float:
    return scraped(served)[(f"fundledger_{name}", frozenset(labels.items()))]


def test_operations_are_counted_by_kind_a_transfer_once(served: Served, admin: Caller) -> None:
    watch = Watch(served)
    one, other = admin.open(balance="10"), admin.open()
    admin.booked("transfer", from_=one, to=other, amount=1)
    admin.batch({"op": "deposit", "requestId": new_id(), "login": one, "amount": 1})
    assert watch.grown("operations_total", kind="transfer") == 1
    assert watch.grown("operations_total", kind="deposit") == 1
    assert watch.grown("operations_total", kind="opening") == 1
    assert watch.grown("operations_total", kind="account-opened") == 2


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
    assert value(served, "ready") == value(served, "database_up") == 1
    assert value(served, "queue_depth") == value(served, "followers") == 0
    assert value(served, "refusals_dropped_total") == 0
    within(BOUND_S, lambda: value(served, "refusals_waiting") == 0)


def test_the_age_of_each_stream_of_the_feed_is_told(served: Served) -> None:
    served.ledger.rows(
        "INSERT INTO feed_streams (stream, epoch, seq, gaps, received_at)"
        " VALUES ('quotes', 1, 1, 0, now() - interval '1 hour')"
        " ON CONFLICT (stream) DO UPDATE SET received_at = excluded.received_at"
    )
    assert 3_600 <= value(served, "feed_age_seconds", stream="quotes") < 3_700


def test_nothing_private_is_told(served: Served, admin: Caller) -> None:
    login = admin.post("/users", {"group": "vip", "name": "Ann", "login": 87_654_321})["login"]
    admin.booked("deposit", login=login, amount="1234.56", comment="for Ann", method="card", reference="psp")
    admin.get(f"/users/{login}")
    admin.send("GET", "/groups", headers={"x-operator-id": "Zoe"})
    text = served.http.get(served.url + "/metrics").text
    for private in (str(login), "Ann", "Zoe", "1234", "psp", "card", "vip", admin.key_id, str(admin.key)):
        assert private not in text
    labels = {name for _, pairs in samples(text) for name, _ in pairs}
    assert labels <= {"kind", "code", "method", "route", "status", "le", "stream"}


def test_metrics_need_no_key(nobody: Caller) -> None:
    assert nobody.get("/metrics").status == 200


def test_a_database_that_is_away_is_told(database_url: str) -> None:
    service = Service(Database(database_url, "main"), ledger="main")  # never opened: nothing answers

    async def run() -> str:
        return service.metrics.exposition(await service.present()).decode()

    told = samples(asyncio.run(run()))
    assert told[("fundledger_database_up", frozenset())] == 0
    assert told[("fundledger_ready", frozenset())] == 0
    assert ("fundledger_log_head", frozenset()) not in told


def test_services_in_one_process_count_apart(database_url: str) -> None:
    one, other = (Service(Database(database_url, "main"), ledger="main") for _ in range(2))
    one.metrics.refusals["amount_zero"] += 1
    assert other.metrics.refusals["amount_zero"] == 0
    assert one.metrics._registry is not other.metrics._registry
