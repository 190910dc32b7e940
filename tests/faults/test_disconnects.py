"""Clients that hang up in the middle: what they sent whole is booked once at most."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.faults.load import (
    Deposit,
    Memory,
    faults,
    open_accounts,
    read_balances,
    read_books,
    wrong_balances,
)
from tests.service import Service, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMES = 50


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    with service_on(database_url, tmp_path / "log") as service:
        yield service
        service.stop()


def hang_up(service: Service, key: str, deposit: Deposit, *, after: float) -> None:
    """Send a part of a request, and close the connection without reading."""
    address = urlsplit(service.url)
    body = deposit.body()
    head = (
        f"POST /balances/deposit HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"x-request-id: {deposit.request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    content = head.encode() + body
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(content[: int(len(content) * after)])


def test_a_client_that_disconnects_in_the_middle_is_booked_once_at_most(service: Service) -> None:
    key = service.key()
    memory = Memory("gone")
    with service.client(key) as client:
        open_accounts(client)
        halves = [memory.new() for _ in range(TIMES)]
        wholes = [memory.new() for _ in range(TIMES)]
        for half, whole in zip(halves, wholes, strict=True):
            hang_up(service, key, half, after=0.99)
            hang_up(service, key, whole, after=1)
        booked = read_books(client)
        assert faults(memory.sent, {}, booked) == []
        assert not {line.request_id for line in booked} & {half.request_id for half in halves}
        for deposit in memory.sent.values():
            headers = {"x-request-id": deposit.request_id}
            memory.told(deposit, client.post("/balances/deposit", content=deposit.body(), headers=headers))
        assert memory.unexpected == []
        booked = read_books(client)
        assert faults(memory.sent, memory.acknowledged, booked, all_of_it=True) == []
        assert wrong_balances(read_balances(client), booked) == {}


def test_a_client_that_disconnects_is_not_logged_as_a_fault_of_the_service(service: Service) -> None:
    hang_up(service, service.key(), Memory("noise").new(), after=0.99)
    service.stop()
    assert "Traceback" not in service.logged()
