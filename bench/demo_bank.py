"""Feed a real bank's operations to a running service, so that a person can look at a real history.

`../shared/data/README.md` beside the project tells what the file holds and how it is to be booked: the
n-th operation of every account goes into the n-th batch call; a withdrawal that the ledger refuses, since
it overdraws, is sent again as a charge, under the same request id, before that account's next row.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).parents[1]
FILE = ROOT.parent / "shared" / "data" / "czech-bank-1993-94.csv.gz"
GROUP = "czech-bank"
DEFINITION = {"currency": "CZK", "digits": 2}
ITEMS_MAX = 10_000
KEY_LIFE = timedelta(hours=8)

Result = dict[str, Any]


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

    def item(self) -> dict[str, object]:
        """Give the row as an item of a batch call."""
        if self.kind in {"deposit", "withdrawal"}:
            op = "deposit" if self.kind == "deposit" else "withdraw"
            return self._item(op, amount=self.amount)
        return self._item("adjust", kind=self.kind, amount=self.signed)

    def charge(self) -> dict[str, object]:
        """Give a withdrawal that overdraws as what may: a charge, under the same request id."""
        return self._item("adjust", kind="charge", amount=self.signed)

    def _item(self, op: str, *, amount: Decimal, **more: object) -> dict[str, object]:
        return {
            "op": op,
            "requestId": self.trans_id,
            "login": self.account,
            **more,
            "amount": amount,
            "reference": self.trans_id,
            "comment": self.words or None,
            "effectiveAt": f"{self.day}T12:00:00Z",
        }


class Refused(Exception):
    """The service answered what no file of the bank's can be booked with."""


class Fed:
    """What the service answered: to each row, and to the rows that were sent again as a charge."""

    def __init__(self) -> None:
        self.answers: dict[str, Result] = {}
        self.charges: dict[str, Result] = {}

    def statuses(self) -> Counter[tuple[int, str | None]]:
        """Count the answers to the rows by status and code."""
        return Counter((answer["httpStatus"], answer.get("code")) for answer in self.answers.values())

    def booked(self, row: Row) -> Result:
        """Give the operation that a row has become, now or in an earlier feeding."""
        answer = self.charges.get(row.trans_id, self.answers[row.trans_id])
        operation: Result = answer.get("operation", answer)
        return operation


class Feeder:
    """Feeds rows through a client that carries a key."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def open_accounts(self, rows: Sequence[Row], done: Callable[[int], None] = lambda _: None) -> None:
        """Define the group, and open the accounts that the rows name; those that are there stay."""
        self._define("PUT", f"/groups/{GROUP}", DEFINITION, request_id=f"{GROUP}:group")
        for account in sorted({row.account for row in rows}):
            body = {"login": account, "group": GROUP, "name": f"Account {account}"}
            self._define("POST", "/users", body, request_id=f"{GROUP}:account:{account}")
            done(1)

    def feed(self, rows: Sequence[Row], done: Callable[[int], None] = lambda _: None) -> Fed:
        """Book the rows."""
        fed = Fed()
        for call in calls(rows):
            results = self._send([row.item() for row in call])
            fed.answers |= {row.trans_id: _sound(row, result) for row, result in _pairs(call, results)}
            overdrawn = [row for row, result in _pairs(call, results) if _overdraws(result)]
            if overdrawn:
                results = self._send([row.charge() for row in overdrawn])
                fed.charges |= {
                    row.trans_id: _sound(row, result) for row, result in _pairs(overdrawn, results)
                }
            done(len(call))
        return fed

    def _send(self, items: list[dict[str, object]]) -> list[Result]:
        content = _wire.encode({"operations": items})
        answer = self._client.post("/balances/batch", content=content)
        if answer.status_code != 200:
            raise Refused(answer.text)
        results: list[Result] = json.loads(answer.text, parse_float=Decimal)["results"]
        return results

    def _define(self, method: str, path: str, body: dict[str, Any], *, request_id: str) -> None:
        answer = self._client.request(method, path, json=body, headers={"x-request-id": request_id})
        if answer.status_code not in {200, 201, 409}:
            raise Refused(answer.text)


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
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=arguments.url, headers=headers, timeout=60, trust_env=False) as client:
            fed = _feed_visibly(Feeder(client), rows)
    except Refused as refused:
        print(f"demo-bank: the service refuses: {refused}", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
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
    statuses = fed.statuses()
    again = statuses[409, "request_applied"] + statuses[400, "request_id_reused"]
    printed = [row for row in rows if row.bank_balance is not None]
    different = [row for row in printed if fed.booked(row)["newBalance"] != row.bank_balance]
    held = {row.account: fed.booked(row)["newBalance"] for row in rows}
    busiest, operations = Counter(row.account for row in rows).most_common(1)[0]
    print(f"{statuses[201, None] + len(fed.charges)} operations booked, {again} were booked before.")
    print(f"{len(fed.charges)} of them are withdrawals that overdrew, booked as charges.")
    print(
        f"{len(printed) - len(different)} of the {len(printed)} balances that the bank printed are the same."
    )
    print(f"The accounts hold {sum(held.values()):,} CZK together.\n")
    print(f"Account {busiest} has {operations} operations. Its history; January 1994 by the bank's own days:")
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
    """Give an answer that a row may get; Refused for any other."""
    match result.get("code"):
        case None | "request_applied":
            return result
        case "not_enough_money" if row.kind == "withdrawal":
            return result
        case "request_id_reused" if _is_charge(row, result["operation"]):
            return result
    raise Refused(f"{row.trans_id}: {result['detail']} ({result['code']})")


def _is_charge(row: Row, operation: Result) -> bool:
    """Tell whether an operation is what an earlier feeding made of a withdrawal that overdrew."""
    moved = (operation["kind"], operation["login"], operation["balanceChange"])
    return row.kind == "withdrawal" and moved == ("charge", row.account, row.signed)


def _pairs(rows: Sequence[Row], results: Sequence[Result]) -> Iterator[tuple[Row, Result]]:
    return zip(rows, results, strict=True)


def _overdraws(result: Result) -> bool:
    return result.get("code") == "not_enough_money"


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


_wire = msgspec.json.Encoder(decimal_format="number")

if __name__ == "__main__":
    sys.exit(main())
