"""Bodies of every size, depth and kind: refused at once, by name, and the service's memory stays bounded."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from api.bodies import BODY_MAX, BULK_BODY_MAX
from tests.described import described
from tests.fuzz.wire import DEPOSIT, ONE, Answer, Wire, booked, chunked, memory_mib, named
from tests.service import Service, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = b"POST /balances/batch"
BULK = {"/balances/batch", "/feed/quotes", "/feed/positions", "/feed/deals", "/feed/online"}
WITH_BODY = [
    (f"{method.upper()} {path}", BULK_BODY_MAX if path in BULK else BODY_MAX)
    for path, item in described()["paths"].items()
    for method, operation in item.items()
    if "requestBody" in operation
]
PEAK_MAX_MIB = 700
"""The most that a body of 16 MiB may take: five million items of three bytes are 450."""

KEPT_MAX_MIB = 300
"""What may stay of all of it; without an end it would be a leak."""

GROWN_MAX_MIB = 64
"""What a second round of the same may add."""


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_on(database_url, tmp_path_factory.mktemp("wire") / "log") as service:
        yield service
        service.stop()
        assert "Traceback" not in service.logged()


# Size.


def test_an_empty_body_is_no_json(wire: Wire) -> None:
    assert wire.call(DEPOSIT, b"", named("empty")).said == (400, "body_malformed")


def test_a_body_that_ends_early_is_no_json_wherever_it_ends(wire: Wire) -> None:
    for end in range(len(ONE)):
        assert wire.call(DEPOSIT, ONE[:end], named("cut")).said == (400, "body_malformed")
    assert not booked(wire, "cut")


@pytest.mark.parametrize(("route", "limit"), WITH_BODY)
def test_a_byte_too_many_is_too_large(wire: Wire, route: str, limit: int) -> None:
    line = route.replace("{login}", "1001").replace("{operationId}", "bal_1").encode()
    line = line.replace(b"{group}", b"standard").replace(b"{symbol}", b"EURUSD")
    assert wire.call(line, b" " * (limit + 1)).said == (413, "body_too_large")


def test_a_body_just_as_large_as_may_be_is_taken(wire: Wire) -> None:
    full = ONE[:-1] + b" " * (BODY_MAX - len(ONE)) + b"}"
    assert wire.call(DEPOSIT, full, named("full")).status == 201
    item = b'{"op":"deposit","requestId":"wire:bulk",%b' % ONE[1:]
    whole = b'{"operations":[%b]}' % item
    assert wire.call(BATCH, whole[:-1] + b" " * (BULK_BODY_MAX - len(whole)) + b"}").status == 200
    assert booked(wire, "bulk")


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_body_in_chunks_needs_no_length(wire: Wire, size: int) -> None:
    head = wire.head(DEPOSIT, named(f"chunks-{size}") + b"Transfer-Encoding: chunked\r\n")
    assert wire.send(head, chunked(ONE, size)).status == 201


def test_a_body_in_chunks_has_the_same_limit(wire: Wire) -> None:
    head = wire.head(DEPOSIT, named("many-chunks") + b"Transfer-Encoding: chunked\r\n")
    assert wire.send(head, chunked(b" " * (BODY_MAX + 1), 1 << 12)).said == (413, "body_too_large")


def test_a_caller_that_sends_on_after_its_refusal_is_not_kept_in_memory(service: Service, wire: Wire) -> None:
    before, _ = memory_mib(service.pid)
    with wire.connected() as connection:
        connection.sendall(wire.request(DEPOSIT, b" " * (BODY_MAX + 1), named("on"), length=1 << 40))
        for _ in range(64):
            connection.sendall(b" " * (1 << 20))
    assert memory_mib(service.pid)[0] - before < 32


# Kind.


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xef\xbb\xbf" + ONE, id="byte order mark"),
        pytest.param(ONE.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(ONE[:-1] + b',"comment":"\xff"}', id="no UTF-8"),
        pytest.param(ONE[:-1] + b',"comment":"\xc0\x80"}', id="overlong"),
        pytest.param(ONE[:-1] + b',"comment":"\xed\xa0\x80"}', id="half a character"),
        pytest.param(ONE + ONE, id="twice"),
        pytest.param(ONE + b"\0", id="NUL after it"),
        pytest.param(b"[" * 30_000 + b"]" * 30_000, id="deep lists"),
        pytest.param(
            ONE[:-1] + b',"metadata":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, id="deep objects"
        ),
        pytest.param(ONE[:-1] + b',"amount":' + b"9" * 60_000 + b"}", id="digits"),
        pytest.param(ONE[:-1] + b',"metadata":{"a":1e' + b"9" * 60_000 + b"}}", id="exponent"),
        pytest.param(ONE[:-1] + b',"comment":"' + b"c" * 60_000 + b'"}', id="long text"),
        pytest.param(ONE[:-1] + b',"' + b"n" * 60_000 + b'":1}', id="long name"),
        pytest.param(
            ONE[:-1] + b',"metadata":{' + b",".join(b'"%d":1' % n for n in range(5_000)) + b"}}",
            id="many names",
        ),
    ],
)
def test_what_is_no_deposit_is_refused_and_books_nothing(wire: Wire, body: bytes) -> None:
    answer = wire.call(DEPOSIT, body, named("nothing"))
    assert answer.status == 400
    assert len(answer.body) < 1_000
    assert not booked(wire, "nothing")


def test_of_a_name_that_comes_twice_the_last_counts(wire: Wire) -> None:
    answer = wire.call(DEPOSIT, b'{"login":1,"amount":7,"login":1001,"amount":1}', named("twice"))
    assert (answer.status, answer.json["login"], answer.json["amount"]) == (201, 1001, 1)


PACKED = {
    b"gzip": gzip.compress(ONE),
    b"deflate": zlib.compress(ONE),
    b"br": bytes.fromhex("0b0c80") + ONE + b"\x03",
    b"zstd": bytes.fromhex("28b52ffd"),
}


@pytest.mark.parametrize("encoding", PACKED, ids=bytes.decode)
def test_a_packed_body_is_never_unpacked(wire: Wire, encoding: bytes) -> None:
    headers = named("packed") + b"Content-Encoding: %b\r\n" % encoding
    assert wire.call(DEPOSIT, PACKED[encoding], headers).said == (400, "body_malformed")
    assert not booked(wire, "packed")


def test_a_bomb_does_not_go_off(service: Service, wire: Wire) -> None:
    before, _ = memory_mib(service.pid)
    bomb = gzip.compress(gzip.compress(b" " * (1 << 28)))
    for _ in range(20):
        assert wire.call(BATCH, bomb, b"Content-Encoding: gzip\r\n").said == (400, "body_malformed")
    assert memory_mib(service.pid)[0] - before < 16


# Memory.


MEBIBYTES = 1 << 20
ITEM = b'{"op":"deposit","requestId":"wire:big","login":1001,"amount":1,%b}'
BIG: dict[str, tuple[bytes, bytes]] = {
    "blanks": (BATCH, b" " * BULK_BODY_MAX),
    "brackets": (BATCH, b'{"operations":' + b"[" * (BULK_BODY_MAX - 20)),
    "five million items": (BATCH, b'{"operations":[' + b",".join([b"[]"] * 5_000_000) + b"]}"),
    "digits": (BATCH, b'{"operations":[%b]}' % ITEM % (b'"amount":' + b"9" * 15 * MEBIBYTES)),
    "decimals": (BATCH, b'{"operations":[%b]}' % ITEM % (b'"metadata":{"a":1.%b}' % (b"9" * 15 * MEBIBYTES))),
    "a text": (BATCH, b'{"operations":[%b]}' % ITEM % (b'"comment":"%b"' % (b"c" * 15 * MEBIBYTES))),
    "a name": (BATCH, b'{"operations":[%b]}' % ITEM % (b'"%b":1' % (b"n" * 15 * MEBIBYTES))),
    "a request id": (BATCH, b'{"operations":[%b]}' % ITEM % (b'"requestId":"%b"' % (b"r" * 15 * MEBIBYTES))),
    "a million names": (
        BATCH,
        b'{"operations":[%b]}'
        % ITEM
        % (b'"metadata":{%b}' % b",".join(b'"%d":1' % n for n in range(1_000_000))),
    ),
    "all or none": (
        BATCH,
        b'{"atomic":true,"operations":[%b]}' % ITEM % (b'"comment":"%b"' % (b"c" * 15 * MEBIBYTES)),
    ),
    "ten thousand wrong items": (
        BATCH,
        b'{"operations":[' + b",".join([b'{"op":"deposit"}'] * 10_000) + b"]}",
    ),
    "a deal": (b"POST /feed/deals", b'{"deals":[{"dealId":"%b"}]}' % (b"d" * 15 * MEBIBYTES)),
    "logins": (
        b"POST /feed/online",
        b'{"logins":[%b]}' % b",".join(b"%d" % login for login in range(2_000, 102_000)),
    ),
    "a symbol": (b"POST /feed/quotes", b'{"quotes":[["%b",1,2]]}' % (b"s" * 15 * MEBIBYTES)),
}
"""Bodies of up to 16 MiB in which nothing can be booked."""


def refused(answer: Answer) -> bool:
    if answer.status == 400:
        return True
    told = answer.json.get("results") or answer.json["errors"]
    return answer.status == 200 and all(item.get("httpStatus", 400) == 400 for item in told)


def test_big_bodies_that_book_nothing_leave_nothing_in_memory(service: Service, wire: Wire) -> None:
    assert all(len(body) <= BULK_BODY_MAX for _, body in BIG.values())
    began, _ = memory_mib(service.pid)
    after_round = []
    for _ in range(2):
        for name, (line, body) in BIG.items():
            assert refused(wire.call(line, body)), name
        after_round.append(memory_mib(service.pid)[0])
    _, most = memory_mib(service.pid)
    print(f"MiB at first {began}, after each round {after_round}, at most {most}")
    assert most - began < PEAK_MAX_MIB
    assert max(after_round) - began < KEPT_MAX_MIB
    assert after_round[-1] - after_round[0] < GROWN_MAX_MIB
    assert not booked(wire, "big")


def test_the_service_is_as_it_was(wire: Wire) -> None:
    assert wire.call(b"GET /readyz").status == 200
    assert wire.call(DEPOSIT, ONE, named("as-it-was")).status == 201
