"""Whoever speaks broken HTTP, or slowly, is refused or cut off, and never told other than what was done."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from api.connections import HEAD_MAX
from tests.described import METHODS, described
from tests.fuzz.wire import DEPOSIT, ONE, Wire, booked, chunked, closed, memory_mib, named, read_answer
from tests.service import BOUND_S, ROOT, Service, rows, service_on, within

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIP_S = 0.05
PATIENCE_S = 1.5
"""How long an impatient service waits: enough for a caller on a busy machine that means to go on."""

METHODS_OF = {
    path: {method.upper() for method in METHODS if method in item}
    for path, item in described()["paths"].items()
}
PLACES = {"{login}": "1001", "{operationId}": "bal_1", "{requestId}": "a", "{group}": "a", "{symbol}": "a"}


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_on(database_url, tmp_path_factory.mktemp("connections") / "log") as service:
        yield service
        service.stop()
        assert service.troubles() == []


# Methods.


@pytest.mark.parametrize("path", METHODS_OF)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT", "PROPFIND"])
def test_a_method_that_no_route_takes_is_refused_with_those_that_it_takes(
    wire: Wire, path: str, method: str
) -> None:
    address = path
    for place, name in PLACES.items():
        address = address.replace(place, name)
    answer = wire.call(f"{method} {address}".encode())
    if method == "CONNECT":
        assert answer.said == (400, "bad_request")
        return
    assert answer.status == 405
    assert answer.headers["allow"].split(", ") == sorted(METHODS_OF[path])
    assert answer.headers["content-type"] == "application/problem+json"
    assert method == "HEAD" or answer.json["code"] == "method_not_allowed"


@pytest.mark.parametrize("login", ["+1001", "1_001", "01001", "%201001", "1001%20", "%D9%A1001"])
def test_a_login_that_python_alone_reads_as_a_number_is_no_route(wire: Wire, login: str) -> None:
    for line in (f"GET /users/{login}", f"POST /users/{login}/disable"):
        assert wire.call(line.encode()).said == (404, "unknown_route")
    assert wire.call(b"PATCH /users/%b" % login.encode(), b'{"leverage":1}').said == (404, "unknown_route")


# What is no HTTP.


NO_HTTP = {
    "nonsense": b"\x00\x01\x02\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another method": b"STEAL /balances HTTP/1.1\r\n\r\n",
    "a line without a colon": b"GET /healthz HTTP/1.1\r\nfoo\r\n\r\n",
    "a folded line": b"GET /healthz HTTP/1.1\r\nfoo: a\r\n b\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nfoo: a\0b\r\n\r\n",
    "bytes in the address": b"GET /us\xe9rs HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /users HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "a negative length": b"POST /users HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc",
    "a tunnel": b"CONNECT elsewhere:80 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_a_problem_and_the_end(wire: Wire, sent: bytes) -> None:
    answer = wire.send(sent)
    assert answer.said == (400, "bad_request")
    assert answer.last
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json["requestId"]


def test_what_is_no_http_is_counted(wire: Wire) -> None:
    counted = b'fundledger_refusals_total{code="bad_request"}'
    wire.send(NO_HTTP["nonsense"])
    assert counted in wire.call(b"GET /metrics").body


@pytest.mark.parametrize("encoding", [b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity"])
def test_a_body_of_another_transfer_encoding_is_refused(wire: Wire, encoding: bytes) -> None:
    head = wire.head(DEPOSIT, named("transfer") + b"Transfer-Encoding: %b\r\n" % encoding)
    assert wire.send(head, chunked(b"\x1f\x8b", 2)).status == 400
    assert not booked(wire, "transfer")


def test_a_chunk_that_breaks_off_is_refused_and_books_nothing(wire: Wire) -> None:
    head = wire.head(DEPOSIT, named("broken") + b"Transfer-Encoding: chunked\r\n")
    answer = wire.send(head, b"%x\r\n%b\r\nnonsense\r\n" % (len(ONE), ONE))
    assert answer.said == (400, "body_malformed")
    assert answer.last
    assert not booked(wire, "broken")


# What follows a request.


@contextmanager
def gate_held(database_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Hold all bookings up."""
    with psycopg.connect(database_url, options="-c search_path=ledger_main") as holder:
        holder.execute("LOCK TABLE gate IN EXCLUSIVE MODE")
        yield holder


def booking_waits(database_url: str) -> bool:
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'gate'::regclass"
    return bool(rows(database_url, waiting))


@pytest.mark.parametrize("after", [b"garbage", b"\x00", b"}\r\n\r\n", NO_HTTP["TLS"]])
def test_a_caller_is_told_what_was_booked_whatever_it_sends_after_its_request(
    database_url: str, wire: Wire, after: bytes
) -> None:
    name = f"after-{after.hex()}"
    with wire.connected() as connection:
        with gate_held(database_url):
            connection.sendall(wire.request(DEPOSIT, ONE, named(name)))
            within(BOUND_S, lambda: booking_waits(database_url))
            connection.sendall(after)
        answer = read_answer(connection)
        assert answer.status == 201
        assert answer.last
        assert closed(connection)
    assert booked(wire, name)


def test_requests_that_follow_each_other_at_once_are_answered_in_order_up_to_the_first_that_is_none(
    wire: Wire,
) -> None:
    names = ["first", "second", "third"]
    with wire.connected() as connection:
        connection.sendall(b"".join(wire.request(DEPOSIT, ONE, named(name)) for name in names) + b"garbage")
        answers = [read_answer(connection) for _ in names]
        assert [(answer.status, answer.json["requestId"]) for answer in answers] == [
            (201, f"wire:{name}") for name in names
        ]
        assert answers[-1].last
        assert closed(connection)


