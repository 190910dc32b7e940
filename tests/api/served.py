"""A service that really runs, callers with real keys, and answers with their numbers digit by digit."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg

from api.cli import main
from tests.described import undescribed
from tests.drive import LedgerUnderTest
from tests.service import KEPT, read_line, start, troubles_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
BOUND_S = 60
"""What has not come by then does not come."""

FAMILIES = {
    400: "ValidationError",
    401: "Unauthorized",
    403: "PermissionDenied",
    404: "NotFound",
    405: "ValidationError",
    409: "AlreadyApplied",
    413: "TooLarge",
    429: "TooManyRequests",
    503: "ManagerOffline",
}
INTERNAL = re.compile(
    r"Traceback|File \"|\.py\b|psycopg|litestar|uvicorn|msgspec|site-packages|ledger_events"
    r"|\b(SELECT|INSERT INTO|UPDATE|FROM) [a-z]|/(home|tmp|usr|root|var|opt|etc)/|0x[0-9a-f]{6}"
)
_numbers = count(1)


class Exact(str):
    """A JSON number with a decimal point: equal only to one of the very same digits."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exact) and str.__eq__(self, other)

    __hash__ = str.__hash__


def number(text: str) -> Exact | int:
    """Give a JSON number as an answer holds it: 5000.00 to the digit, or a whole number."""
    return Exact(text) if "." in text else int(text)


def plain(text: str | int) -> float:
    """Give a number of an answer for adding up; never for comparing digits."""
    return float(text)


def new_id() -> str:
    """Give a request id that nobody has used."""
    return f"test:{next(_numbers)}"


class Answer(msgspec.Struct, frozen=True):
    """What the service answered."""

    status: int
    body: Any
    headers: httpx.Headers
    text: str

    def __getitem__(self, name: str) -> Any:
        return self.body[name]

    @property
    def said(self) -> tuple[int, str | None]:
        """Status and code: what a machine goes by."""
        return self.status, self.body.get("code") if isinstance(self.body, dict) else None


class Caller:
    """Someone with a key, or without one, who calls the service."""

    def __init__(self, served: Served, key: str | None) -> None:
        self.served = served
        self.key = key

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        assert self.key is not None
        return self.key.split("_")[1]

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        request_id: str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Answer:
        """Call a route; every answer is held to what all answers promise."""
        given: dict[str, str | bytes] = {}
        if self.key is not None:
            given["authorization"] = f"Bearer {self.key}"
        if request_id is not None:
            given["x-request-id"] = request_id
        given |= headers or {}
        content = body if isinstance(body, bytes) or body is None else msgspec.json.encode(_wire(body))
        response = self.served.http.request(
            method,
            self.served.url + path,
            content=content,
            params={name: str(value) for name, value in query.items()} if query else None,
            headers={
                name.encode(): value.encode() if isinstance(value, str) else value
                for name, value in given.items()
            },
        )
        return _held_to_promises(response, base_path=urlsplit(self.served.url).path)

    def get(self, path: str, **query: object) -> Answer:
        """Read; a trailing underscore frees names that Python keeps (`from_`)."""
        return self.send("GET", path, query={name.rstrip("_"): value for name, value in query.items()})

    def post(self, path: str, body: object = None, *, request_id: str | None = None) -> Answer:
        """Write."""
        return self.send("POST", path, body, request_id=request_id)

    def put(self, path: str, body: object = None, *, request_id: str | None = None) -> Answer:
        """Define."""
        return self.send("PUT", path, body, request_id=request_id)

    def book(self, route: str, *, request_id: str | None = None, **body: Any) -> Answer:
        """Send a money command under /balances, with a new request id unless one is given."""
        fields = {name.rstrip("_"): value for name, value in body.items()}
        return self.post(f"/balances/{route}", fields, request_id=request_id or new_id())

    def booked(self, route: str, **body: Any) -> Answer:
        """Send a money command that cannot fail."""
        answer = self.book(route, **body)
        assert answer.status == 201, answer.text
        return answer

    def batch(self, *items: object, atomic: bool = False, dry_run: bool = False) -> Answer:
        """Send operations in one call."""
        body = {"operations": items} | ({"atomic": True} if atomic else {})
        return self.post("/balances/batch?dryRun=true" if dry_run else "/balances/batch", body)

    def open(
        self, group: str = "standard", *, balance: str = "0", credit: str = "0", disabled: bool = False
    ) -> int:
        """Open an account at the next free login; give the login."""
        answer = self.post("/users", {"group": group})
        assert answer.status == 201, answer.text
        login: int = answer["login"]
        if float(balance):
            self.booked("adjust", login=login, kind="opening", amount=number(balance))
        if float(credit):
            self.booked("credit", login=login, amount=number(credit))
        if disabled:
            assert self.post(f"/users/{login}/disable").status == 200
        return login

    def held(self, login: int) -> tuple[Any, Any]:
        """Give what an account holds: balance and credit."""
        profile = self.get(f"/users/{login}")
        return profile["balance"], profile["credit"]

    def history(self, **query: object) -> list[dict[str, Any]]:
        """Give rows of history, oldest first, all of them unless asked otherwise."""
        answer = self.get("/balances/history", **({"order": "asc", "limit": 10_000} | query))
        assert answer.status == 200, answer.text
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


