"""What an auditor does on the command line: seal-key, export, and verify with and without a database."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api.cli.evidence import KEEP
from api.embedded import EmbeddedPostgres
from ledger import checkpoint
from tests.service import BOUND_S, FUNDLEDGER, ROOT, Service, embedded_service, rows, superuser_url, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service import Ran

WHOLE = "the log holds together and the read models are what it adds up to"
EXPORTED = "events hold together, and each balance is what its events add up to"


class Audit:
    """A served ledger with something in it, its data directory, and what its auditor has been handed."""

    def __init__(self, service: Service, scratch: Path) -> None:
        self.service = service
        self.data = Path(service.where[1])
        self.scratch = scratch
        self.client = service.client()
        self.client.put("/groups/standard", json={"currency": "USD"}).raise_for_status()
        self.client.post("/users", json={"group": "standard", "login": 1001}).raise_for_status()
        self.public_key = self.done("seal-key", "show").last_line
        self.deposit(5)
        self.kept = self.keep("march.txt")
        self.deposit(5)
        self.newest = self.keep("may.txt")
        self.export = scratch / "log.jsonl"
        self.done("export", str(self.export))

    def deposit(self, number: int) -> None:
        """Book so many deposits."""
        for _ in range(number):
            body, identity = {"login": 1001, "amount": 10}, {"x-request-id": f"r{self.head + 1}"}
            self.client.post("/balances/deposit", json=body, headers=identity).raise_for_status()

    @property
    def head(self) -> int:
        """The last position of the log."""
        [[position]] = self.rows("SELECT max(notification_id) FROM ledger_events")
        assert isinstance(position, int)
        return position

    def keep(self, name: str) -> Path:
        """Have everything sealed, and keep the checkpoint as an auditor does."""
        head, file = self.head, self.scratch / name

        def sealed() -> bool:
            answer = self.client.get("/audit/checkpoint", headers={"accept": "text/plain"})
            file.write_text(answer.text)
            return answer.status_code == 200 and checkpoint.read(answer.text).size >= head

        within(BOUND_S, sealed)
        return file

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Do anything as superuser."""
        return rows(superuser_url(self.data), statement)

    def done(self, *words: str) -> Ran:
        """Run a command that must do what it is asked for."""
        found = self.service.command(*words)
        assert found.code == 0, found.output + found.errors
        return found

    def offline(self, export: Path, *words: str) -> Ran:
        """Verify an export; what the service's database says is of no account."""
        return Service(("--database-url", "postgresql://nobody@nowhere.invalid/none"), export).command(
            "verify", "--offline", str(export), *words
        )


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    """Yield an audit of a ledger on a data directory of its own."""
    with embedded_service() as service:
        audit = Audit(service, tmp_path_factory.mktemp("audit"))
        yield audit
        audit.client.close()


def test_a_ledger_is_verified_with_its_seals(audit: Audit) -> None:
    head = audit.head
    assert audit.done("verify").output.splitlines() == [WHOLE, f"sealed up to position {head} of {head}"]
    words = (
        "--checkpoint",
        str(audit.kept),
        "--checkpoint",
        str(audit.newest),
        "--public-key",
        audit.public_key,
    )
    assert audit.done("verify", *words).output.startswith(WHOLE)


def test_an_export_is_verified_without_a_database(audit: Audit) -> None:
    done = audit.offline(audit.export, "--checkpoint", str(audit.newest), "--public-key", audit.public_key)
    assert (done.code, done.errors) == (0, "")
    head = len(audit.export.read_bytes().splitlines())
    assert done.output == f"the {head} {EXPORTED}\nsealed up to position {head} of {head}\n"


def test_an_export_holds_the_stored_bytes_of_all_sealed_events_and_is_private(audit: Audit) -> None:
    [[stored]] = audit.rows(
        "SELECT string_agg(state || E'\\n'::bytea, '' ORDER BY notification_id) FROM ledger_events"
    )
    assert audit.export.read_bytes() == stored
    assert audit.export.stat().st_mode & 0o777 == 0o600


