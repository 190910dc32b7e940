"""Feed a real bank's operations to a running service, so that a person can look at a real history.

`../shared/data/README.md` beside the project tells what the file holds and how it is to be booked: the
n-th operation of every account goes into the n-th batch call; a withdrawal that the ledger refuses, since
it overdraws, is sent again as a charge, under the same request id, before that account's next row.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.client import (
    Adjust,
    Client,
    Command,
    Deposit,
    GroupFields,
    LedgerError,
    NoAnswer,
    Operation,
    Patience,
    Refused,
    UserFields,
    Withdraw,
)

ROOT = Path(__file__).parents[1]
FILE = ROOT.parent / "shared" / "data" / "czech-bank-1993-94.csv.gz"
GROUP = "czech-bank"
DEFINITION = GroupFields(currency="CZK", digits=2)
ITEMS_MAX = 10_000
KEY_LIFE = timedelta(hours=8)
PATIENCE = Patience(tries=5)

Result = Operation | LedgerError


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as the bank's books have it; `bank_balance` is empty where they do not foot."""

    day: str
    account: int
    trans_id: str
    kind: str
    words: str
    amount: Decimal
    sign: str
    bank_balance: Decimal | None

    @property
    def signed(self) -> Decimal:
        """What the row adds to its account."""
        return self.amount if self.sign == "+" else -self.amount

    def command(self) -> Command:
        """Give the row as a command."""
        if self.kind == "deposit":
            return Deposit(login=self.account, amount=self.amount, **self._note())
        if self.kind == "withdrawal":
            return Withdraw(login=self.account, amount=self.amount, **self._note())
        return Adjust(login=self.account, kind=self.kind, amount=self.signed, **self._note())

    def charge(self) -> Command:
        """Give a withdrawal that overdraws as what may: a charge, under the same request id."""
        return Adjust(login=self.account, kind="charge", amount=self.signed, **self._note())

    def _note(self) -> dict[str, Any]:
        return {
            "request_id": self.trans_id,
            "reference": self.trans_id,
            "comment": self.words or None,
            "effective_at": datetime.fromisoformat(f"{self.day}T12:00:00Z"),
        }


class Fed:
    """What the service answered: to each row, and to the rows that were sent again as a charge."""

    def __init__(self) -> None:
        self.answers: dict[str, Result] = {}
        self.charges: dict[str, Operation] = {}

    def booked(self, row: Row) -> Operation:
        """Give the operation that a row has become, now or in an earlier feeding."""
        answer = self.charges.get(row.trans_id, self.answers[row.trans_id])
        operation = answer.operation if isinstance(answer, Refused) else answer
        assert isinstance(operation, Operation)
        return operation


class Feeder:
    """Feeds rows through a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def open_accounts(self, rows: Sequence[Row], done: Callable[[int], None] = lambda _: None) -> None:
        """Define the group, and open the accounts that the rows name; those that are there stay."""
        self._client.define_group(GROUP, DEFINITION, request_id=f"{GROUP}:group")
        for account in sorted({row.account for row in rows}):
            fields = UserFields(login=account, group=GROUP, name=f"Account {account}")
            self._client.open_user(fields, request_id=f"{GROUP}:account:{account}")
            done(1)

    def feed(self, rows: Sequence[Row], done: Callable[[int], None] = lambda _: None) -> Fed:
        """Book the rows."""
        fed = Fed()
        for call in calls(rows):
            results = self._client.batch([row.command() for row in call])
            fed.answers |= {row.trans_id: _sound(row, result) for row, result in _pairs(call, results)}
            overdrawn = [row for row, result in _pairs(call, results) if _overdraws(result)]
            fed.charges |= {row.trans_id: self._client.book(row.charge()) for row in overdrawn}
            done(len(call))
        return fed


def read_rows(path: Path) -> list[Row]:
    """Read the file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return [_row(line) for line in csv.DictReader(lines)]


