"""The log of a service that runs: who changed and tried what, by ids; nothing of what callers have sent."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from api.embedded import EmbeddedPostgres
from api.version import VERSION
from projections import install
from tests.api.served import BOUND_S, Caller, Served, new_id
from tests.service import Service, records, service_on, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PERSONAL = {
    "name": "Jane Roe",
    "email": "jane@roe.example",
    "phone": "5550199",
    "address": "Elm Street",
    "comment": "likes cats",
}
NOTE = "rent for May"
LOGIN = 700_000_000_001
"""No time and no id holds these digits by chance."""


def logged(served: Served, event: str, **wanted: object) -> list[dict[str, Any]]:
    """Give the lines of an event with these fields."""
    return [
        line
        for line in records(served.logged)
        if line["event"] == event and all(line.get(name) == value for name, value in wanted.items())
    ]


def work(served: Served) -> tuple[Caller, int]:
    """Define a group, open an account for a person, and deposit with a note; give who did, and the login."""
    caller = served.caller()
    assert caller.put("/groups/standard", {"currency": "USD"}, request_id="the-group").status == 200
    assert caller.post("/users", {"login": LOGIN, "group": "standard", **PERSONAL}).status == 201
    headers = {"x-operator-id": "teller-7", "x-request-id": "the-deposit"}
    body = {"login": LOGIN, "amount": 5, "comment": NOTE}
    assert caller.send("POST", "/balances/deposit", body, headers=headers).status == 201
    return caller, LOGIN


def personal_in(log: str) -> list[str]:
    """Give what of a person, or of what was sent, stands in a log."""
    return [text for text in [*PERSONAL.values(), NOTE] if text in log]


@pytest.fixture(scope="module")
def debugging(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service that logs everything."""
    install.migrate(database_url, "debugging")
    log = tmp_path_factory.mktemp("debugging") / "log"
    service = Served(database_url, log, "--log-level", "debug", ledger="debugging")
    yield service
    assert service.stop() == 0
    assert [line["event"] for line in records(service.logged)][-2:] == ["stopping", "stopped"]
    assert personal_in(service.logged) == []


@pytest.fixture(scope="module")
def worked(served: Served) -> tuple[Caller, int]:
    return work(served)


def test_a_start_is_told(served: Served) -> None:
    [line] = logged(served, "started")
    assert (line["ledger"], line["version"], line["sealed"]) == ("main", VERSION, False)
    assert line["port"] == int(served.url.rpartition(":")[2])
    assert line["pid"] == served.process.pid


def test_a_change_of_a_group_is_told_with_who_made_it(served: Served, worked: tuple[Caller, int]) -> None:
    caller, _ = worked
    [line] = logged(served, "booked", type="group-defined")
    assert line["level"] == "info"
    assert line["key_id"] == caller.key_id
    assert line["request_id"] == "the-group"
    assert line["operation_id"].startswith("op_")


def test_a_deposit_is_no_line(served: Served, worked: tuple[Caller, int]) -> None:
    assert logged(served, "booked", request_id="the-deposit") == []
    assert personal_in(served.logged) == []


def test_a_deposit_is_a_line_where_everything_is_logged(debugging: Served) -> None:
    caller, _ = work(debugging)
    [line] = logged(debugging, "booked", request_id="the-deposit")
    assert line["level"] == "debug"
    assert line["operation_id"].startswith("bal_")
    assert (line["operator_id"], line["key_id"]) == ("teller-7", caller.key_id)


def test_a_key_that_reaches_too_far_is_told_with_its_id(served: Served, worked: tuple[Caller, int]) -> None:
    _, login = worked
    limited = served.caller("finance", "--groups", "nothing")
    headers = {"x-operator-id": "teller-7", "x-request-id": "too-far"}
    answer = limited.send("POST", "/balances/deposit", {"login": login, "amount": 1}, headers=headers)
    assert answer.said == (403, "outside_mask")
    [line] = logged(served, "refused", request_id="too-far")
    assert (line["level"], line["status"], line["code"]) == ("warning", 403, "outside_mask")
    assert (line["method"], line["route"]) == ("POST", "/balances/deposit")
    assert (line["key_id"], line["operator_id"]) == (limited.key_id, "teller-7")
    assert str(login) not in str(line)


def test_a_dead_key_is_told_with_its_id(served: Served, worked: tuple[Caller, int]) -> None:
    dead = served.caller("finance")
    served.command("keys", "revoke", dead.key_id)
    within(BOUND_S, lambda: dead.get("/server").said == (401, "key_revoked"))
    assert logged(served, "refused", code="key_revoked")[0]["key_id"] == dead.key_id


