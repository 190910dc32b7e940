"""The claim that nobody waits long: the longest wait of any deposit in a minute."""

from __future__ import annotations

import msgspec
import psycopg

from bench import served
from bench.claim import Claim
from bench.deposits import CONNECTIONS, rates
from bench.ground import Ground
from bench.sample import Plan

_DONE = """
SELECT num_done AS checkpoints, (SELECT count(*) FROM pg_ls_waldir()) AS files,
    (SELECT sum(autovacuum_count + autoanalyze_count) FROM pg_stat_all_tables)::bigint AS vacuums
FROM pg_stat_checkpointer
"""


class Upkeep(msgspec.Struct, frozen=True):
    """What PostgreSQL has done beside its clients' work: what may make them wait."""

    checkpoints: int
    log_files: int
    vacuums: int


def outliers(ground: Ground, plan: Plan) -> list[Claim]:
    """Book deposits for a minute; look at the longest wait, and at what PostgreSQL did meanwhile."""
    ledger = ground.ledger()
    with served.durable(ledger) as service, psycopg.connect(ledger.superuser, autocommit=True) as connection:
        before = _upkeep(connection)
        answered = service.answers(connections=CONNECTIONS, seconds=plan.watched_s)
        after = _upkeep(connection)
    tenfold = f"{answered.waits.tenfold:,} of {answered.operations:,} waited ten times the median or longer"
    return [
        Claim(
            name="outliers",
            says=f"the longest wait of any deposit, {CONNECTIONS} connections for {plan.watched_s:g} s",
            sense="at most",
            target=1.0,
            unit=" s",
            values=[answered.waits.longest_us / 1e6],
            notes=[rates("all", [answered]), tenfold, _meanwhile(before, after)],
        )
    ]


def _upkeep(connection: psycopg.Connection[tuple[int, int, int]]) -> Upkeep:
    [row] = connection.execute(_DONE).fetchall()
    return Upkeep(*row)


def _meanwhile(before: Upkeep, after: Upkeep) -> str:
    checkpoints = after.checkpoints - before.checkpoints
    files, vacuums = after.log_files - before.log_files, after.vacuums - before.vacuums
    return f"meanwhile {checkpoints} checkpoints, {files} new files of log, {vacuums} runs of autovacuum"
