"""Keep a mirror of the log in a database of your own: every event once, in order, its bytes checked.

The mirror knows by itself how far it has come, so it can be stopped and started at any moment. To follow the
ledger as it books, call `ledger.follow(after=...)` instead of `ledger.events(after=...)`.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys

from api.client import Client, Deposit, LoggedEvent

TABLE = """CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY, type TEXT, operation TEXT, request TEXT, operator TEXT, login INTEGER,
    recorded_at TEXT, leaf_hash TEXT, data BLOB)"""


def mirror(ledger: Client, database: sqlite3.Connection) -> int:
    """Fetch what is new; give how many events that was."""
    database.execute(TABLE)
    [(before,)] = database.execute("SELECT coalesce(max(position), 0) FROM events")
    count = 0
    for event in ledger.events(after=before):
        check(event)
        with database:  # a transaction for each event: what is in the mirror stays there
            database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row(event))
        count += 1
    return count


def check(event: LoggedEvent) -> None:
    """Hold the bytes against their leaf hash; it is missing where something was blanked for this key."""
    found = hashlib.sha256(b"\x00" + bytes(event.data)).hexdigest()
    if event.leaf_hash not in {found, None}:
        raise ValueError(f"event {event.position} is not what was sealed")


def row(event: LoggedEvent) -> tuple[object, ...]:
    """Give an event as a row."""
    return (
        event.position,
        event.type,
        event.operation_id,
        event.request_id,
        event.operator_id,
        event.login,
        event.recorded_at.isoformat(),
        event.leaf_hash,
        bytes(event.data),
    )


def run(ledger: Client) -> None:
    """Open the mirror, bring it up to date, and close it."""
    database = sqlite3.connect(sys.argv[1])
    print("new events:", mirror(ledger, database))
    [last] = database.execute("SELECT position, type, login, request FROM events ORDER BY 1 DESC LIMIT 1")
    print("the last one:", *last)
    database.close()


def main() -> None:
    """Run the mirror, book something, and run it again."""
    with Client(os.environ["LEDGER_URL"], os.environ["LEDGER_KEY"], operator="mirror") as ledger:
        run(ledger)
        ledger.book(Deposit(request_id="mirror:1", login=910001, amount="1.00"))
        run(ledger)


main()
