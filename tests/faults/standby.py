"""Commits wait for a standby that stands still, and somebody or something ends their wait."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from psycopg.conninfo import make_conninfo

from api.embedded.account import account_for
from api.embedded.launcher import launcher_for
from tests.faults.outcome import more
from tests.faults.proxy import CLEAR, HALF_OPEN, REFUSING, Proxy, before_database
from tests.faults.shop import Shop, shop_in
from tests.service import rows, superuser_url, within

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome

NAME: Final = "second"
TIMES = 3
AWAY_S = 60.0
WAITS = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_STREAMS = f"SELECT sync_state FROM pg_stat_replication WHERE application_name = '{NAME}'"
_SETTINGS = {
    "cluster_name": "fundledger-standby",
    "shared_buffers": "32MB",
    "wal_retrieve_retry_interval": "200ms",
}


def standby_frozen(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Freeze the standby under load, and have the wait for it cancelled, ended, or outlasted."""
    with shop_in(scratch) as shop, standby_of(shop, scratch / "standby") as standby:
        waits = _Waits(shop, standby)
        for fault in cycle((waits.cancelled, waits.terminated, waits.outlasted)):
            if not more(shop.outcome.rounds, rounds, until):
                break
            shop.round(fault)
        standby.dismiss()
        return shop.finish()


class Standby:
    """A streaming standby that the commits of a shop's PostgreSQL wait for."""

    def __init__(self, server: subprocess.Popen[bytes], *, primary: str, own: str, relay: Proxy) -> None:
        self.primary = primary
        self._server = server
        self._own = own
        self._relay = relay

    def freeze(self) -> None:
        """Stop it in its tracks: it holds its connection and says nothing; what is sent to it now is lost."""
        self._relay.take(HALF_OPEN)
        self._signal(signal.SIGSTOP)

    def thaw_alone(self) -> set[str]:
        """Let it go on without its primary, as if that had died; give the requests that it knows of."""
        self._relay.take(REFUSING)
        self._relay.cut()
        self._signal(signal.SIGCONT)
        within(AWAY_S, lambda: rows(self._own, _REPLAYED) == [(True,)])
        return requests_in(self._own)

    def join(self) -> None:
        """Let it have its primary again."""
        self._relay.take(CLEAR)

    def enlist(self) -> None:
        """Have commits wait for it."""
        within(AWAY_S, lambda: rows(self.primary, _STREAMS) == [("async",)])
        self._name(f"'{NAME}'")
        within(AWAY_S, lambda: rows(self.primary, _STREAMS) == [("sync",)])

    def dismiss(self) -> None:
        """Have commits wait for nobody."""
        self._name("''")

    def end(self) -> None:
        """End it."""
        self._signal(signal.SIGCONT)
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(AWAY_S)

    def _name(self, names: str) -> None:
        rows(self.primary, f"ALTER SYSTEM SET synchronous_standby_names = {names}")
        rows(self.primary, "SELECT pg_reload_conf()")

    def _signal(self, number: signal.Signals) -> None:
        pid = self._server.pid
        for process in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(process, number)


class _Waits:
    """What becomes of commits that wait for the frozen standby of a shop."""

    def __init__(self, shop: Shop, standby: Standby) -> None:
        self._shop = shop
        self._standby = standby

    async def cancelled(self, load: Load) -> None:
        """Let an administrator cancel the wait: PostgreSQL says COMMIT then, and warns."""
        await self._ended(load, "pg_cancel_backend")
        self._shop.expect(load.memory.codes["outcome_unknown"], "nobody was told that it is not known")

    async def terminated(self, load: Load) -> None:
        """Let an administrator end the sessions that wait."""
        await self._ended(load, "pg_terminate_backend")

    async def outlasted(self, load: Load) -> None:
        """Let the standby stand still for longer than the service waits."""
        self._standby.freeze()
        await load.until(lambda: "database_away" in load.memory.codes)
        await self._compare(load)  # what still waits is not seen by anybody yet

    async def _ended(self, load: Load, how: str) -> None:
        self._standby.freeze()
        for _ in range(TIMES):
            before = _not_known(load)
            async with asyncio.timeout(AWAY_S):
                while _not_known(load) == before:
                    await asyncio.to_thread(rows, self._standby.primary, f"SELECT {how}(pid) {WAITS}")
        lacks = await self._compare(load)
        self._shop.expect(lacks, "a control: the standby lacks nothing, so nothing could be lost")

    async def _compare(self, load: Load) -> set[str]:
        """Hold what clients were told against what the standby has; give what it lacks of the primary's."""
        told = set(load.memory.acknowledged)
        has = await asyncio.to_thread(self._standby.thaw_alone)
        booked = await asyncio.to_thread(requests_in, self._standby.primary)
        self._shop.expect(told <= has, f"the standby lacks what was acknowledged: {sorted(told - has)[:5]}")
        self._standby.join()
        return booked - has


def _not_known(load: Load) -> int:
    """Say how often somebody was told that nobody knows: others may still be told what was known before."""
    return load.memory.codes["outcome_unknown"] + load.memory.codes["database_away"]


@contextmanager
def standby_of(shop: Shop, place: Path) -> Iterator[Standby]:
    """Make a standby of a shop's embedded PostgreSQL from its own programs, behind a relay."""
    primary = superuser_url(shop.data)
    account = account_for(shop.data / "postgres")
    place.mkdir(mode=0o700)
    os.chown(place, account.uid, account.gid)
    launcher = launcher_for(account, place)
    files = str(launcher.seen(place / "files"))
    settings = _SETTINGS | {"unix_socket_directories": str(launcher.seen(place))}
    with before_database(primary) as (relay, through), (place / "log").open("ab") as log:
        whence = make_conninfo(through, application_name=NAME)
        launcher.run("pg_basebackup", "-D", files, "-d", whence, "-R", "-c", "fast")
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        server = launcher.spawn("postgres", "-D", files, *flags, log=log)
        standby = Standby(server, primary=primary, own=make_conninfo(primary, host=str(place)), relay=relay)
        try:
            standby.enlist()
            yield standby
        finally:
            standby.end()


def requests_in(url: str) -> set[str]:
    """Give the ids of the requests that a server knows of."""
    return {str(name) for (name,) in rows(url, "SELECT request_id FROM requests")}


_REPLAYED = """
SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
AND EXISTS (
    SELECT FROM pg_stat_activity
    WHERE backend_type = 'startup' AND wait_event = 'RecoveryRetrieveRetryInterval'
)
"""
"""It has replayed what it has, and looks for more; the last of that may be half a record, never replayed."""
