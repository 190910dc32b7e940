"""The sealer: what is booked is under a signed checkpoint soon, whoever seals and whatever breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from api import sealer as sealing
from api.housekeeping import AWAY
from api.seal_key import SealKey, SealKeyUnusable
from ledger import checkpoint
from ledger.checkpoint import VerificationKey, is_origin_of
from ledger.merkle import Node, leaf_hash
from projections import install, seals
from projections.seals import SealBroken
from tests.drive import HANG_S, Clock, settled
from tests.make import NOW
from tests.seal.sealing import (
    Attacker,
    begin,
    checkpoints,
    deposits,
    found,
    root_of,
    sealer_on,
    states,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Name the file of a seal key that is not there yet."""
    return tmp_path / "seal-key.pem"


@pytest.fixture
async def desk(ledger: LedgerUnderTest) -> AsyncIterator[Desk]:
    """Return the desk of a ledger with four events."""
    async with ledger.desk() as desk:
        await begin(desk)
        yield desk


def check_whole(ledger: LedgerUnderTest, key: Path) -> None:
    """Hold every checkpoint and node against the log, by nothing but the bytes of its events."""
    leaves = [leaf_hash(state) for state in states(ledger)]
    before = {0}
    for sealed in checkpoints(ledger):
        assert sealed.root == root_of(leaves[: sealed.size])
        assert sealed.after in before
        before.add(sealed.size)
    newest = max(before)
    expected = {Node(8, index): root_of(leaves[start : start + 256]) for index, start in tiles(newest)}
    rows = ledger.rows('SELECT level, "index", hash FROM tree_nodes')
    assert {Node(level, index): bytes(value) for level, index, value in rows} == expected
    for (note,) in ledger.rows("SELECT note FROM checkpoints"):
        origin = checkpoint.read(note).origin
        public = SealKey.at(key).private.public_key().public_bytes_raw()
        checkpoint.check(note, [VerificationKey(origin, public)])
        assert is_origin_of(origin, leaves[0])


def tiles(size: int) -> list[tuple[int, int]]:
    return list(enumerate(range(0, size - size % 256, 256)))


async def test_what_is_booked_is_sealed(desk: Desk, ledger: LedgerUnderTest, key: Path) -> None:
    clock = Clock()
    async with sealer_on(ledger, key, clock=clock) as sealer:
        for number in (0, 1, 251, 1, 300):
            await deposits(desk, number)
            clock.forward(seconds=1)
            assert await sealer.step() is False
    assert [one.size for one in checkpoints(ledger)] == [4, 5, 256, 257, 557]
    assert [one.after for one in checkpoints(ledger)] == [0, 4, 5, 256, 257]
    assert checkpoints(ledger)[0].sealed_at > NOW
    check_whole(ledger, key)
    assert found(ledger, key=key) == []


async def test_nothing_new_makes_no_new_checkpoint(desk: Desk, ledger: LedgerUnderTest, key: Path) -> None:
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
        await sealer.step()
    assert len(checkpoints(ledger)) == 1


async def test_an_empty_ledger_is_not_sealed(ledger: LedgerUnderTest, key: Path) -> None:
    async with sealer_on(ledger, key) as sealer:
        assert await sealer.step() is False
    assert checkpoints(ledger) == []
    assert found(ledger, key=key) == []


async def test_a_sealer_goes_on_where_another_ended(desk: Desk, ledger: LedgerUnderTest, key: Path) -> None:
    for number in (99, 200, 0, 17):
        await deposits(desk, number)
        async with sealer_on(ledger, key) as sealer:
            await sealer.step()
    assert [one.size for one in checkpoints(ledger)] == [103, 303, 320]
    check_whole(ledger, key)


async def test_an_old_log_is_caught_up_with_in_steps(
    desk: Desk, ledger: LedgerUnderTest, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "STEP", 100)
    await deposits(desk, 450)
    async with sealer_on(ledger, key) as sealer:
        more = [await sealer.step() for _ in range(5)]
    assert more == [True, True, True, True, False]
    assert [one.size for one in checkpoints(ledger)] == [100, 200, 300, 400, 454]
    check_whole(ledger, key)


