"""A disk that is full: 503 until there is space, then all goes on; nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from api import housekeeping
from api.database import Database
from api.embedded.errors import CommandFailed
from tests.drive import Clock, settled
from tests.faults.disk import disk_full, small_disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drive import LedgerUnderTest


@pytest.fixture
def mountable(scratch: Path) -> None:
    """Skip where we may not mount, as root in an ordinary container may not."""
    try:
        with small_disk(scratch / "tried"):
            pass
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk to fill cannot be mounted here")


@pytest.mark.usefixtures("mountable")
def test_a_full_disk_loses_nothing_and_all_goes_on_when_there_is_space_again(scratch: Path) -> None:
    outcome = disk_full(scratch, rounds=2)
    assert (outcome.rounds, outcome.clean) == (2, True), outcome


class FullDisk:
    """Keeps a server that cannot be started before it has been tried some times."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.tried = 0

    def ensure_running(self) -> bool:
        """Start it, if it can be started by now."""
        self.tried += 1
        if self.tried <= self._failures:
            raise CommandFailed("postgres", "could not write lock file: No space left on device")
        return self.tried == self._failures + 1


@pytest.mark.anyio
async def test_a_server_that_cannot_be_started_is_tried_again_and_is_no_fault_of_the_service(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "POLL_S", 0)
    monkeypatch.setattr(housekeeping, "RESTART_PAUSE_S", 0)
    keeper, database = FullDisk(failures=3), Database(ledger.database_url, ledger.name)
    await database.open()
    async with ledger.desk() as desk:
        keeping = housekeeping.Housekeeping(database, desk.writer, now=Clock(), keeper=keeper)
        await keeping.start()
        await settled(lambda: keeper.tried > 4)
        await keeping.stop()
    await database.close()
    said = [record for record in caplog.records if record.name == "fundledger.housekeeping"]
    assert ["No space left" in record.getMessage() for record in said] == [True] * 3
    assert [record.exc_info for record in said] == [None] * 3
