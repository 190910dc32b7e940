"""A broker with a month behind it, lived through day by day: what every page has to tell is known here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from tests.drive import Clock
from tests.make import (
    at,
    correct,
    credit,
    define_group,
    define_server,
    deposit,
    key,
    open_account,
    reverse,
    transfer,
    withdraw,
)

if TYPE_CHECKING:
    from ledger.commands import Command
    from tests.drive import Desk, LedgerUnderTest

NAME = "Łucja Παπαδοπούλου"
FORMULA = '=HYPERLINK("http://evil.example","x")'
LONG = "123456789.12345678"
"""More digits than a spreadsheet's number holds."""


class Broker(msgspec.Struct, frozen=True):
    """What was booked: operation ids by what they are."""

    operations: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.operations[name]


class _Life:
    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock
        self.operations: dict[str, str] = {}

    async def on(self, when: str, name: str, command: Command, *, by: str = "alice") -> int:
        """Have something booked at an instant; give the operation's number."""
        self._clock.now = at(when)
        caller = msgspec.structs.replace(key(), operator_id=by)
        events = await self._desk.book(command, f"request-{name}", caller=caller)
        self.operations[name] = f"bal_{events[0].operation}"
        return events[0].operation


def live(ledger: LedgerUnderTest) -> Broker:
    """Live through the month."""
    return asyncio.run(_live(ledger))


async def _live(ledger: LedgerUnderTest) -> Broker:
    clock = Clock(at("2025-03-03 08:00"))
    async with ledger.desk(clock=clock) as desk:
        await _begin(desk)
        life = _Life(desk, clock)
        paid = deposit("1500.00", login=1001, method="card", reference="psp-77", comment="first money")
        first = await life.on("2025-03-03 08:30", "first", paid)
        second = await life.on("2025-03-03 08:31", "second", deposit("200.00", login=1002))
        await life.on("2025-03-03 08:32", "euro", deposit("1234.56", login=1003))
        await life.on("2025-03-03 08:33", "yen", deposit("98765", login=1004))
        await life.on("2025-03-03 08:34", "bitcoin", deposit(LONG, login=1005))
        await life.on("2025-03-10 09:00", "out", withdraw("300.50", login=1001, comment=FORMULA), by="bob")
        await life.on("2025-03-10 09:05", "bonus", credit("50.00", login=1001))
        await life.on("2025-03-10 09:10", "moved", transfer("100.25", source=1001, target=1002))
        # Half past one in the night of 1 April in Athens, still 31 March in UTC.
        await life.on("2025-03-31 22:30", "night", deposit("10.00", login=1001))
        found = deposit(
            "75.25", login=1001, effective_at=at("2025-03-15 12:00"), comment="wire found in suspense"
        )
        await life.on("2025-04-02 10:00", "late", found, by="carla")
        await life.on("2025-04-03 10:00", "back", reverse(second, "card charged back"), by="carla")
        fee = correct(login=1001, balance="-5.00", credit="2.00", corrects=first, reason="fee passed on")
        await life.on("2025-04-04 10:00", "fee", fee, by="carla")
    return Broker(life.operations)


async def _begin(desk: Desk) -> None:
    await desk.book(define_server("Europe/Athens", "00:00", "all"))
    groups = {"STD-USD": "USD", "VIP-EUR": "EUR", "STD-JPY": "JPY", "STD-BTC": "BTC"}
    for group, currency in groups.items():
        await desk.book(define_group(group, currency))
    people = {1001: ("STD-USD", NAME), 1002: ("STD-USD", FORMULA), 1003: ("VIP-EUR", "Eve")}
    for login, (group, name) in (people | {1004: ("STD-JPY", "Jun"), 1005: ("STD-BTC", "Ben")}).items():
        await desk.book(open_account(login, group=group, name=name))
