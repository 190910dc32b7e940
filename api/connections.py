"""Connections of callers: HTTP with bounds on how much a caller may send, and how slowly.

uvicorn by itself keeps whatever head a caller sends, waits for ever for the rest of a request, answers
what comes after a request and is no HTTP before the request itself (told 400, a caller would hold for
refused what is being booked), and loses the body of a request that offers another protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api import problems
from api.answers import made_request_id
from ledger.events import to_json
from ledger.refusals import Refusal, TooLarge, ValidationError

HEAD_MAX: Final = 64 * 1024
"""Bytes of a request's address and headers; of trailers too."""

HEAD_S: Final = 30.0
"""How long the head of a request may take to come, and what comes of a request after its answer."""

WHOLE_S: Final = 300.0
"""How long a request may take to come: 16 MiB at half a megabit a second."""

NO_JSON: Final = b"\xff"


class Connection(HttpToolsProtocol):
    """One connection.

    `since` is when the request that comes began to come, or the connection did; None where none is coming.
    `unseen` counts the bytes that have come since the parser last gave something of them away.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.since: float | None = self.loop.time()
        self.in_head = True
        self.unseen = 0

    def data_received(self, data: bytes) -> None:
        """Parse what has come; refuse what is no HTTP, and a head that does not end."""
        self._unset_keepalive_if_required()
        self.unseen += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._end(error.__context__ if isinstance(error.__context__, Refusal) else _not_http())
        except httptools.HttpParserError:
            self._end(_not_http())
        else:
            if self.unseen > HEAD_MAX:
                self._end(_head_too_large())

    def on_message_begin(self) -> None:
        """Note when a request begins to come."""
        super().on_message_begin()
        self.since = self.loop.time()
        self.in_head = True

    def on_headers_complete(self) -> None:
        """Begin to answer, unless it has to be parsed again."""
        if self.parser.should_upgrade():
            return
        if self.unseen > HEAD_MAX and self._head_size() > HEAD_MAX:
            raise _head_too_large()
        super().on_headers_complete()
        self.headers = []  # trailers are no headers of the request that is being answered
        self.in_head = False
        self.unseen = 0

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        super().on_body(body)
        self.unseen = 0

    def on_message_complete(self) -> None:
        """Note that all of the request has come."""
        if self.in_head:  # it has to be parsed again
            return
        super().on_message_complete()
        self.since = None
        self.in_head = True
        self.unseen = 0

    def late(self, now: float) -> bool:
        """Tell whether the request that comes has taken too long."""
        if self.since is None:
            return False
        patience_s = HEAD_S if self.in_head or self._answering() is None else WHOLE_S
        return now - self.since > patience_s

    def _answering(self) -> RequestResponseCycle | None:
        """Give the last request that has begun, while it is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _decline(self, rest: bytes) -> None:
        """Read a request again without the protocol that it offers; its body is lost otherwise."""
        method: bytes = self.parser.get_method()
        if method == b"CONNECT" or self._answering() is not None:
            self._end(_not_http())
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.unseen = 0
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _end(self, refusal: Refusal) -> None:
        """Take nothing more. What has come whole is answered first; what came in part is refused so."""
        cycle = self._answering()
        if cycle is not None:
            _cut_off(cycle)
            return
        if self.in_head:
            self.transport.write(self._written(refusal))
        self.transport.close()

    def _written(self, refusal: Refusal) -> bytes:
        """Write the answer to what never became a request."""
        self.config.app.state.service.metrics.refusals[refusal.code] += 1  # type: ignore[union-attr]
        request_id = made_request_id()
        problem = problems.problem(refusal, request_id)
        body = to_json(problem)
        headers = [
            *self.server_state.default_headers,
            (b"x-request-id", request_id.encode()),
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"".join([STATUS_LINE[problem["status"]], *lines, b"\r\n", body])


def sweep(connections: Iterable[object], now: float) -> None:
    """Cut the connections whose requests take too long to come."""
    for connection in list(connections):
        if isinstance(connection, Connection) and connection.late(now):
            connection.transport.abort()


def _cut_off(cycle: RequestResponseCycle) -> None:
    """Let a request be the last one of its connection; a body that broke off ends so that nobody reads it."""
    cycle.keep_alive = False
    if cycle.more_body:
        cycle.body += NO_JSON
        cycle.more_body = False
        cycle.message_event.set()


def _not_http() -> ValidationError:
    return ValidationError("bad_request", "the request cannot be understood")


def _head_too_large() -> TooLarge:
    return TooLarge("head_too_large", f"address and headers take at most {HEAD_MAX} bytes")