async def test_two_services_seal_one_ledger(desk: Desk, ledger: LedgerUnderTest, key: Path) -> None:
    async with sealer_on(ledger, key) as one, sealer_on(ledger, key) as other:
        for number in (10, 300, 7, 1, 250):
            await deposits(desk, number)
            await asyncio.gather(one.step(), other.step())
            await deposits(desk, 1)
            await other.step()
        assert one.sealing.state == other.sealing.state == "current"
    check_whole(ledger, key)
    assert found(ledger, key=key) == []


async def test_a_lost_connection_delays_a_seal_and_nothing_else(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    async with sealer_on(ledger, key) as sealer:
        for number in (236, 226, 20):
            await deposits(desk, number)
            await sealer.step()
            await deposits(desk, 30)  # which completes a tile, twice
            await cut_while_sealing(ledger, sealer)
            await sealer.step()
    check_whole(ledger, key)
    assert found(ledger, key=key) == []


async def cut_while_sealing(ledger: LedgerUnderTest, sealer: sealing.Sealer) -> None:
    """Kill the sealer's connection when it has read, and waits to store."""
    with psycopg.connect(ledger.superuser) as holder:
        holder.execute("LOCK TABLE tree_nodes IN ACCESS EXCLUSIVE MODE")
        step = asyncio.create_task(sealer.step())
        waiting = (
            "SELECT pg_terminate_backend(pid, %s) FROM pg_locks WHERE relation = 'tree_nodes'::regclass"
            " AND NOT granted"
        )
        await settled(lambda: (True,) in ledger.rows(waiting, 1000 * HANG_S))
        holder.rollback()
    with pytest.raises(AWAY):
        await step


async def test_checkpoints_that_a_crash_lost_are_made_again(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    async with sealer_on(ledger, key) as sealer:
        for number in (0, 100, 200):
            await deposits(desk, number)
            await sealer.step()
        ledger.rows("DELETE FROM checkpoints WHERE size > 4")
        ledger.rows("DELETE FROM tree_nodes")
        while await sealer.step():
            pass
    assert [one.size for one in checkpoints(ledger)] == [4, 304]
    check_whole(ledger, key)
    assert found(ledger, key=key) == []


# What is not what was sealed is not signed.


async def test_a_history_that_was_rewritten_with_all_its_seals_is_not_signed_again(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    """The last note beside the key knows better than the database."""
    await deposits(desk, 300)
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
    Attacker(ledger).steal(200, 1)
    ledger.rows("DELETE FROM tree_nodes")
    ledger.rows("DELETE FROM checkpoints")
    async with sealer_on(ledger, key) as sealer:
        with pytest.raises(SealBroken, match=f"up to position 304, says {key.with_name('sealed-')}"):
            await sealer.step()
        key.with_name(f"sealed-{ledger.name}.txt").rename(key.with_name("elsewhere.txt"))
        await sealer.step()
    assert [one.size for one in checkpoints(ledger)] == [304]


@pytest.mark.parametrize("removed", ["size > 4", "true"])
async def test_removed_seals_of_a_log_that_is_what_it_was_are_made_again(
    desk: Desk, ledger: LedgerUnderTest, key: Path, removed: str
) -> None:
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
        await deposits(desk, 300)
        await sealer.step()
    ledger.rows(f"DELETE FROM checkpoints WHERE {removed}")
    ledger.rows("DELETE FROM tree_nodes")
    async with sealer_on(ledger, key) as sealer:
        while await sealer.step():
            pass
    assert checkpoints(ledger)[-1].size == 304
    check_whole(ledger, key)


async def test_a_log_that_was_restored_to_an_earlier_moment_is_not_signed_unasked(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
        await deposits(desk, 300)
        await sealer.step()
    for table, place in (("ledger_events", "notification_id"), ("checkpoints", "size")):
        ledger.rows(f"DELETE FROM {table} WHERE {place} > 4")
    ledger.rows("DELETE FROM tree_nodes")
    async with sealer_on(ledger, key) as sealer:
        with pytest.raises(SealBroken, match="restored from a backup"):
            await sealer.step()


async def test_a_witness_that_cannot_be_read_says_nothing(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    for text in (b"", b"\xff\xfe", b"all is well"):
        key.with_name(f"sealed-{ledger.name}.txt").write_bytes(text)
        await deposits(desk, 1)
        async with sealer_on(ledger, key) as sealer:
            await sealer.step()
    assert [one.size for one in checkpoints(ledger)] == [5, 6, 7]


# The key.


def test_a_key_is_made_once_and_only_its_owner_can_read_it(key: Path) -> None:
    made, read = SealKey.at(key), SealKey.at(key)
    assert (made.made, read.made) == (True, False)
    assert made.private.private_bytes_raw() == read.private.private_bytes_raw()
    assert key.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key.parent.iterdir()] == [key.name]


def test_a_key_that_others_can_read_is_refused(key: Path) -> None:
    SealKey.at(key)
    key.chmod(0o640)
    with pytest.raises(SealKeyUnusable, match="chmod 600"):
        SealKey.at(key)


def test_a_file_that_holds_another_key_is_refused(key: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"", b"secret", other):
        key.write_bytes(content)
        key.chmod(0o600)
        with pytest.raises(SealKeyUnusable):
            SealKey.at(key)
        assert key.read_bytes() == content


# The task.


async def test_a_running_sealer_seals_by_itself_and_the_rest_at_its_end(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    async with sealer_on(ledger, key) as sealer:
        sealer.start()
        sealer.reached(4)
        await settled(lambda: sealer.sealing == sealing.Sealing("current", 4, 0.0))
        await deposits(desk, 10)
        await sealer.stop()
    assert checkpoints(ledger)[-1].size == 14


async def test_a_sealer_says_when_it_has_halted_and_when_it_is_behind(
    desk: Desk, ledger: LedgerUnderTest, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
        sealer.reached(5)
        assert sealer.sealing.state == "current"
        assert sealer.sealing.lag_s > 0
        monkeypatch.setattr(sealing, "BEHIND_S", 0)
        assert sealer.sealing.state == "behind"
    ledger.rows("UPDATE checkpoints SET root = sha256('')")
    async with sealer_on(ledger, key) as sealer:
        sealer.start()
        await settled(lambda: sealer.sealing.state == "halted")
        await sealer.stop()


# Logs from before seals.


async def test_a_log_of_an_older_version_gets_its_leaf_hashes_once_and_only_right_ones(
    desk: Desk, ledger: LedgerUnderTest, key: Path
) -> None:
    await deposits(desk, 5)
    ledger.rows("UPDATE ledger_events SET leaf_hash = sha256(state)")
    ledger.rows("UPDATE ledger_events SET leaf_hash = sha256('wrong') WHERE notification_id = 6")
    ledger.rows("DROP TABLE tree_nodes, checkpoints")
    ledger.rows("DELETE FROM migrations WHERE name = '0002_seals.sql'")
    assert install.migrate(ledger.database_url, ledger.name) == ["0002_seals.sql"]
    wrong = r"SELECT notification_id FROM ledger_events WHERE leaf_hash <> sha256('\x00'::bytea || state)"
    assert ledger.rows(wrong) == [(6,)]
    assert found(ledger)[0].startswith("the log is broken at position 6: the leaf hash")


async def test_the_tree_is_read_from_any_tile(desk: Desk, ledger: LedgerUnderTest, key: Path) -> None:
    await deposits(desk, 560)
    async with sealer_on(ledger, key) as sealer:
        await sealer.step()
    leaves = [leaf_hash(state) for state in states(ledger)]
    nodes = [Node(level, index) for level in range(10) for index in range(564 >> level)]
    async with await psycopg.AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        hash_of = await seals.hashes(connection, nodes)
        for node in nodes:
            assert hash_of(node) == root_of(leaves[node.start : node.end])
        with pytest.raises(SealBroken):
            (await seals.hashes(connection, [Node(8, 2)]))(Node(8, 2))