def calls(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Give the n-th operation of every account together, in parts that one call takes."""
    accounts: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        accounts[row.account].append(row)
    for nth in zip_longest(*accounts.values()):
        present = [row for row in nth if row is not None]
        for start in range(0, len(present), ITEMS_MAX):
            yield present[start : start + ITEMS_MAX]


def balances(rows: Sequence[Row]) -> dict[int, Decimal]:
    """Add up what each account must hold in the end."""
    held: dict[int, Decimal] = defaultdict(Decimal)
    for row in rows:
        held[row.account] += row.signed
    return dict(held)


def main() -> int:
    """Feed the file, with a progress bar; say how to look at an account."""
    arguments = _arguments()
    if not arguments.file.exists():
        print(f"demo-bank: there is no file {arguments.file}: name one with --file", file=sys.stderr)
        return 1
    rows = read_rows(arguments.file)
    try:
        key = _make_key(arguments)
        with Client(arguments.url, key, patience=PATIENCE) as client:
            fed = _feed_visibly(Feeder(client), rows)
    except Refused as refused:
        print(f"demo-bank: the service refuses: {refused.request_id}: {refused}", file=sys.stderr)
        return 1
    except NoAnswer as error:
        print(f"demo-bank: no answer from {arguments.url} ({error}); is `make run` running?", file=sys.stderr)
        print("Start again whenever it is: what is booked already is not booked again.", file=sys.stderr)
        return 1
    return _tell(rows, fed, url=arguments.url, key=key)


def _feed_visibly(feeder: Feeder, rows: Sequence[Row]) -> Fed:
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        accounts = progress.add_task("accounts", total=len({row.account for row in rows}))
        operations = progress.add_task("operations", total=len(rows))
        feeder.open_accounts(rows, lambda count: progress.advance(accounts, count))
        return feeder.feed(rows, lambda count: progress.advance(operations, count))


def _tell(rows: Sequence[Row], fed: Fed, *, url: str, key: str) -> int:
    operations = [fed.booked(row) for row in rows]
    again = sum(operation.repeated for operation in operations)
    printed = [row for row in rows if row.bank_balance is not None]
    different = [row for row in printed if fed.booked(row).new_balance != row.bank_balance]
    held = {row.account: fed.booked(row).new_balance for row in rows}
    busiest, count = Counter(row.account for row in rows).most_common(1)[0]
    print(f"{len(rows) - again} operations booked, {again} were booked before.")
    print(f"{len(fed.charges)} of them are withdrawals that overdrew, booked as charges.")
    print(
        f"{len(printed) - len(different)} of the {len(printed)} balances that the bank printed are the same."
    )
    print(f"The accounts hold {sum(held.values()):,} CZK together.\n")
    print(f"Account {busiest} has {count} operations. Its history; January 1994 by the bank's own days:")
    history = f"{url}/balances/history?login={busiest}"
    month = "&basis=effective&order=asc&from=1994-01-01T00:00:00Z&to=1994-02-01T00:00:00Z"
    print(f"  KEY={key}")
    print(f'  curl "{history}&format=csv" -H "Authorization: Bearer $KEY"')
    print(f'  curl "{history}{month}" -H "Authorization: Bearer $KEY"')
    print(f"The key lives for {KEY_LIFE // timedelta(hours=1)} hours.")
    return 1 if different else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo-bank", description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", default="data", help="data directory of the service, to make a key in")
    where.add_argument("--database-url", help="the service's database, where it has no data directory")
    parser.add_argument("--ledger", default="main")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the service answers")
    parser.add_argument("--file", type=Path, default=FILE, help="the bank's operations")
    return parser.parse_args()


def _make_key(arguments: argparse.Namespace) -> str:
    """Make a key that may define the group, open accounts, book and read; by the command line, as anyone."""
    where = ["--data", arguments.data]
    if arguments.database_url is not None:
        where = ["--database-url", arguments.database_url]
    expires = (datetime.now(UTC) + KEY_LIFE).isoformat()
    options = ["--role", "manager", "--name", "demo-bank", "--expires", expires, "--ledger", arguments.ledger]
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "keys", "create", *options, *where],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.splitlines()[-1]


def _sound(row: Row, result: Result) -> Result:
    """Give an answer that a row may get; raise any other."""
    if isinstance(result, Operation) or (row.kind == "withdrawal" and _overdrew(row, result)):
        return result
    raise result


def _overdrew(row: Row, error: LedgerError) -> bool:
    """Tell whether a withdrawal overdraws, or was booked as a charge by an earlier feeding for that."""
    if not isinstance(error, Refused) or error.code != "request_id_reused":
        return _overdraws(error)
    charge = error.operation
    moved = None if charge is None else (charge.kind, charge.leg.login, charge.balance_change)
    return moved == ("charge", row.account, row.signed)


def _pairs(rows: Sequence[Row], results: Sequence[Result]) -> Iterator[tuple[Row, Result]]:
    return zip(rows, results, strict=True)


def _overdraws(result: Result) -> bool:
    return isinstance(result, Refused) and result.code == "not_enough_money"


def _row(line: dict[str, str]) -> Row:
    codes = (line["operation"].strip(), line["k_symbol"].strip())
    return Row(
        day=line["day"],
        account=int(line["account"]),
        trans_id=line["trans_id"],
        kind=line["kind"],
        words=" ".join(code for code in codes if code),
        amount=Decimal(line["amount"]),
        sign=line["sign"],
        bank_balance=Decimal(line["bank_balance"]) if line["bank_balance"] else None,
    )


if __name__ == "__main__":
    sys.exit(main())
