"""A ledger that is sealed step by step, and an attacker who may do anything in its database."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.sql import SQL, Identifier

from api.database import Database
from api.seal_key import SealKey
from api.sealer import Sealer
from ledger import checkpoint
from ledger.evidence import Kept
from ledger.merkle import Frontier, leaf_hash
from projections import rebuild
from tests.drive import Clock
from tests.make import define_group, deposit, open_account, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from ledger.checkpoint import Checkpoint, VerificationKey
    from tests.drive import Desk, LedgerUnderTest

LOGINS = (1001, 1002, 1003)
State = dict[str, Any]


@asynccontextmanager
async def sealer_on(
    ledger: LedgerUnderTest, key: Path, *, clock: Callable[[], Any] | None = None
) -> AsyncIterator[Sealer]:
    """Lend a sealer that seals when it is told to."""
    database = Database(ledger.database_url, ledger.name)
    await database.open()
    try:
        yield Sealer(database, SealKey.at(key), ledger=ledger.name, now=clock or Clock())
    finally:
        await database.close()


async def begin(desk: Desk) -> None:
    """Define a group and open three accounts: four events."""
    await desk.writer.submit_bulk([request(define_group())])
    await desk.writer.submit_bulk([request(open_account(login)) for login in LOGINS])


async def deposits(desk: Desk, number: int) -> None:
    """Book so many deposits on the three accounts in turn."""
    head = len(desk.ledger.positions())
    asked = [request(deposit(1 + n % 7, login=LOGINS[n % 3])) for n in range(head, head + number)]
    await desk.writer.submit_bulk(asked)


def states(ledger: LedgerUnderTest) -> list[bytes]:
    """Give the stored bytes of all events."""
    return [
        bytes(state) for (state,) in ledger.rows("SELECT state FROM ledger_events ORDER BY notification_id")
    ]


def checkpoints(ledger: LedgerUnderTest) -> list[Checkpoint]:
    """Give all stored checkpoints, as their notes say."""
    rows = ledger.rows("SELECT note FROM checkpoints ORDER BY size")
    return [checkpoint.read(note) for (note,) in rows]


def key_of(path: Path) -> VerificationKey:
    """Give the public part of a seal key."""
    return checkpoint.verification_key("", SealKey.at(path).private)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Give the root over leaf hashes."""
    tree = Frontier()
    tree.extend(b"".join(leaves))
    return tree.root


def found(ledger: LedgerUnderTest, *, key: Path | None = None, kept: Sequence[Kept] = ()) -> list[str]:
    """Verify a ledger; give what is found."""
    keys = [] if key is None else [key_of(key)]
    return list(rebuild.verify(ledger.database_url, ledger.name, keys=keys, kept=kept))


def named_by(line: str) -> range:
    """Give the positions that a finding names."""
    found = re.search(r"positions? (\d+)(?: to (\d+))?", line)
    assert found, line
    return range(int(found[1]), int(found[2] or found[1]) + 1)


class Attacker:
    """Someone with all rights in the database, and without the seal key."""

    def __init__(self, ledger: LedgerUnderTest) -> None:
        self._ledger = ledger
        self._saved: dict[str, list[tuple[Any, ...]]] = {}

    def run(self, statement: str, *params: object) -> None:
        """Do anything."""
        self._ledger.rows(statement, *params)

    def write(self, events: Mapping[int, bytes]) -> None:
        """Put other bytes in the places of events, with the hashes and the columns that fit them."""
        rows = []
        for position, state in events.items():
            event = json.loads(state)
            rows.append((position, event["stream"], event["version"], event["type"], state, leaf_hash(state)))
        with self._ledger.connect() as connection, connection.transaction():
            connection.execute("DELETE FROM ledger_events WHERE notification_id = ANY(%s)", [list(events)])
            statement = "INSERT INTO ledger_events VALUES (%s, %s, %s, %s, %s, %s)"
            connection.cursor().executemany(statement, rows)

    def change(self, position: int, **fields: object) -> None:
        """Change fields of one event, with the hash that fits."""
        state = json.loads(states(self._ledger)[position - 1])
        self.write({position: plain(state | fields)})

    def steal(self, position: int, amount: int) -> None:
        """Lower one deposit, and all that follows from it in the log, with hashes that fit."""
        before = [json.loads(state) for state in states(self._ledger)]
        stream = before[position - 1]["stream"]
        changed = {}
        for event in before[position - 1 :]:
            if event["stream"] == stream:
                lower = event | {"balance": event["balance"] - amount}
                if event["position"] == position:
                    lower |= {name: event[name] - amount for name in ("amount", "balanceChange")}
                changed[event["position"]] = plain(lower)
        self.write(changed)

    def build_the_tree_anew(self, sign: Callable[[Checkpoint], str] | None = None) -> None:
        """Bring nodes and checkpoints in line with what the log is now; sign them, or leave the old notes."""
        leaves = [leaf_hash(state) for state in states(self._ledger)]
        nodes = Frontier().extend(b"".join(leaves))
        with self._ledger.connect() as connection:
            connection.execute("DELETE FROM tree_nodes")
            rows = [(node.level, node.index, value) for node, value in nodes]
            connection.cursor().executemany("INSERT INTO tree_nodes VALUES (%s, %s, %s)", rows)
            for sealed in checkpoints(self._ledger):
                root = root_of(leaves[: sealed.size])
                connection.execute("UPDATE checkpoints SET root = %s WHERE size = %s", [root, sealed.size])
                if sign is not None:
                    note = sign(msgspec.structs.replace(sealed, root=root))
                    connection.execute(
                        "UPDATE checkpoints SET note = %s WHERE size = %s", [note, sealed.size]
                    )

    def remember(self) -> None:
        """Keep the rows that attacks change."""
        self._saved = {table: self._ledger.rows(f"SELECT * FROM {table}") for table in ATTACKED}

    def put_back(self) -> None:
        """Put those rows back."""
        with self._ledger.connect() as connection, connection.transaction():
            for table, rows in self._saved.items():
                connection.execute(SQL("DELETE FROM {}").format(Identifier(table)))
                for row in rows[:1]:
                    values = SQL(", ").join([SQL("%s")] * len(row))
                    statement = SQL("INSERT INTO {} VALUES ({})").format(Identifier(table), values)
                    connection.cursor().executemany(statement, rows)


ATTACKED = ("ledger_events", "tree_nodes", "checkpoints", "accounts", "history")


def plain(event: State) -> bytes:
    """Write an event as it is stored."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
