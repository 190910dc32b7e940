"""Back up and restore by the commands that docs/operations.md shows, as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ledger import checkpoint, merkle
from tests.postgres_shell import PostgresShell
from tests.service import (
    BOUND_S,
    FUNDLEDGER,
    KEPT,
    ROOT,
    Ran,
    Service,
    day_lasts,
    free_port,
    rows,
    scratch_directory,
    service_on,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
WHOLE = "the log holds together and the read models are what it adds up to"
LOGINS = (1001, 1002, 1003)
CONTEXT = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = '32MB'
"""


def commands() -> list[str]:
    """Give the commands of the two sections, block by block."""
    text = OPERATIONS[OPERATIONS.index("\n## Back up\n") : OPERATIONS.index("\n## Check and rebuild\n")]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PLACES, ARCHIVE, BACK_UP, PRUNE, NAME_IT, RESTORE, CHECK, KEEP_HISTORY, PUT_AWAY = commands()


class Machine:
    """A database machine: a PostgreSQL with its own account, and a shell of that account."""

    def __init__(self, scratch: Path) -> None:
        self._shell = PostgresShell(scratch)
        self.port, self.restored_port = free_port(), free_port()
        self.keys = scratch / "keys"
        self.keys.mkdir()
        self._live, self._restored = "data", "restored"

    @property
    def places(self) -> dict[str, str]:
        """What the variables of the first block are here."""
        server = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres"}
        seen = self._shell.seen
        database = {"PGDATABASE": "fundledger", "PGDATA": f"{seen}/{self._live}", "LEDGER": "main"}
        backups = {"BACKUPS": f"{seen}/backups", "BASE": f"{seen}/backups/base-1"}
        restored = {"RESTORED": f"{seen}/{self._restored}", "RESTORED_PORT": str(self.restored_port)}
        return {**server, **database, **backups, **restored, "OPERATION": "0", "KEYS": str(self.keys)}

    def url(self, port: int) -> str:
        """Give the address of one of its servers."""
        return f"postgresql://postgres@127.0.0.1:{port}/fundledger"

    def begin(self) -> None:
        """Make the server with an empty database, and start it."""
        self.shell(
            "initdb -U postgres -A trust -E UTF8 --locale=C -k >/dev/null"
            f"\necho {shlex.quote(CONTEXT)}port={self.port} >> $PGDATA/postgresql.conf"
            "\npg_ctl start\ncreatedb"
        )

    def end(self) -> None:
        """End its servers, whichever run."""
        for running in self._shell.home.glob("*/postmaster.pid"):
            self.shell(f"pg_ctl stop -m immediate -D {self._shell.seen}/{running.parent.name}")

    def archived(self) -> dict[str, int]:
        """Give the archived segments of WAL by name, with their sizes."""
        archive = self._shell.home / "backups" / "wal"
        return {file.name: file.stat().st_size for file in archive.glob(f"{'?' * 24}.gz")}

    def put_in_place(self) -> None:
        """Put the restored server in the place of the old one, which has been stopped."""
        self.shell('pg_ctl stop -m fast -D "$RESTORED"')
        self.shell(KEEP_HISTORY)
        self._live, self._restored = self._restored, f"{self._restored}-again"
        self.shell("pg_ctl start")

    def shell(self, command: str, **variables: str) -> str:
        """Run commands as the account; give the last line that they printed."""
        return self._shell.run(command, self.places | variables)


