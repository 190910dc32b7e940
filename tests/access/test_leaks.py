"""A key is told once, to whoever made it. It stands in no log, no answer, no table and no list of processes.

A canary key is used in each right and many wrong ways; then everything that keeps or shows anything is
searched for its secret.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.access.keychain import parts, written
from tests.access.router import GUARDED, ROUTES, Route
from tests.access.samples import right_body, variants
from tests.api.served import BOUND_S, ROOT, Caller, Served, new_id
from tests.service import records, within

if TYPE_CHECKING:
    from collections.abc import Iterator


ELSEWHERE = (
    "x-request-id",
    "Idempotency-Key",
    "x-operator-id",
    "Last-Event-ID",
    "Accept",
    "Cookie",
    "X-Api-Key",
)
SAID_ON_PURPOSE = "what-a-search-must-find"


class Canary(msgspec.Struct):
    """A key that is watched, and all answers to whoever used it."""

    served: Served
    key: str
    told: list[str] = []

    @property
    def needles(self) -> list[str]:
        """What must be found nowhere: the secret, and another one that was tried for its id."""
        _, secret = parts(self.key)
        return [secret, self.other_secret]

    @property
    def other_secret(self) -> str:
        """A secret that is not this key's."""
        return parts(self.key)[1][::-1]

    @property
    def other(self) -> str:
        """A well-formed key of the same id that is none."""
        return written(parts(self.key)[0], self.other_secret)

    def sends(self, method: str, path: str, body: bytes | None = None, /, **headers: str) -> int:
        """Send a request with the key in its place, unless another Authorization is given."""
        given = {"authorization": f"Bearer {self.key}", "x-request-id": new_id()}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.served.url + path
        with self.served.http.stream(method, url, content=body, headers=given) as answer:
            endless = answer.headers["content-type"].startswith("text/event-stream")
            text = next(answer.iter_text()) if endless else answer.read().decode()
            self.told.append(f"{dict(answer.headers)}\n{text}")
            return answer.status_code


@pytest.fixture(scope="module")
def logged_url(shared_url: str) -> Iterator[str]:
    """Yield the database's URL while its server logs every statement."""
    with psycopg.connect(shared_url, autocommit=True) as connection:
        here = Identifier(connection.info.dbname)
        connection.execute(SQL("ALTER DATABASE {} SET log_statement = 'all'").format(here))
        yield shared_url
        connection.execute(SQL("ALTER DATABASE {} RESET log_statement").format(here))


