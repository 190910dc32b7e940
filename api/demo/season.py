"""The demo's three months, stepped through on a clock of their own: each day's work, and its close."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Final

from api.account_rows import Row
from api.clocks import SteppedClock
from api.database import Database
from api.demo.clients import ACCOUNTS, GROUPS, TAKEN_OVER, Client, clients
from api.demo.market import LISTINGS, Market
from api.demo.wishes import Wishes
from api.housekeeping import Housekeeping
from api.importing import CHUNK_ROWS
from ledger.commands import SYSTEM, DefineServer, Request, StartSimulation
from ledger.events import MoneyMoved
from ledger.money import Amount
from ledger.refusals import Fault, ManagerOffline, Refusal
from ledger.tickets import Outcome
from ledger.writer import GroupCommit
from projections.feed import Message
from projections.intake import Intake
from projections.online import Online
from projections.positions import Positions
from projections.quotes import Quotes

BEGINS: Final = datetime(2026, 3, 2, 4, 30, tzinfo=UTC)
ENDS: Final = datetime(2026, 5, 29, 13, 0, tzinfo=UTC)
SERVER: Final = DefineServer(
    timezone="Europe/Athens", day_end="00:00", overnight_days="mon-fri", book_currency="USD"
)
WORK_BEGINS: Final = time(5, tzinfo=UTC)
WORK_MS: Final = 12 * 3_600_000
ROUNDS: Final = 30
"""Each working day so many times a handful of requests comes together."""

TRADERS: Final = 420
COVERED_BY: Final = 6
ONLINE: Final = 140
AFTER_CLOSE: Final = timedelta(milliseconds=250)


class Season:
    """Three months of a broker, from its first group to an ordinary afternoon."""

    def __init__(self, database: Database, writer: GroupCommit, clock: SteppedClock, *, seed: int) -> None:
        self._writer = writer
        self._clock = clock
        self._database = database
        self._rng = Random(seed)  # noqa: S311 - for a play, and the same for the same seed
        self._clients = list(clients(self._rng, begins=BEGINS))
        self._newcomers = [client for client in self._clients if client.account.regdate is None]
        self._coverage = [client for client in self._clients if client.coverage]
        self._wishes = Wishes(self._rng, self._clients)
        self._market = Market(self._rng)
        self._housekeeping = Housekeeping(database, writer, now=clock, keeper=None)
        self.booked: Counter[str] = Counter()
        self.positions = 0

    async def run(self, seen: Callable[[int], None]) -> None:
        """Live through it, telling after each day how many are over."""
        await self._found()
        await self._take_over()
        for number, day in enumerate(days(), start=1):
            if day.weekday() < 5:
                await self._work(day)
            seen(number)
            await self._close(day)
        await self._observe()

    async def _found(self) -> None:
        self._clock.step_to(BEGINS)
        await self._must([Request(command=StartSimulation(starts_at=BEGINS), request_id="~simulation")])
        definitions = (SERVER, *GROUPS, *(listing.definition() for listing in LISTINGS))
        await self._must([self._wishes.request(command) for command in definitions])

    async def _take_over(self) -> None:
        """Bring the accounts of the last platform in, as `fundledger import` does."""
        old = [client for client in self._clients if client.account.regdate is not None]
        for start in range(0, len(old), CHUNK_ROWS):
            rows = [self._row(client) for client in old[start : start + CHUNK_ROWS]]
            self._clock.step_to(self._clock() + timedelta(seconds=20))
            await self._must([row.open for row in rows])
            await self._must([row.fund for row in rows])
        for client in old:
            if not client.coverage:
                self._wishes.join(client)

    async def _work(self, day: date) -> None:
        for instant in self._instants(day):
            self._clock.step_to(instant)
            await self._welcome(instant)
            self._market.move()
            deals = [self._deal(instant) for _ in range(self._rng.randint(4, 12))]
            await self._book(self._wishes.some(self._rng.randint(3, 12), instant) + deals)

    def _deal(self, now: datetime) -> Request:
        """Close a deal, as the trading server tells it; now and then of the broker's own cover."""
        covered = not self._rng.randrange(25)
        client = self._rng.choice(self._coverage if covered else self._wishes.traders())
        deal = self._market.deal(client, now)
        return Request(command=deal, request_id=f"~deal/{deal.deal_id}", caller=SYSTEM)

    async def _welcome(self, now: datetime) -> None:
        """Open the accounts of those who join about now, with their first deposits."""
        left = (ACCOUNTS - TAKEN_OVER) * (ENDS - now) // (ENDS - BEGINS)
        joining = [self._newcomers.pop() for _ in range(len(self._newcomers) - left)]
        await self._must([self._wishes.request(client.account) for client in joining])
        await self._must([self._wishes.request(self._wishes.deposit(client, now)) for client in joining])
        for client in joining:
            self._wishes.join(client)

    async def _close(self, day: date) -> None:
        """Take out credit that expires at the day's close, as the service does unasked."""
        close = self._writer.definitions.clock.close_of(day)
        if close < ENDS:
            self._clock.step_to(close + AFTER_CLOSE)
            self._take(await self._housekeeping.sweep())

    async def _observe(self) -> None:
        """Let the trading server tell of the last moment: prices, open positions, who is online."""
        now = self._clock()
        traders = self._rng.sample(self._wishes.traders(), TRADERS) + self._coverage * COVERED_BY
        holders = [client for client in traders for _ in range(self._rng.randint(1, 3))]
        positions = [self._market.position(index, holder, now) for index, holder in enumerate(holders)]
        online = sorted(client.login for client in self._rng.sample(self._wishes.traders(), ONLINE))
        self.positions = len(positions)
        messages: list[Message] = [
            Quotes(epoch=1, seq=1, quotes=self._market.quotes(now)),
            Positions(epoch=1, seq=1, kind="snapshot", positions=positions),
            Online(epoch=1, seq=1, logins=online),
        ]
        async with self._database.feeding() as connection:
            receipts = await Intake().take(connection, messages, clock=self._clock)
        for receipt in receipts:
            if isinstance(receipt, Refusal):
                raise receipt
            assert not receipt.refused

    async def _must(self, requests: Sequence[Request]) -> None:
        """Book what nothing speaks against; raise where something does."""
        for outcome in await self._book(requests):
            if isinstance(outcome, Refusal):
                raise outcome

    async def _book(self, requests: Sequence[Request]) -> list[Outcome]:
        """Have requests carried out at the clock's time; some are refused, as everywhere."""
        outcomes = await self._writer.submit_bulk(requests) if requests else []
        self._take(outcomes)
        return outcomes

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, ManagerOffline | Fault):
                raise outcome
            if not isinstance(outcome, Refusal):
                self._wishes.learn(outcome)
                self.booked.update(event.kind for event in outcome[:1] if isinstance(event, MoneyMoved))

    def _instants(self, day: date) -> list[datetime]:
        opens = datetime.combine(day, WORK_BEGINS)
        offsets = sorted(self._rng.sample(range(WORK_MS), ROUNDS))
        instants = [opens + timedelta(milliseconds=offset) for offset in offsets]
        return [instant for instant in instants if self._clock() < instant <= ENDS]

    def _row(self, client: Client) -> Row:
        """Give a client of the last platform as a row of its file."""
        held = client.minor(client.wealth) * self._rng.randint(1, 150) // 100
        return Row(
            number=client.login,
            login=client.login,
            account=client.account,
            balance=Amount(held, client.digits, "balance"),
            credit=None if self._rng.randrange(8) else Amount(client.minor(50), client.digits, "credit"),
        )


def days() -> list[date]:
    """Give the season's days, weekends included."""
    return [BEGINS.date() + timedelta(days=number) for number in range((ENDS - BEGINS).days + 1)]
