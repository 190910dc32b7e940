"""Whatever goes wrong on the command line, one sentence says what, and what to do next; long work is seen."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from api.cli import main
from tests.service import BOUND_S, FUNDLEDGER, ROOT, Service, run, service_on, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def books(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Give a ledger with sealed events and an account, which nobody serves any more."""
    place = tmp_path_factory.mktemp("books")
    with service_on(database_url, place / "log", "--seal-key", str(place / "key.pem")) as service:
        with service.client() as client:
            client.put("/groups/standard", json={"currency": "USD"}).raise_for_status()
            client.post("/users", json={"login": 1001, "group": "standard"}).raise_for_status()
        service.stop()
    return service


@contextlib.contextmanager
def refusing_server() -> Iterator[int]:
    """Listen as a PostgreSQL that takes no password; give the port."""
    words = b'SFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with contextlib.suppress(OSError):  # the server is closed at the end
                while True:
                    caller, _ = server.accept()
                    with caller:
                        caller.recv(4096)
                        caller.sendall(b"E" + struct.pack("!i", len(words) + 4) + words)

        refuser = threading.Thread(target=refuse)
        refuser.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    refuser.join(BOUND_S)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that fails; give its one sentence."""
    code = main(words)
    output, errors = capsys.readouterr()
    assert (code, output) == (1, "")
    assert errors.startswith("fundledger: ")
    assert errors.count("\n") == 1, errors
    return errors


@pytest.mark.parametrize(
    ("words", "what", "next_step"),
    [
        ("keys list --data TMP/typo", "there is no ledger in", "give the --data that its service has"),
        ("migrate --data TMP/file/data", "Not a directory", "check the path"),
        ("keys list --database-url postgresql://x@127.0.0.1:1/x", "refused", "start PostgreSQL there"),
        ("serve --port 0 --database-url postgresql:///x?host=TMP", "No such file", "start PostgreSQL there"),
        (
            "verify --database-url postgresql://x@no.invalid/x",
            "no.invalid",
            "check the host in --database-url",
        ),
        ("keys list --database-url OTHER", "does not exist", "make it, or check the name in --database-url"),
        (
            "keys list --database-url URL --ledger nosuch",
            "there is no ledger nosuch in this database: it has main",
            "check --ledger, or make it by `fundledger migrate --database-url URL --ledger nosuch`",
        ),
        (
            "keys list --database-url EMPTY",
            "there is no ledger main in this database: it has none",
            "run `fundledger migrate --database-url URL` first",
        ),
        ("keys revoke abc --database-url URL", "no living key abc", "`fundledger keys list` shows"),
        ("keys rotate abc --database-url URL", "no living key abc", "`fundledger keys list` shows"),
        ("ledgers create main --database-url URL", "already", "use it with --ledger, or give another NAME"),
        ("demo --database-url URL", "has accounts", "give another --ledger, or another --data"),
        ("serve --simulate-from 2030-01-01T00:00:00Z --port 0 --database-url URL", "real", "give another"),
        ("serve --host no.invalid --database-url URL", "cannot serve at no.invalid", "check --host"),
        ("serve --host 192.0.2.1 --database-url URL", "cannot serve", "give a --host that this machine has"),
        ("serve --port 0 --database-url URL --seal-key TMP/file", "no seal key", "give another --seal-key"),
        ("serve --port 0 --database-url URL --seal-key TMP/no/key", "No such file", "check the path"),
        ("import TMP/no.csv --database-url URL", "no.csv: No such file", "check the path"),
        ("import TMP/file --results TMP/file --database-url URL", "over", "give another --results"),
        ("export TMP/no/log.jsonl --database-url URL", "No such file", "check the path"),
        ("seal-key show --seal-key TMP/none --database-url URL", "no seal key at", "check --seal-key"),
        ("verify --offline TMP/file --checkpoint TMP/bytes", "signed note", "give the text that GET"),
        ("verify --checkpoint TMP/none --database-url URL", "none: No such file", "check the path"),
    ],
)
def test_a_failure_says_what_to_do_next(
    words: str,
    what: str,
    next_step: str,
    books: Service,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("dear")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "bytes").write_bytes(b"\xff")
    other, empty = (re.sub(r"dbname=\S+", f"dbname={name}", database_url) for name in ("nosuch", "postgres"))
    places = {"TMP": str(tmp_path), "URL": database_url, "OTHER": other, "EMPTY": empty}
    given = []
    for word in words.split():
        for name, place in places.items():
            word = place if word == name else word.replace(f"{name}/", f"{place}/")  # noqa: PLW2901
        given.append(word.replace("host=TMP", f"host={tmp_path}"))
    errors = told(capsys, *given)
    assert what in errors
    assert next_step in errors.partition(what)[2]


def test_a_wrong_password_says_where_to_give_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    with refusing_server() as port:
        url = f"postgresql://me:between-us@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable"
        errors = told(capsys, "keys", "list", "--database-url", url)
    assert "password authentication failed" in errors
    assert "give the login's password in PGPASSWORD" in errors
    assert "between-us" not in errors


def test_a_rebuild_that_is_held_up_by_a_reader_says_so(
    books: Service, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("projections.schema.LOCK_TRIES", 1)
    with psycopg.connect(database_url) as reader:
        reader.execute("LOCK TABLE ledger_main.groups IN ACCESS SHARE MODE")
        errors = told(capsys, "rebuild", *books.where)
    assert "lock timeout; somebody reads the ledger for long: run it again" in errors


def test_a_port_that_is_taken_is_named(books: Service, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        errors = told(capsys, "serve", "--port", port, *books.where)
    assert f"127.0.0.1:{port}: Address already in use; give another --port" in errors


def test_a_fault_of_our_own_is_said_to_be_one(
    books: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("projections.schema.ledgers", lambda _: 1 // 0)
    errors = told(capsys, "ledgers", "list", *books.where)
    assert errors == "fundledger: this is a fault of fundledger's own: report it, with the lines above\n"


def test_a_full_disk_at_an_export_is_said(books: Service) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*FUNDLEDGER, "export", "-", *books.where],
            check=False,
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == ("fundledger: No space left on device; make room on that disk, and run it again\n")


def test_half_an_export_is_not_left_behind(books: Service, tmp_path: Path) -> None:
    command = ["bash", "-c", 'ulimit -f 0; exec "$@"', "-", *FUNDLEDGER, "export", str(tmp_path / "log")]
    done = subprocess.run([*command, *books.where], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large; raise the limit of file sizes" in done.stderr
    assert list(tmp_path.iterdir()) == []


# How far long work is.


def on_a_terminal(*words: str) -> tuple[str, str]:
    """Run a command with standard error on a terminal; give what it said to it, and standard output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*FUNDLEDGER, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # which says that nobody holds the other end any more
        while chunk := os.read(ours, 65_536):
            seen += chunk
    os.close(ours)
    output, _ = process.communicate(timeout=BOUND_S)
    assert process.returncode == 0, seen
    return seen.decode(), output.decode()