@pytest.mark.parametrize("offer", [b"h2c", b"websocket", b"TLS/1.0"])
def test_a_caller_that_offers_another_protocol_is_answered_in_this_one(wire: Wire, offer: bytes) -> None:
    name = f"offer-{offer.decode()[:3]}"
    headers = (
        named(name) + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n" % offer
    )
    request = wire.request(DEPOSIT, ONE, headers)
    with wire.connected() as connection:
        for _ in range(2):
            connection.sendall(request[:-5])
            connection.sendall(request[-5:])
            answer = read_answer(connection)
            assert answer.status in {201, 409}
            assert answer.json["operationId"].startswith("bal_")
    assert booked(wire, name)


# Heads without an end.


LONG = {
    "an address": b"GET /%b HTTP/1.1\r\n" % (b"a" * 2 * HEAD_MAX),
    "a query": b"GET /balances/history?reference=%b HTTP/1.1\r\n\r\n" % (b"a" * HEAD_MAX),
    "a header": b"GET /healthz HTTP/1.1\r\nfoo: " + b"a" * 2 * HEAD_MAX,
    "a header's name": b"GET /healthz HTTP/1.1\r\n" + b"a" * 2 * HEAD_MAX,
    "many headers": b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * HEAD_MAX,
    "a whole head": b"GET /healthz HTTP/1.1\r\nfoo: " + b"a" * HEAD_MAX + b"\r\n\r\n",
}


@pytest.mark.parametrize("sent", LONG.values(), ids=LONG)
def test_a_head_without_an_end_is_too_large(service: Service, wire: Wire, sent: bytes) -> None:
    before, _ = memory_mib(service.pid)
    for _ in range(20):
        with wire.connected() as connection:
            connection.sendall(sent)
            answer = read_answer(connection)
        assert answer.said == (413, "head_too_large")
        assert answer.last
    assert memory_mib(service.pid)[0] - before < 16


def test_a_head_that_is_just_not_too_large_is_taken(wire: Wire) -> None:
    room = HEAD_MAX - len(wire.request(DEPOSIT, b"", named("room") + b"foo: \r\n")) - 200
    assert wire.call(DEPOSIT, ONE, named("room") + b"foo: %b\r\n" % (b"a" * room)).status == 201


def test_trailers_without_an_end_are_not_kept(service: Service, wire: Wire) -> None:
    before, _ = memory_mib(service.pid)
    head = wire.head(DEPOSIT, named("trailers") + b"Transfer-Encoding: chunked\r\n")
    with wire.connected() as connection:
        connection.sendall(head + chunked(ONE, 100)[:-2])
        for _ in range(64):
            try:
                connection.sendall(b"foo: bar\r\n" * 100_000)
            except OSError:
                break
        else:
            raise AssertionError("64 MB of trailers were taken")
    assert memory_mib(service.pid)[0] - before < 16
    assert not booked(wire, "trailers")


def test_trailers_are_no_headers(wire: Wire) -> None:
    head = wire.head(DEPOSIT, named("with-trailers") + b"Transfer-Encoding: chunked\r\n")
    answer = wire.send(head, chunked(ONE, 100)[:-2] + b"x-request-id: wire:other\r\n\r\n")
    assert (answer.status, answer.json["requestId"]) == (201, "wire:with-trailers")


# Slow callers.


@pytest.fixture(scope="module")
def impatient(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Serve with little patience: what takes half a minute otherwise takes a second and a half."""
    patience = f"from api import connections; connections.HEAD_S = connections.WHOLE_S = {PATIENCE_S}"
    program = f"{patience}; from api.cli import main; raise SystemExit(main())"
    log = tmp_path_factory.mktemp("impatient") / "log"
    service = Service(("--database-url", database_url), log)
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", "--port", "0", *service.where],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
        )
    service.started(process)
    yield Wire(service.url, service.key())
    assert service.signal(signal.SIGTERM) == 0, service.logged()
    assert service.troubles() == []


def test_a_caller_that_says_nothing_is_cut_off(impatient: Wire) -> None:
    with impatient.connected() as connection:
        assert closed(connection)


@pytest.mark.parametrize("end", [5, 60, -1])
def test_a_caller_that_never_ends_its_request_is_cut_off_and_nothing_is_booked(
    impatient: Wire, wire: Wire, end: int
) -> None:
    with impatient.connected() as connection:
        connection.sendall(impatient.request(DEPOSIT, ONE, named("slow"))[:end])
        assert closed(connection)
    assert not booked(wire, "slow")


def test_a_caller_that_drips_is_cut_off(impatient: Wire, wire: Wire) -> None:
    with impatient.connected() as connection:
        connection.sendall(impatient.request(DEPOSIT, b"", named("drip"), length=1 << 16))
        connection.settimeout(DRIP_S)
        within(BOUND_S, lambda: not _goes_on(connection))
    assert not booked(wire, "drip")


def _goes_on(connection: socket.socket) -> bool:
    """Send another byte; say whether the connection is still there."""
    try:
        connection.sendall(b" ")
        return bool(connection.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_caller_that_waits_for_the_answer_is_not_cut_off(impatient: Wire) -> None:
    head = impatient.call(b"GET /audit/events?limit=10000").json["next"]
    answer = impatient.call(b"GET /audit/events?after=%d&wait=%d" % (head, 2 * PATIENCE_S))
    assert (answer.status, answer.json["events"]) == (200, [])


def test_a_caller_that_goes_on_after_its_answer_is_cut_off(impatient: Wire) -> None:
    with impatient.connected() as connection:
        connection.sendall(impatient.request(b"GET /healthz", b"", length=1_000))
        assert read_answer(connection).status == 200
        assert closed(connection)
