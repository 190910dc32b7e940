"""What users of hordak do, as a process of hordak's own environment: open accounts, book deposits, read."""

# ruff: noqa: E402 - there are no models before Django is set up

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from django.core.management import call_command
from django.db import connection, transaction
from hordak.models import Account, AccountType, Leg, Transaction
from moneyed import Money

# The same as in bench/ground.py: what was booked is compared with it.
AMOUNT = Money("125.50", "USD")
COMMENT = "card payment"
BANK = "bank"


def main() -> None:
    """Do what the first argument says with the numbers after it."""
    commands: dict[str, Callable[..., None]] = {"prepare": prepare, "book": book, "read": read}
    command, *numbers = sys.argv[1:]
    commands[command](*map(int, numbers))


def prepare(login_first: int, logins: int, past: int) -> None:
    """Make hordak's tables, a bank's account, and accounts of clients with deposits on each."""
    call_command("migrate", verbosity=0)
    bank = Account.objects.create(name=BANK, type=AccountType.asset, is_bank_account=True)
    with transaction.atomic():
        clients = [
            Account.objects.create(name=str(login), type=AccountType.liability)
            for login in range(login_first, login_first + logins)
        ]
    for _ in range(past):
        _deposit_on_each(clients, bank)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _deposit_on_each(clients: list[Any], bank: Any) -> None:
    with transaction.atomic():
        deposits = Transaction.objects.bulk_create(Transaction(description=COMMENT) for _ in clients)
        pairs = list(zip(deposits, clients, strict=True))
        Leg.objects.bulk_create(Leg(transaction=to, account=client, credit=AMOUNT) for to, client in pairs)
        Leg.objects.bulk_create(Leg(transaction=to, account=bank, debit=AMOUNT) for to, _ in pairs)


def book(*numbers: int) -> None:
    """Be the tellers of these numbers: book when a line says how many shall, from when and till when."""
    bank = Account.objects.get(name=BANK)
    clients = list(Account.objects.exclude(name=BANK))
    tellers = [Teller(number, bank, clients) for number in numbers]
    with ThreadPoolExecutor(len(tellers)) as threads:
        print("ready", flush=True)
        for line in sys.stdin:
            count, *span = json.loads(line)
            used = time.process_time()
            working = [threads.submit(teller.work, *span) for teller in tellers[:count]]
            print(_told([each.result() for each in working], cpu=time.process_time() - used), flush=True)


def _told(done: list[tuple[list[float], Counter[str]]], *, cpu: float) -> str:
    return json.dumps(
        {
            "times_us": list(chain.from_iterable(times_us for times_us, _ in done)),
            "booked": sum((booked for _, booked in done), Counter()),
            "cpu_us": cpu * 1e6,
        }
    )


class Teller:
    """Books deposits one after the other, each committed before the next, on a connection of its own."""

    def __init__(self, number: int, bank: Any, clients: list[Any]) -> None:
        self._bank = bank
        self._turn = cycle(random.Random(number).sample(clients, len(clients)))

    def work(self, begin: float, end: float) -> tuple[list[float], Counter[str]]:
        """Book till the end; give the us that each took from the beginning on, and how many each name got."""
        times_us: list[float] = []
        booked: Counter[str] = Counter()
        now = time.monotonic()
        while now < end:
            started, client = now, next(self._turn)
            with transaction.atomic():
                client.transfer_to(self._bank, AMOUNT, description=COMMENT)
            now = time.monotonic()
            booked[client.name] += 1
            if begin <= now < end:
                times_us.append((now - started) * 1e6)
        return times_us, booked


def read() -> None:
    """Tell how many transactions and legs there are, and all balances as hordak finds them."""
    Account.validate_accounting_equation()
    found = {
        "transactions": Transaction.objects.count(),
        "legs": Leg.objects.count(),
        "balances": {
            account.name: str(account.balance[AMOUNT.currency].amount)
            for account in Account.objects.with_balances()
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
