"""Whether the database is there is told once when it is lost, and once when it is back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from api import watch
from api.database import Database
from tests.drive import settled

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from api.database import Connection
    from tests.drive import LedgerUnderTest


class LookedAt(Database):
    """Counts how often it was asked for a connection."""

    looks = 0

    def following(self) -> AbstractAsyncContextManager[Connection]:
        self.looks += 1
        return super().following()


@pytest.mark.anyio
async def test_a_loss_is_told_once_and_so_is_the_return(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0)
    caplog.set_level(logging.INFO, logger="fundledger")
    database = LookedAt(ledger.database_url, ledger.name)  # whose pools are not open yet
    watching = watch.Watch(database)
    watching.start()
    await settled(lambda: database.looks > 5)
    await database.open()
    looked = database.looks
    await settled(lambda: database.looks > looked + 5)
    await watching.stop()
    await database.close()
    told = [record.getMessage() for record in caplog.records if record.name == "fundledger.database"]
    assert told == ["the database is lost: PoolClosed", "the database is back"]
