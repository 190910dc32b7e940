"""`fundledger demo`: a small broker that is not real, so that every route has something to show."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from api.cli.progress import progress_bar
from api.cli.where import opened, writing_at
from api.clocks import SteppedClock
from api.database import Database
from api.demo.clients import ACCOUNTS
from api.demo.market import LISTINGS
from api.demo.season import BEGINS, ENDS, Season, days
from api.embedded import EmbeddedPostgres
from api.settings import Settings
from ledger.refusals import AlreadyApplied, ValidationError
from ledger.writer import GroupCommit
from projections import accounts, install


def demo(arguments: Namespace) -> int:
    """Fill an empty ledger with a broker's three months; say what was made and how to look at it."""
    settings, seed = arguments.settings, arguments.seed
    with _own_database(settings) as url:
        season = uvloop.run(_lived_through(url, settings, seed=seed))
    print("\n".join(_told(season, settings, seed=seed)))
    return 0


@contextmanager
def _own_database(settings: Settings) -> Iterator[str]:
    """Lend the database; the embedded one as its one service, since no other may book meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    postgres = EmbeddedPostgres(settings.data)
    postgres.start()
    try:
        postgres.create_database_if_missing()
        install.migrate(postgres.url(), settings.ledger)
        yield postgres.url()
    finally:
        postgres.stop()


async def _lived_through(url: str, settings: Settings, *, seed: int) -> Season:
    clock = SteppedClock(BEGINS)
    async with opened(url, settings.ledger) as database, writing_at(database, clock) as writer:
        await _check_unused(database, writer, ledger=settings.ledger)
        season = Season(database, writer, clock, seed=seed)
        with progress_bar(len(days())) as seen:
            await season.run(lambda number: seen(number, f"day {number}"))
    return season


async def _check_unused(database: Database, writer: GroupCommit, *, ledger: str) -> None:
    """Refuse books that somebody keeps: a demo must never be mixed with them."""
    async with database.reading() as connection:
        if await accounts.any_account(connection):
            detail = f"the ledger {ledger} has accounts: a demo needs one that is empty"
            raise ValidationError("ledger_is_real", detail)
    if writer.definitions.simulated_from is not None:
        detail = f"the ledger {ledger} is simulated already: a demo needs one that is new"
        raise AlreadyApplied("already_simulated", detail)


def _told(season: Season, settings: Settings, *, seed: int) -> Iterator[str]:
    booked = season.booked
    where = "--database-url URL"
    if settings.database_url is None:
        where = f"--data {shlex.quote(str(settings.data))}"
    if settings.ledger != "main":
        where += f" --ledger {settings.ledger}"
    yield (
        f"the broker of seed {seed}: {ACCOUNTS} accounts, {booked.total()} operations with money,"
        f" {len(LISTINGS)} symbols, {season.positions} open positions"
    )
    yield "operations: " + ", ".join(f"{count} {kind}" for kind, count in booked.most_common())
    yield f"days: {BEGINS.date()} to {ENDS.date()}, on a simulated clock that goes on from there"
    yield f"serve it: fundledger serve {where}"
    yield f"make a key: fundledger keys create --role manager --name me {where}"
