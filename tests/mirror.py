"""A mirror of the log, kept from outside as an audit system would keep it: by pages, or by a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

BOUND_S = 30.0
"""What has not come by then does not come."""


class Item(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """An event as a mirror is told of it; `data` is byte for byte what was sent."""

    position: int
    type: str
    operation_id: str
    request_id: str | None
    operator_id: str | None
    key_id: str | None
    login: int | None
    recorded_at: str
    leaf_hash: str | None
    data: msgspec.Raw
    blanked: list[str] | None = None

    @property
    def untouched(self) -> bool:
        """Whether the data is what the ledger hashed as it stored it."""
        return hashlib.sha256(b"\x00" + bytes(self.data)).hexdigest() == self.leaf_hash

    @property
    def said(self) -> dict[str, object]:
        """The fields of the event."""
        found: dict[str, object] = msgspec.json.decode(self.data)
        return found


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """An answer of GET /audit/events."""

    events: list[Item]
    next: int


class Away(Exception):
    """The service cannot answer now, and wants to be asked again."""


class Mirror:
    """Reads one ledger's log with one key, from one service or another."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._headers = {"authorization": f"Bearer {key}"}

    def page(self, *, timeout: float = BOUND_S, **query: int) -> Page:
        """Read one page."""
        answer = httpx.get(
            f"{self.url}/audit/events", params=query, headers=self._headers, timeout=timeout, trust_env=False
        )
        if answer.status_code == 503:
            raise Away(answer.text)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=Page)

    def read(self, *, after: int = 0, limit: int = 10_000) -> list[Item]:
        """Read on until nothing more comes."""
        items: list[Item] = []
        while (page := self.page(after=after, limit=limit)).next > after:
            items += page.events
            after = page.next
        return items

    @contextmanager
    def stream(
        self, *, last: int | None = None, query: Mapping[str, int] | None = None, timeout: float = BOUND_S
    ) -> Iterator[Iterator[Item]]:
        """Follow the log, on from what was last received."""
        with self.connection(last=last, query=query, timeout=timeout) as answer:
            if answer.status_code == 503:
                raise Away(answer.read())
            assert answer.status_code == 200, answer.read()
            yield items_of(answer)

    @contextmanager
    def connection(
        self,
        *,
        last: int | str | None = None,
        query: Mapping[str, int] | None = None,
        timeout: float = BOUND_S,
    ) -> Iterator[httpx.Response]:
        """Open a stream."""
        headers = self._headers if last is None else self._headers | {"last-event-id": str(last)}
        with (
            httpx.Client(timeout=timeout, trust_env=False) as http,
            http.stream(
                "GET", f"{self.url}/audit/stream", params=dict(query or {}), headers=headers
            ) as answer,
        ):
            yield answer


def items_of(answer: httpx.Response) -> Iterator[Item]:
    """Yield the events of a stream; what stands beside the data must agree with it."""
    fields: dict[str, str] = {}
    for line in _lines(answer):
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            item = msgspec.json.decode(fields["data"], type=Item)
            assert (fields["id"], fields["event"]) == (str(item.position), item.type)
            fields = {}
            yield item


def _lines(answer: httpx.Response) -> Iterator[str]:
    """Yield lines as the standard of event streams has them: texts may hold what else is a line end."""
    left = b""
    for part in answer.iter_raw():
        *whole, left = (left + part).split(b"\n")
        yield from map(bytes.decode, whole)
