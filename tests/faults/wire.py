"""One connection to a service, spoken to in plain bytes: a load must cost less than what it loads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.faults.memory import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

BOUND_S = 120.0
BROKEN = (OSError, EOFError, TimeoutError)


class Gone(Exception):
    """The service hung up, is not there, or took longer than its caller waits."""


class Caller:
    """Connects when there is something to send, and anew after the connection broke."""

    def __init__(self, url: str, key: str, *, patience_s: float = BOUND_S) -> None:
        self._address = urlsplit(url)
        self._head = f"Host: {self._address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        self._patience_s = patience_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send something and wait for the answer; Gone where none comes."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\n{self._head}{lines}Content-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._exchange(head.encode() + body)
        except BROKEN as error:
            self.close()
            raise Gone from error

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._address.hostname, self._address.port)
        reader, writer = self._streams
        writer.write(request)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), headers, body)
