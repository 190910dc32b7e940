"""Work off a queue of withdrawals: take the money out, pay it, and put it back where the bank says no.

Taking it out reserves it: nobody can spend or lose it while the payout is on its way. Each step has a request
id made of the queue's own number, so a worker that dies anywhere does the step again and books nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from api.client import Client, Refused, Reverse, Withdraw


@dataclass
class Payout:
    """A row of the queue, as your own database keeps it."""

    number: int
    login: int
    amount: Decimal
    state: str = "asked"
    operation_id: str | None = None
    words: str = ""


def take_out(ledger: Client, payout: Payout) -> None:
    """Reserve the money, or refuse the payout; other refusals are for a person to look at."""
    command = Withdraw(
        request_id=f"payout:{payout.number}",
        login=payout.login,
        amount=payout.amount,
        method="bank-wire",
        reference=str(payout.number),
    )
    try:
        payout.operation_id = ledger.book(command).operation_id
    except Refused as refused:
        told = refused.code in {"not_enough_money", "account_disabled"}
        payout.state, payout.words = "refused" if told else "look at it", str(refused)
    else:
        payout.state = "reserved"


def pay_out(payout: Payout, bank: Callable[[Payout], str]) -> None:
    """Ask the bank, under the same number: it must not pay twice either."""
    payout.words = bank(payout)
    payout.state = "paid" if payout.words == "paid" else "returned"


def put_back(ledger: Client, payout: Payout) -> None:
    """Reverse the withdrawal: both stay in the history, and the account has its money again."""
    assert payout.operation_id is not None
    reverse = Reverse(
        request_id=f"payout:{payout.number}:back",
        operation_id=payout.operation_id,
        reason=f"the bank: {payout.words}",
    )
    payout.state, payout.words = "put back", f"by {ledger.book(reverse).operation_id}: {payout.words}"


def work_off(ledger: Client, queue: list[Payout], bank: Callable[[Payout], str]) -> None:
    """Bring every payout as far as it goes. NoAnswer ends the round: begin it again, where it stood."""
    for payout in queue:
        if payout.state == "asked":
            take_out(ledger, payout)
        if payout.state == "reserved":
            pay_out(payout, bank)
        if payout.state == "returned":
            put_back(ledger, payout)


def main() -> None:
    """Work off a queue; then lose all states, as a crash might, and work it off again."""
    wanted = [(501, 910001, "100.00"), (502, 910002, "9999.00"), (503, 920001, "40.25")]
    with Client(os.environ["LEDGER_URL"], os.environ["LEDGER_KEY"], operator="payouts") as ledger:
        for round_name in ("first", "again"):
            queue = [Payout(number, login, Decimal(amount)) for number, login, amount in wanted]
            work_off(ledger, queue, lambda payout: "account closed" if payout.number == 503 else "paid")
            for payout in queue:
                print(f"{round_name} {payout.number} {payout.amount:>8} {payout.state:9} {payout.words}")
        for login in (910001, 910002, 920001):
            account = ledger.user(login)
            print(login, "holds", account.balance, account.currency)


main()