@pytest.mark.parametrize(
    ("words", "shown", "output"),
    [
        ("verify", "replayed 3 of 3 events", "the log holds together"),
        ("rebuild", "replayed 3 of 3 events", "rebuilt from 3 events"),
        ("export -", "written 3 of 3 events", '{"type":'),
        ("import CSV", "1 rows", "1 rows: 1 imported"),
    ],
)
def test_a_terminal_shows_a_bar_and_standard_output_none_of_it(
    words: str, shown: str, output: str, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(f"login,group\n{1100 + len(words)},standard\n")
    with served_once(database_url, tmp_path, name=words.split(maxsplit=1)[0]) as ledger:
        command = words.replace("CSV", str(file)).split()
        seen, said = on_a_terminal(*command, *ledger.where)
    assert shown in seen
    assert "━" in seen
    assert said.startswith(output)
    assert "━" not in said


@contextlib.contextmanager
def served_once(database_url: str, place: Path, *, name: str) -> Iterator[Service]:
    """Lend a ledger of three sealed events that nobody serves."""
    ledger = f"seen_{name}"
    assert run("migrate", "--database-url", database_url, "--ledger", ledger).code == 0
    with service_on(
        database_url, place / "log", "--seal-key", str(place / "key.pem"), ledger=ledger
    ) as service:
        with service.client() as client:
            client.put("/groups/standard", json={"currency": "USD"}).raise_for_status()
            client.post("/users", json={"login": 1001, "group": "standard"}).raise_for_status()
            within(BOUND_S, lambda: client.get("/audit/checkpoint").json().get("size") == 3)
        service.stop()
        yield service