@pytest.fixture(scope="module")
def canary(logged_url: str, admin: Caller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """Yield the canary after it was used in all ways, while its service still runs."""
    served = Served(logged_url, tmp_path_factory.mktemp("canary") / "log")
    canary = Canary(served, served.key("admin"))
    login = admin.open(balance="100")
    Caller(served, admin.key).booked("deposit", login=login, amount=1, comment=SAID_ON_PURPOSE)
    use_rightly(canary, login)
    use_elsewhere(canary, login)
    use_wrongly(canary)
    served.command("keys", "revoke", parts(canary.key)[0])
    dead = Caller(served, canary.key)
    within(BOUND_S, lambda: dead.book("deposit", login=login, amount=1).said == (401, "key_revoked"))
    within(BOUND_S, lambda: served.ledger.value(_KEPT_OF, dead.key_id) > 0)
    yield canary
    assert served.stop() == 0


_KEPT_OF = "SELECT count(*) FROM refusals WHERE code = 'key_revoked' AND key_id = %s"


def use_rightly(canary: Canary, login: int) -> None:
    """Ask every route what it can answer, and what it cannot."""
    for route in GUARDED:
        for path in (route.at(), route.at(login=login)):
            for query in [{}] if route.query is None else list(variants(route.query))[:3]:
                text = "&".join(f"{name}={value}" for name, value in query.items())
                body = None if route.body is None or route.method == "GET" else _body(route, login)
                canary.sends(route.method, f"{path}?{text}", body)
        canary.sends(route.method, route.at() + "?nonsense=1", b"{" if route.body else None)
    for path in ("/nope", "/users/x", "/healthz", "/metrics", "/schema/openapi.json"):
        canary.sends("GET", path)
        canary.sends("DELETE", path)


def use_elsewhere(canary: Canary, login: int) -> None:
    """Put the key wherever a caller might by mistake: beside its place, and instead of it."""
    for text, headers in (
        (canary.key, {}),
        (canary.key, {"authorization": ""}),
        (canary.other, {}),
    ):
        for route in ROUTES:
            in_path = re.sub(r"\{.*?\}", text, route.path)
            body = _body(route, login) if route.body is not None and route.method != "GET" else None
            for path in (
                in_path,
                f"{route.at()}?key={text}",
                f"{route.at()}?{text}=1",
                f"/{text}{route.path}",
            ):
                canary.sends(route.method, path, body, **headers)
            everywhere = dict.fromkeys(ELSEWHERE, text)
            canary.sends(route.method, route.at(login=login), body, **everywhere, **headers)
        for name in ELSEWHERE:
            for path in ("/balances/deposit", f"/users/{login}/enable", "/feed/online"):
                canary.sends("POST", path, b"{}", **{name: text}, **headers)
        for route in GUARDED:
            for body in _bodies_with(route, text, login):
                canary.sends(route.method, route.at(login=login), body, **headers)


def use_wrongly(canary: Canary) -> None:
    """Present it in forms that are none of a key's."""
    key = canary.key
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    for authorization in (
        *(key, f"Token {key}", f"Basic {key}", f"Basic {basic}", f"Bearer{key}", f"Bearer {key}x"),
        *(f"Bearer {key} {key}", f"Bearer {key.upper()}", f"Bearer {key[:-1]}", f"Bearer {key[3:]}"),
        *(f"BEARER {key}", f"bearer  {key}", f"Bearer {canary.other}", f"Bearer {canary.other}0"),
    ):
        for name in ("authorization", "AUTHORIZATION", "Authorization", "Proxy-Authorization"):
            canary.sends("GET", "/groups", **{name: authorization})


def _body(route: Route, login: int) -> bytes:
    assert route.body is not None
    names = {field.encode_name for field in msgspec.structs.fields(route.body) if field.required}
    return msgspec.json.encode(right_body(route.body, **({"login": login} if "login" in names else {})))


def _bodies_with(route: Route, text: str, login: int) -> Iterator[bytes]:
    """Put a text into each field of a body, and where its name or the body itself should be."""
    if route.body is None:
        return
    body = msgspec.json.decode(_body(route, login))
    for field in msgspec.structs.fields(route.body):
        for value in (text, [text], {text: text}, [{"op": "deposit", "requestId": text, "comment": text}]):
            yield msgspec.json.encode(body | {field.encode_name: value})
    yield msgspec.json.encode(body | {text: 1})
    yield text.encode()
    yield f'{{"{text}'.encode()


class TestACanary:
    def test_is_in_no_answer(self, canary: Canary) -> None:
        assert len(canary.told) > 1000
        assert not [told for told in canary.told if stands_in(told, *canary.needles)]

    def test_is_not_in_the_log_of_the_service(self, served: Served, canary: Canary) -> None:
        assert canary.served.troubles == served.troubles == []
        key_ids = {record.get("key_id") for record in records(canary.served.logged)}
        assert parts(canary.key)[0] in key_ids
        assert not stands_in(canary.served.logged, SAID_ON_PURPOSE, *canary.needles)
        assert parts(canary.key)[0] not in canary.served.said

    def test_is_not_in_the_log_of_the_database(self, canary: Canary) -> None:
        log = postgres_log(canary.served)
        assert stands_in(log, SAID_ON_PURPOSE)
        assert parts(canary.key)[0] in log
        assert not stands_in(log, *canary.needles)

    def test_is_in_no_table(self, canary: Canary) -> None:
        rows = all_rows(canary.served)
        assert stands_in(rows, SAID_ON_PURPOSE)
        assert parts(canary.key)[0] in rows
        assert "key_revoked" in rows
        assert not stands_in(rows, *canary.needles)

    def test_is_in_no_statement_that_runs(self, canary: Canary) -> None:
        queries = "\n".join(str(row) for row in canary.served.ledger.rows("SELECT * FROM pg_stat_activity"))
        assert "SELECT" in queries
        assert not stands_in(queries, *canary.needles)

    def test_is_not_in_the_list_of_processes(self, canary: Canary) -> None:
        listed = processes()
        assert "api.cli" in listed
        assert not stands_in(listed, *canary.needles)


class TestMakingAKey:
    def test_tells_it_once_and_no_list_tells_it_again(self, served: Served, shared_url: str) -> None:
        where = ("--database-url", shared_url)
        command = (sys.executable, "-m", "api.cli", "keys")
        making = (*command, "create", "--role", "admin", "--name", "told once", *where)
        made = subprocess.run(making, check=True, cwd=ROOT, capture_output=True, text=True)
        key = made.stdout.splitlines()[-1]
        key_id, secret = parts(key)
        assert made.stdout.count(secret) == 1
        assert made.stderr == ""
        again = served.command("keys", "rotate", key_id)
        for told in (
            served.command("keys", "list"),
            again,
            served.command("keys", "revoke", again.split("_")[1]),
        ):
            assert secret not in told
        assert key_id in served.command("keys", "list")
        assert secret not in all_rows(served)


def stands_in(text: str, *needles: str) -> bool:
    """Tell whether any of the needles stands in a text, as it is or as databases and headers write bytes."""
    ways = [
        way
        for needle in needles
        for way in (needle, needle.encode().hex(), base64.b64encode(needle.encode()).decode().rstrip("="))
    ]
    return any(way in text for way in ways)


def postgres_log(served: Served) -> str:
    """Read what the database server has logged."""
    log = "current_setting('data_directory') || '/../postgres.log'"
    read: bytes | None = served.ledger.value(f"SELECT pg_read_binary_file({log}, true)")
    if read is None:
        pytest.skip("the server of --database-url keeps its log elsewhere")
    return read.decode(errors="replace")


def all_rows(served: Served) -> str:
    """Give every row of every table, bytes read as text too."""
    tables = served.ledger.rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 20
    with served.ledger.connect() as connection:
        return "\n".join(
            value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            for table in tables
            for row in connection.execute(SQL("SELECT * FROM {}").format(Identifier(*table))).fetchall()
            for value in row
        )


def processes() -> str:
    """Give command line and environment of every process that can be looked at."""
    found = []
    for name in ("cmdline", "environ"):
        for process in Path("/proc").glob(f"[0-9]*/{name}"):
            try:
                found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's
    return "\n".join(found)