def test_an_export_goes_through_pipes(audit: Audit) -> None:
    words = (*FUNDLEDGER, "export", "-", *audit.service.where)
    exported = subprocess.run(words, check=True, cwd=ROOT, capture_output=True).stdout
    assert exported.startswith(audit.export.read_bytes())
    checking = (*FUNDLEDGER, "verify", "--offline", "-", "--checkpoint", str(audit.kept))
    done = subprocess.run(checking, check=True, cwd=ROOT, capture_output=True, input=exported)
    size = checkpoint.read(audit.kept.read_text()).size
    assert done.stdout.decode().splitlines()[1] == (
        f"sealed up to position {size} of {len(exported.splitlines())};"
        " the signatures were not checked: see --public-key"
    )


def test_an_export_that_was_edited_does_not_pass(audit: Audit) -> None:
    edited = audit.scratch / "edited.jsonl"
    edited.write_bytes(audit.export.read_bytes().replace(b'"requestId":"r6"', b'"requestId":"r0"'))
    done = audit.offline(edited, "--checkpoint", str(audit.kept), "--checkpoint", str(audit.newest))
    size = checkpoint.read(audit.kept.read_text()).size
    assert done.code == 1
    assert done.output == (
        f"not what was sealed: positions 1 to {size}; the checkpoint {audit.kept} does not agree\n"
    )
    assert done.errors == f"fundledger: 1 differences; {KEEP}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["verify", "--offline", "{export}"], 2),
        (["verify", "--public-key", "mine"], 2),
        (["verify", "--checkpoint", "nowhere.txt"], 1),
        (["verify", "--offline", "nowhere.jsonl", "--checkpoint", "{kept}"], 1),
        (["verify", "--checkpoint", "{export}"], 1),
        (["export", "nowhere/log.jsonl"], 1),
        (["seal-key", "show", "--seal-key", "nowhere.pem"], 1),
    ],
)
def test_what_cannot_be_done_is_said(audit: Audit, words: list[str], code: int) -> None:
    given = [word.format(export=audit.export, kept=audit.kept) for word in words]
    done = audit.service.command(*given)
    assert done.code == code
    assert "Traceback" not in done.errors + done.output


def test_a_key_that_is_not_the_ledgers_own_does_not_make_its_checkpoints_false(audit: Audit) -> None:
    """The data directory's key is known besides those that are given."""
    other = "else+" + audit.public_key.split("+", 1)[1]
    assert audit.service.command("verify", "--public-key", other).code == 2
    assert audit.offline(audit.export, "--checkpoint", str(audit.kept), "--public-key", other).code == 2


def test_a_rewritten_ledger_is_not_sealed_again_and_its_auditor_sees_it(audit: Audit) -> None:
    """Whoever has the database, and removes all seals, has neither the key nor the note beside it."""
    audit.service.stop()
    with EmbeddedPostgres(audit.data).session() as url:
        for statement in (REWRITE, "DELETE FROM tree_nodes", "DELETE FROM checkpoints"):
            rows(url, statement)
    audit.service.start()
    within(BOUND_S, lambda: "NOTHING IS SEALED" in audit.service.logged())
    assert audit.client.get("/readyz").json()["sealing"] == "halted"
    assert audit.client.get("/audit/checkpoint").json()["code"] == "not_sealed"
    audit.deposit(1)
    own = audit.data / "sealed-main.txt"
    said = audit.service.command("verify")
    assert said.code == 1
    assert f"the checkpoint {own} does not agree" in said.output
    own.rename(audit.scratch / "sealed-main.txt")
    said = audit.service.command("verify", "--checkpoint", str(audit.kept))
    assert said.code == 1
    assert re.search(rf"positions 1 to \d+; the checkpoint {audit.kept} does not agree", said.output)


REWRITE = r"""
    WITH changed AS (
        SELECT notification_id, convert_to(
            replace(convert_from(state, 'UTF8'), '"requestId":"r6"', '"requestId":"r0"'), 'UTF8'
        ) AS state
        FROM ledger_events
    )
    UPDATE ledger_events AS e SET state = changed.state, leaf_hash = sha256('\x00'::bytea || changed.state)
    FROM changed WHERE e.notification_id = changed.notification_id
"""