class Served:
    """A service in a process of its own, started and spoken to as its users do."""

    def __init__(self, database_url: str, log: Path, *options: str, ledger: str = "main") -> None:
        self.database_url = database_url
        self.ledger = LedgerUnderTest(database_url, ledger)
        self.log = log
        self.http = httpx.Client(trust_env=False, timeout=BOUND_S, limits=KEPT)
        self._log_reader = psycopg.connect(self.ledger.superuser, autocommit=True)
        self._where = ["--database-url", database_url, "--ledger", ledger]
        self.process = start(log, "--port", "0", *self._where, *options)
        self.said = ""
        self.url = self._greeting()

    def _greeting(self) -> str:
        line = read_line(self.process)
        found = re.search(r"(http://\S+)", line)
        if found is None:
            self.process.wait(BOUND_S)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.http.close()
            self._log_reader.close()
            raise AssertionError(f"the service did not start: {line}{self.logged}")
        self.said = line + read_line(self.process)
        return found[1].rstrip("/")

    @property
    def logged(self) -> str:
        """What the service has written into its log."""
        return self.log.read_text()

    @property
    def troubles(self) -> list[str]:
        """What of it tells of trouble."""
        return troubles_in(self.logged)

    @property
    def faults(self) -> int:
        """How many requests met a fault of the service's own."""
        return len(re.findall("met a fault|could not be decided|tickets failed|Task exception", self.logged))

    @property
    def last_position(self) -> int:
        """How many events the ledger's log has."""
        found = self._log_reader.execute("SELECT count(*) FROM ledger_events").fetchone()
        assert found is not None
        return int(found[0])

    def stop(self) -> int:
        """Stop the service as an operator would; give its exit code."""
        self.http.close()
        self._log_reader.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(BOUND_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def command(self, *words: str, ledger: str | None = None) -> str:
        """Run a command on this ledger or another while the service runs; give what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main([*words, *self._where, *(["--ledger", ledger] if ledger else [])])
        assert code == 0, printed.getvalue()
        return printed.getvalue()

    def key(self, role: str = "admin", *options: str) -> str:
        """Make a key by the command line."""
        making = ("keys", "create", "--role", role, "--name", f"a {role}")
        return self.command(*making, *options).splitlines()[-1]

    def caller(self, role: str = "admin", *options: str) -> Caller:
        """Give a caller with a new key."""
        return Caller(self, self.key(role, *options))


@contextlib.contextmanager
def serving(database_url: str, log: Path, *options: str, ledger: str = "main") -> Iterator[Served]:
    """Lend a service; it must end cleanly and have met no fault."""
    service = Served(database_url, log, *options, ledger=ledger)
    try:
        yield service
    finally:
        assert service.stop() == 0
    assert service.faults == 0, service.logged


def define_groups(admin: Caller) -> None:
    """Define the groups that tests use: USD unless the name says otherwise."""
    for group, definition in GROUPS.items():
        answer = admin.put(f"/groups/{group}", definition)
        assert answer.status == 200, answer.text


GROUPS: dict[str, dict[str, object]] = {
    "standard": {"currency": "USD"},
    "vip": {"currency": "USD"},
    "euro": {"currency": "EUR"},
    "yen": {"currency": "JPY"},
    "dinar": {"currency": "KWD"},
    "small": {"currency": "USD", "maxOperation": 1000},
    "mt": {"currency": "USD", "withdrawPolicy": "mt"},
}


def _wire(body: object) -> object:
    """Put exact numbers on the wire as they are written."""
    if isinstance(body, Exact):
        return msgspec.Raw(body.encode())
    if isinstance(body, dict):
        return {name: _wire(value) for name, value in body.items()}
    if isinstance(body, list | tuple):
        return [_wire(value) for value in body]
    return body


def _held_to_promises(response: httpx.Response, *, base_path: str) -> Answer:
    kind = response.headers.get("content-type", "")
    body = json.loads(response.text, parse_float=Exact) if "json" in kind and "ndjson" not in kind else None
    answer = Answer(response.status_code, body, response.headers, response.text)
    assert "traceback" not in response.text.lower()
    if answer.status >= 400 and response.request.method != "HEAD":
        _is_problem(answer)
    path = response.url.path.removeprefix(base_path)
    wrong = undescribed(response.request.method, path, answer.status, kind, answer.text)
    assert wrong is None, wrong
    return answer


def _is_problem(answer: Answer) -> None:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.body
    assert body.keys() >= {"type", "title", "status", "code", "detail", "requestId"}, body
    assert body["status"] == answer.status
    assert body["title"] == FAMILIES[answer.status]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"]), body
    assert body["type"].endswith(body["code"])
    assert body["detail"].strip()
    assert body["requestId"] == answer.headers["x-request-id"]
    assert not INTERNAL.search(answer.text), answer.text
    if answer.status in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0
