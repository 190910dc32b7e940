"""HTTP byte by byte: what no client library would send, and what comes back."""

from __future__ import annotations

import json
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPOSIT = b"POST /balances/deposit"
ONE = b'{"login":1001,"amount":1}'
BOUND_S = 60.0
PIECE = 1 << 20


class Answer(msgspec.Struct, frozen=True):
    """What came back: status, headers, body; `last` where the connection was closed after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    last: bool

    @property
    def said(self) -> tuple[int, str | None]:
        """Status and code."""
        return self.status, self.json.get("code") if "json" in self.headers["content-type"] else None

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Wire:
    """A service's address, and a key."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self.address = (address.hostname, address.port)
        self.credentials = b"Host: here\r\nAuthorization: Bearer %b\r\n" % key.encode()

    def request(
        self, line: bytes, body: bytes = b"", headers: bytes = b"", *, length: int | None = None
    ) -> bytes:
        """Write a request that says so of its length."""
        size = len(body) if length is None else length
        return self.head(line, headers + b"Content-Length: %d\r\n" % size) + body

    def head(self, line: bytes, headers: bytes = b"") -> bytes:
        """Write the head of a request, with the key."""
        return line + b" HTTP/1.1\r\n" + self.credentials + headers + b"\r\n"

    def call(self, line: bytes, body: bytes = b"", headers: bytes = b"") -> Answer:
        """Send a request on a connection of its own."""
        return self.send(self.request(line, body, headers + b"Connection: close\r\n"))

    def send(self, *parts: bytes) -> Answer:
        """Send bytes on a connection of their own; give the first answer."""
        with self.connected() as connection:
            for part in parts:
                connection.sendall(part)
            return read_answer(connection)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Open a connection."""
        with socket.create_connection(self.address, timeout=BOUND_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer, and nothing of the next, which may have come with it."""
    came, over = bytearray(), False
    while not came.endswith(b"\r\n\r\n") and not over:
        over = not _more(connection, came, 1)
    head, _, _ = bytes(came).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), bytes(came[:200])
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    end = len(head) + 4 + int(headers.get("content-length", 0))
    while len(came) < end and not over:
        over = not _more(connection, came, end - len(came))
    last = over or headers.get("connection") == "close"
    return Answer(int(lines[0].split()[1]), headers, bytes(came[len(head) + 4 : end]), last)


def closed(connection: socket.socket) -> bool:
    """Wait until the other side closes; say whether it did so without another word."""
    rest = bytearray()
    try:
        while _more(connection, rest):
            pass
    except ConnectionResetError:
        pass
    return not rest


def _more(connection: socket.socket, came: bytearray, most: int = PIECE) -> bool:
    piece = connection.recv(most)
    came += piece
    return bool(piece)


def chunked(body: bytes, size: int) -> bytes:
    """Write a body in chunks."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def memory_mib(pid: int) -> tuple[int, int]:
    """Give what a process holds of memory, and the most that it ever held."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    now, most = (re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    assert now is not None
    assert most is not None
    return int(now[1]) // 1024, int(most[1]) // 1024


def named(name: str) -> bytes:
    """Write the header that names a request."""
    return b"x-request-id: wire:%b\r\n" % name.encode()


def booked(wire: Wire, name: str) -> bool:
    """Tell whether a request of that name is booked."""
    return wire.call(b"GET /requests/wire:%b" % name.encode()).status == 200