class Books:
    """What callers see and do of a ledger over HTTP."""

    def __init__(self, service: Service, key: str) -> None:
        self._client = httpx.Client(
            base_url=service.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=BOUND_S,
            limits=KEPT,
            trust_env=False,
        )

    def ask(self, path: str, **query: str | int) -> Any:
        """Read; figures stay text."""
        return self._client.get(path, params=query).raise_for_status().text

    def ready(self) -> str:
        """Say how sealing stands."""
        return str(self._client.get("/readyz").json()["sealing"])

    def open(self) -> None:
        """Define a group and open the accounts."""
        self._client.put("/groups/standard", json={"currency": "USD"}).raise_for_status()
        for login in LOGINS:
            self._client.post("/users", json={"group": "standard", "login": login}).raise_for_status()

    def deposit(self, request_id: str, amounts: tuple[float, ...]) -> int:
        """Deposit on the accounts in one transaction; give the first operation's number."""
        items = [
            {"op": "deposit", "requestId": f"{request_id}-{login}", "login": login, "amount": amount}
            for login, amount in zip(LOGINS, amounts, strict=True)
        ]
        body = {"operations": items, "atomic": True}
        answer = self._client.post("/balances/batch", json=body).raise_for_status()
        return int(answer.json()["results"][0]["operationId"].removeprefix("bal_"))

    def figures(self) -> list[Any]:
        """Give every account, balance, line of history and total, digit by digit."""
        accounts = exactly(self.ask("/accounts", groupFilter="*", limit=100, offset=0))
        history = exactly(self.ask("/balances/history", limit=1000, groupFilter="*", totals="true"))
        assert accounts.pop("asOf")  # when it was asked
        assert len(accounts["rows"]) == len(LOGINS) <= len(history["rows"])
        assert history["totals"]
        return [accounts, history]

    def checkpoint(self) -> str:
        """Give the newest checkpoint as an auditor keeps it."""
        asked = self._client.get("/audit/checkpoint", headers={"accept": "text/plain"})
        return asked.raise_for_status().text

    def sealed(self) -> int:
        """Say how many events the newest checkpoint covers; none before the first."""
        asked = self._client.get("/audit/checkpoint")
        if asked.status_code == httpx.codes.NOT_FOUND:
            return 0
        return int(asked.raise_for_status().json()["size"])

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Disaster:
    """A ledger that was backed up, booked on, and restored to one operation in the middle."""

    def __init__(self, machine: Machine, scratch: Path) -> None:
        self.machine = machine
        self.scratch = scratch
        self.key = ""
        self.kept = scratch / "kept.txt"
        self.kept_earlier = scratch / "kept-earlier.txt"
        machine.begin()
        machine.shell(ARCHIVE)
        self.service_options = ("--seal-key", str(machine.keys / "seal-key.pem"))
        url = machine.url(machine.port)
        migrated = Service(("--database-url", url), scratch / "log").command("migrate")
        assert migrated.code == 0, migrated.errors
        with service_on(url, scratch / "log", *self.service_options) as service:
            self.key = service.key()
            with closing(Books(service, self.key)) as books:
                self._live(books)
        self.transaction = machine.shell(NAME_IT, OPERATION=str(self.operation))
        self.transaction_lost = machine.shell(NAME_IT, OPERATION=str(self.lost))
        machine.shell("pg_ctl stop -m fast")
        machine.shell(RESTORE, XID=self.transaction)

    def _live(self, books: Books) -> None:
        books.open()
        books.deposit("before", (0.1, 0.2, 3000))
        self.machine.shell(BACK_UP)
        self.archived_before = self.machine.archived()
        self.machine.shell(PRUNE)
        books.deposit("more", (10.01, 20.02, 30.03))
        self.operation = books.deposit("named", (1, 2, 3))
        self.figures = books.figures()
        self._keep(books, self.kept_earlier)
        for number in range(3):
            self.lost = books.deposit(f"lost-{number}", (7, 7, 7))
        assert books.figures() != self.figures
        self._keep(books, self.kept)
        self.log_lost = self.log(self.machine.port)

    def _keep(self, books: Books, file: Path) -> None:
        """Keep a checkpoint over the whole log, as the auditor does."""
        head = self.head(self.machine.port)
        within(BOUND_S, lambda: books.sealed() == head)
        file.write_text(books.checkpoint())

    def head(self, port: int) -> int:
        """Give the last position."""
        [[last]] = rows(self.machine.url(port), "SELECT max(notification_id) FROM ledger_events")
        assert isinstance(last, int)
        return last

    def log(self, port: int) -> list[tuple[Any, ...]]:
        """Give every event."""
        return rows(self.machine.url(port), "SELECT * FROM ledger_events ORDER BY notification_id")

    def verified(self, *words: str) -> Ran:
        """Verify the restored ledger by the document's command, with more words."""
        script = f"{FUNDLEDGER_HERE}\n{CHECK.rstrip()} {shlex.join(words)}"
        done = subprocess.run(
            ["bash", "-euc", script],
            check=False,
            cwd=ROOT,
            env={**os.environ, **self.machine.places},
            capture_output=True,
            text=True,
            timeout=BOUND_S,
        )
        return Ran(done)

    def serve(self) -> Any:
        """Serve the restored ledger."""
        url = self.machine.url(self.machine.restored_port)
        return service_on(url, self.scratch / "log", *self.service_options)


