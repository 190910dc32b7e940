"""Two groups and three accounts with opening money, for the other examples. Run it as often as you like."""

from __future__ import annotations

import os

from api.client import Adjust, Client, GroupFields, UserFields

GROUPS = {"retail-usd": "USD", "retail-eur": "EUR"}
ACCOUNTS = (
    (910001, "retail-usd", "Ann Example", "250.00"),
    (910002, "retail-usd", "Bob Example", "80.50"),
    (920001, "retail-eur", "Eva Example", "1000.00"),
)

with Client(os.environ["LEDGER_URL"], os.environ["LEDGER_KEY"], operator="prepare.py") as ledger:
    for group, currency in GROUPS.items():
        ledger.define_group(group, GroupFields(currency=currency), request_id=f"prepare:{group}")
    for login, group, name, money in ACCOUNTS:
        fields = UserFields(login=login, group=group, name=name, country="CY", regdate=1_790_000_000)
        ledger.open_user(fields, request_id=f"prepare:{login}")
        opening = Adjust(request_id=f"prepare:{login}:money", login=login, kind="opening", amount=money)
        operation = ledger.book(opening)
        print(login, name, "begins with", operation.amount, operation.currency)
