"""Book a payment provider's callbacks: each payment once, however often and in whatever form it is told.

A provider tells of a payment until it is answered with 200, so it may tell of it twice. The payment's own id
is the request id: it is the same in every delivery.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from decimal import Decimal

from api.client import AlreadyApplied, Client, Deposit, NoAnswer, Refused, Unauthorized

SECRET = b"shared with the provider"


def receive(ledger: Client, body: bytes, signature: str) -> tuple[int, str]:
    """Answer one callback: the status for the provider, and a line for the log."""
    if not hmac.compare_digest(signature, sign(body)):
        return 401, "not the provider's signature"
    payment = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    deposit = Deposit(
        request_id=f"psp:{payment['id']}",
        login=int(payment["account"]),
        amount=payment["amount"],
        method="card",
        reference=payment["id"],
    )
    try:
        operation = ledger.book(deposit)
    except AlreadyApplied as done:  # somebody booked this payment by hand, under a request id of theirs
        return 200, f"was booked as {done.problem.operation_id}"
    except (NoAnswer, Unauthorized) as away:  # not known, or our key's fault: the provider tells us again
        return 503, f"not known yet: {away}"
    except Refused as refused:  # telling us again would not help: a person has to look
        return 200, f"for a person to look at: {refused}"
    return 200, f"{'was booked' if operation.repeated else 'booked'} as {operation.operation_id}"


def sign(body: bytes) -> str:
    """Sign as the provider does."""
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


def main() -> None:
    """Deliver what a provider might, and print what it is answered."""
    paid = b'{"id": "pay_7001", "account": "910001", "amount": 120.00}'
    deliveries = (
        ("a payment", paid, sign(paid)),
        ("the same again", paid, sign(paid)),
        ("a forgery", paid.replace(b"120", b"920"), sign(paid)),
        ("by hand before", b'{"id": "pay_7002", "account": "910002", "amount": 15.5}', None),
        ("another amount", paid.replace(b"120.00", b"121.00"), None),
        ("no such account", b'{"id": "pay_7003", "account": "4711", "amount": 10.00}', None),
    )
    with Client(os.environ["LEDGER_URL"], os.environ["LEDGER_KEY"], operator="payment-callback") as ledger:
        by_hand = Deposit(
            request_id="ticket-88", login=910002, amount="15.50", method="card", reference="pay_7002"
        )
        ledger.book(by_hand)
        for name, body, signature in deliveries:
            status, words = receive(ledger, body, signature or sign(body))
            print(f"{name:15} {status} {words}")


main()