def exactly(text: str) -> Any:
    """Read JSON with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


FUNDLEDGER_HERE = f'fundledger() {{ {shlex.join(FUNDLEDGER)} "$@"; }}'


@pytest.fixture(scope="module")
def disaster() -> Iterator[Disaster]:
    """Yield a restored ledger; the tests go on with it one after the other."""
    day_lasts(timedelta(minutes=3))  # figures tell of the day before, too
    with scratch_directory() as scratch:
        machine = Machine(scratch)
        try:
            yield Disaster(machine, scratch)
        finally:
            machine.end()


def test_the_document_says_where_everything_is_and_nothing_else_is_put_in(disaster: Disaster) -> None:
    assert set(re.findall(r"\b([A-Z_]+)=", PLACES)) == set(disaster.machine.places)


def test_a_ledger_restored_to_an_operation_ends_with_its_transaction_and_verifies(disaster: Disaster) -> None:
    done = disaster.verified()
    assert (done.code, done.output.splitlines()[0]) == (0, WHOLE), done.output + done.errors
    assert disaster.head(disaster.machine.restored_port) == disaster.operation + len(LOGINS) - 1


def test_what_was_archived_before_the_base_backup_is_pruned_and_what_remains_is_small(
    disaster: Disaster,
) -> None:
    archived = disaster.machine.archived()
    assert min(disaster.archived_before) == "000000010000000000000001.gz"
    assert min(archived) == "000000010000000000000002.gz"
    assert max(archived.values()) < 2**24 / 5


def test_the_transaction_is_named_too_where_nothing_was_written_since_the_last_file_was_archived(
    disaster: Disaster,
) -> None:
    live = disaster.machine
    live.shell("pg_ctl start")
    named = [live.shell(NAME_IT, OPERATION=str(disaster.operation)) for _ in ("written", "at rest")]
    live.shell("pg_ctl stop -m fast")
    assert named == [disaster.transaction] * 2


def test_it_serves_that_operation_s_figures_to_the_cent_and_seals_nothing_yet(
    disaster: Disaster,
) -> None:
    with disaster.serve() as service, closing(Books(service, disaster.key)) as books:
        assert books.figures() == disaster.figures
        within(BOUND_S, lambda: books.ready() == "halted")


def test_a_fork_after_a_restore_is_reported_by_the_checkpoint_that_was_kept(disaster: Disaster) -> None:
    kept = checkpoint.read(disaster.kept.read_text())
    subprocess.run(["bash", "-euc", PUT_AWAY], check=True, env={**os.environ, **disaster.machine.places})
    with disaster.serve() as service, closing(Books(service, disaster.key)) as books:
        for number in range(4):
            books.deposit(f"else-{number}", (9, 9, 9))
        head = disaster.head(disaster.machine.restored_port)
        within(BOUND_S, lambda: books.sealed() == head)
        told = httpx.Response(200, text=books.ask("/audit/consistency", **{"from": kept.size})).json()
    assert not proves(told, kept.root)
    assert proves(told, bytes.fromhex(told["fromRoot"]))  # a control: the proof holds for what the fork was
    done = disaster.verified("--checkpoint", str(disaster.kept_earlier), "--checkpoint", str(disaster.kept))
    first = disaster.operation + len(LOGINS)
    assert done.code == 1
    assert f"positions {first} to {kept.size}; the checkpoint {disaster.kept} does not agree" in done.output
    assert disaster.verified().code == 0


def test_going_back_once_more_from_the_same_base_backup_keeps_to_its_own_history_and_goes_on_archiving(
    disaster: Disaster,
) -> None:
    machine = disaster.machine
    machine.put_in_place()
    machine.shell(NAME_IT, OPERATION=str(disaster.operation))  # it waits for its WAL to be archived
    machine.shell("pg_ctl stop -m fast")
    machine.shell(RESTORE, XID=disaster.transaction_lost)
    assert disaster.verified().code == 0
    assert disaster.log(machine.restored_port) == disaster.log_lost
    machine.put_in_place()
    assert machine.shell(NAME_IT, OPERATION=str(disaster.lost)) == disaster.transaction_lost
    asked = "SELECT timeline_id, failed_count FROM pg_control_checkpoint(), pg_stat_archiver"
    assert rows(machine.url(machine.port), asked) == [(3, 0)]


def proves(told: dict[str, Any], old_root: bytes) -> bool:
    """Check a consistency proof from an old root."""
    proof = [bytes.fromhex(found) for found in told["proof"]]
    return merkle.extends(
        old_root, bytes.fromhex(told["toRoot"]), old=told["from"], new=told["to"], proof=proof
    )