def test_who_claims_to_use_a_key_that_has_no_right_to_it_is_told(
    served: Served, worked: tuple[Caller, int]
) -> None:
    reader, (_, login) = served.caller("reporting"), worked
    headers = {"x-operator-id": "teller-7", "x-request-id": "no-scope"}
    answer = reader.send("POST", "/balances/deposit", {"login": login, "amount": 1}, headers=headers)
    assert answer.said == (401, "scope_missing")
    [line] = logged(served, "refused", request_id="no-scope")
    assert (line["key_id"], line["operator_id"]) == (reader.key_id, "teller-7")


def test_who_comes_after_somebody_on_a_connection_is_not_taken_for_them(served: Served) -> None:
    first, dead = served.caller(), served.caller("finance")
    served.command("keys", "revoke", dead.key_id)
    within(BOUND_S, lambda: dead.get("/server").said == (401, "key_revoked"))
    before = len(logged(served, "refused", key_id=dead.key_id))
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=BOUND_S) as connection:
        connection.sendall(head(first, "x-operator-id: teller-7", "x-request-id: first") + head(dead))
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 2:
            received = connection.recv(65_536)
            assert received, answers
            answers += received
    assert [found[9:12] for found in re.findall(rb"HTTP/1.1 \d+", answers)] == [b"200", b"401"]
    lines = logged(served, "refused", key_id=dead.key_id)[before:]
    assert [line.get("operator_id") for line in lines] == [None]
    assert lines[0]["request_id"] != "first"


def head(caller: Caller, *headers: str) -> bytes:
    """Give a request's head."""
    lines = ["GET /server HTTP/1.1", "host: x", f"authorization: Bearer {caller.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_other_content_under_a_used_id_is_told(served: Served, worked: tuple[Caller, int]) -> None:
    admin, login = worked
    again = admin.book("deposit", login=login, amount=6, request_id="the-deposit")
    assert again.said == (400, "request_id_reused")
    assert logged(served, "refused", code="request_id_reused", request_id="the-deposit")


def test_everyday_refusals_are_no_lines(served: Served, worked: tuple[Caller, int]) -> None:
    admin, login = worked
    nobody = Caller(served, None)
    assert admin.book("withdraw", login=login, amount=999, request_id="too-much").status == 400
    assert admin.book("deposit", login=999_999, amount=1, request_id="unknown").status == 400
    assert nobody.send("GET", "/server", request_id="no-key").status == 401
    for request_id in ("too-much", "unknown", "no-key"):
        assert logged(served, "refused", request_id=request_id) == []


def test_who_knocks_all_day_fills_no_disk(served: Served, worked: tuple[Caller, int]) -> None:
    _, login = worked
    limited = served.caller("finance", "--groups", "nothing")
    for _ in range(50):
        assert limited.book("deposit", login=login, amount=1, request_id=new_id()).status == 403
    assert 1 <= len(logged(served, "refused", key_id=limited.key_id)) < 50


def test_lines_for_people_are_lines_of_text(database_url: str, tmp_path: Path) -> None:
    install.migrate(database_url, "in_lines")
    service = Served(database_url, tmp_path / "log", "--log-format", "lines", ledger="in_lines")
    work(service)
    assert service.stop() == 0
    lines = service.logged.splitlines()
    assert lines[0].partition(" INFO fundledger: started ")[2].startswith("ledger=in_lines ")
    assert " INFO fundledger: stopped " in lines[-1]
    assert any(" INFO fundledger.service: booked type=group-defined " in line for line in lines)
    assert records(service.logged) == []


def test_the_loss_of_the_database_is_told_once_and_so_is_its_return(scratch: Path) -> None:
    server = EmbeddedPostgres(scratch / "data", shared_buffers="32MB")
    server.start()
    server.create_database_if_missing()
    install.migrate(server.url(), "main")
    with service_on(server.url(), scratch / "log") as service:
        server.stop()
        within(BOUND_S, lambda: told(service, LOST) == 1)
        server.start()
        within(BOUND_S, lambda: told(service, BACK) == 1)
        service.stop()
    assert told(service, LOST) == told(service, BACK) == 1
    server.stop()


LOST, BACK = "the database is lost: ", "the database is back"


def told(service: Service, words: str) -> int:
    """Say how often it was told."""
    return sum(line["event"].startswith(words) for line in records(service.logged()))
