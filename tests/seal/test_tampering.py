"""Whatever a superuser changes in a sealed ledger, `verify` says so and names the place."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.seal_key import SealKey
from ledger import checkpoint
from ledger.evidence import Kept
from ledger.merkle import leaf_hash
from projections import install
from projections.seals import SealBroken
from tests.drive import LedgerUnderTest
from tests.seal.sealing import (
    Attacker,
    begin,
    checkpoints,
    deposits,
    found,
    named_by,
    plain,
    sealer_on,
    states,
)
from tests.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service import Ran

SIZES = (100, 250, 300, 520, 600)
HEAD = 605
UNSEALED = HEAD - SIZES[-1]


class Scene:
    """A ledger of 605 events, sealed up to 600 in five checkpoints, and someone who changes it."""

    def __init__(self, ledger: LedgerUnderTest, key: Path) -> None:
        self.ledger = ledger
        self.key = key
        self.attacker = Attacker(ledger)
        self.attacker.remember()
        self.origin = checkpoints(ledger)[0].origin
        self.notes = [note for (note,) in ledger.rows("SELECT note FROM checkpoints ORDER BY size")]

    def found(self, *, kept: int | None = None) -> list[str]:
        """Verify with the public key, and with a checkpoint that was kept elsewhere if asked."""
        notes = [] if kept is None else [Kept("from March", self.notes[kept])]
        return found(self.ledger, key=self.key, kept=notes)

    def verify(self, *words: str) -> Ran:
        """Verify by the command line, as beside a service on a database of somebody's."""
        where = ("--database-url", self.ledger.database_url)
        return Service(where, self.key.with_name("log"), ledger=self.ledger.name).command("verify", *words)


@pytest.fixture(scope="module")
def sealed(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Return the ledger of the module."""
    install.migrate(database_url, "sealed")
    ledger, key = LedgerUnderTest(database_url, "sealed"), tmp_path_factory.mktemp("key") / "seal-key.pem"
    asyncio.run(build(ledger, key))
    assert [one.size for one in checkpoints(ledger)] == list(SIZES)
    return Scene(ledger, key)


async def build(ledger: LedgerUnderTest, key: Path) -> None:
    async with ledger.desk() as desk, sealer_on(ledger, key) as sealer:
        await begin(desk)
        for size in SIZES:
            await deposits(desk, size - len(ledger.positions()))
            await sealer.step()
        await deposits(desk, UNSEALED)


@pytest.fixture
def scene(sealed: Scene) -> Iterator[Scene]:
    """Lend the ledger; all rows are put back afterwards."""
    yield sealed
    sealed.attacker.put_back()


def test_nothing_is_found_in_a_ledger_that_nobody_touched(scene: Scene) -> None:
    assert scene.found() == []
    assert all(scene.found(kept=number) == [] for number in range(len(SIZES)))


# One event.

ATTACKS: dict[str, tuple[str, str]] = {
    "an amount is edited": (
        """UPDATE ledger_events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),
            '"amount":\\d+', '"amount":999'), 'UTF8') WHERE notification_id = 120""",
        r"^the log is broken at position 120: the leaf hash",
    ),
    "a byte of white space is added": (
        "UPDATE ledger_events SET state = state || ' '::bytea WHERE notification_id = 601",
        r"^the log is broken at position 601: the leaf hash",
    ),
    "a leaf hash is edited": (
        "UPDATE ledger_events SET leaf_hash = sha256(leaf_hash) WHERE notification_id = 77",
        r"^the log is broken at position 77: the leaf hash",
    ),
    "an event in the middle is deleted": (
        "DELETE FROM ledger_events WHERE notification_id = 300",
        r"^the log is broken at position 300: the event is missing",
    ),
    "a range is deleted": (
        "DELETE FROM ledger_events WHERE notification_id BETWEEN 250 AND 560",
        r"^the log is broken at position 250: the events up to position 560 are missing",
    ),
    "the first event is deleted": (
        "DELETE FROM ledger_events WHERE notification_id = 1",
        r"^the log is broken at position 1: the event is missing",
    ),
    "the last sealed events are deleted": (
        "DELETE FROM ledger_events WHERE notification_id >= 599",
        r"^missing: positions 599 to 600, which the checkpoint over 600 events",
    ),
    "the log is truncated": (
        "TRUNCATE ledger_events",
        r"^missing: positions 1 to 600, which the checkpoint over 600 events",
    ),
    "an event is put far beyond the end": (
        """INSERT INTO ledger_events SELECT 700, originator_id, 9999, topic, state, leaf_hash
            FROM ledger_events WHERE notification_id = 600""",
        r"^the log is broken at position 606: the events up to position 699 are missing",
    ),
    "an event is repeated at the end": (
        """INSERT INTO ledger_events SELECT 606, originator_id, 9999, topic, state, leaf_hash
            FROM ledger_events WHERE notification_id = 600""",
        r"^the log is broken at position 606: the event's bytes belong to another place",
    ),
    "two events change places": (
        """UPDATE ledger_events AS one SET state = other.state, leaf_hash = other.leaf_hash
            FROM ledger_events AS other WHERE one.notification_id IN (200, 203)
            AND other.notification_id = 403 - one.notification_id""",
        r"^the log is broken at position 200: the event's bytes belong to another place",
    ),
    "an event is said to be another stream's": (
        "UPDATE ledger_events SET originator_id = 'account:9' WHERE notification_id = 44",
        r"^the log is broken at position 44: the event's bytes belong to another place",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_one_event_is_named_when(scene: Scene, attack: str) -> None:
    statement, place = ATTACKS[attack]
    scene.attacker.run(statement)
    assert [line for line in scene.found() if re.search(place, line)], scene.found()


def test_an_event_with_a_hash_that_fits_must_still_follow_from_those_before(scene: Scene) -> None:
    scene.attacker.change(120, balanceChange=99_999)
    assert scene.found()[0].startswith("the log is broken at position 120: what account:")


def test_an_event_that_is_dated_back_is_named(scene: Scene) -> None:
    scene.attacker.change(333, recordedAt="2026-01-01T00:00:00Z")
    assert scene.found()[0] == "the log is broken at position 333: it is dated before the event before it"


def test_the_logins_of_two_deposits_are_not_exchanged_unseen(scene: Scene) -> None:
    one, other = (200, 201)
    before = states(scene.ledger)
    logins = {position: re.findall(rb'"login":(\d+)', before[position - 1])[0] for position in (one, other)}
    assert logins[one] != logins[other]
    swapped = {one: logins[other], other: logins[one]}
    scene.attacker.write(
        {
            position: before[position - 1].replace(b'"login":' + logins[position], b'"login":' + theirs)
            for position, theirs in swapped.items()
        }
    )
    assert scene.found()[:2] == [
        f"the log is broken at position {position}: it stands in account:{logins[position].decode()},"
        f" and is about account {theirs.decode()}"
        for position, theirs in swapped.items()
    ]


# A log that holds together, and is another one.


@pytest.mark.parametrize(
    ("position", "place"),
    [(50, "1 to 100"), (120, "101 to 250"), (254, "251 to 256"), (260, "257 to 300"), (512, "301 to 512")],
)
def test_a_history_that_was_rewritten_with_its_hashes_is_named_as_far_as_it_can_be_known(
    scene: Scene, position: int, place: str
) -> None:
    scene.attacker.steal(position, 1)
    changes = [line for line in scene.found() if line.startswith("not what was sealed")]
    assert changes[0].startswith(f"not what was sealed: positions {place}; the checkpoint over ")


def test_a_change_of_an_effective_date_with_its_hash_is_named(scene: Scene) -> None:
    scene.attacker.change(257, effectiveAt="2026-01-01T00:00:00Z")
    assert any(line.startswith("not what was sealed: positions 257 to 300;") for line in scene.found())
    assert any(line.startswith("history, ") for line in scene.found())


def test_an_event_that_was_squeezed_in_moves_all_that_follow(scene: Scene) -> None:
    """All later events move up by one place, with hashes, versions and balances that fit."""
    before = states(scene.ledger)
    scene.attacker.write(dict(enumerate(squeezed_in(before, 401), start=401)))
    assert any(line.startswith("not what was sealed: positions 301 to 512;") for line in scene.found())


def squeezed_in(before: list[bytes], position: int) -> list[bytes]:
    """Repeat the event before a place at it; give what then stands from there on."""
    repeated = json.loads(before[position - 2])
    stream, gained = repeated["stream"], repeated["balanceChange"]
    given = []
    moved = [plain(repeated | {"requestId": "forged"}), *before[position - 1 :]]
    for there, state in enumerate(moved, start=position):
        event = json.loads(state) | {"position": there, "operation": there}
        if event["stream"] == stream:
            event |= {"version": event["version"] + 1, "balance": event["balance"] + gained}
        given.append(plain(event))
    return given


# A log that was rewritten with its tree and checkpoints.


def test_a_rewritten_history_with_old_notes_is_named(scene: Scene) -> None:
    scene.attacker.steal(120, 1)
    scene.attacker.build_the_tree_anew()
    said = [line for line in scene.found() if "says in its note what its row does not" in line]
    assert [re.findall(r"over (\d+) events", line)[0] for line in said] == ["250", "300", "520", "600"]


def test_a_rewritten_history_with_a_forged_key_is_named(scene: Scene) -> None:
    forged = Ed25519PrivateKey.generate()
    scene.attacker.steal(120, 1)
    scene.attacker.build_the_tree_anew(lambda sealed: checkpoint.sign(sealed, forged))
    assert scene.found()[0].endswith("no signature is of a known key")


@pytest.mark.parametrize("kept", [1, 4])
def test_a_rewritten_history_is_caught_by_any_later_checkpoint_that_was_kept_elsewhere(
    scene: Scene, kept: int
) -> None:
    """Even where whoever rewrote it has the seal key, and all read models agree."""
    private = SealKey.at(scene.key).private
    scene.attacker.steal(120, 1)
    scene.attacker.build_the_tree_anew(lambda sealed: checkpoint.sign(sealed, private))
    views = ("accounts", "history", "daily", "totals")
    assert [line for line in scene.found() if not line.startswith(views)] == []
    place = f"not what was sealed: positions 1 to {SIZES[kept]}; the checkpoint from March does not agree"
    assert place in scene.found(kept=kept)


def test_two_checkpoints_that_were_kept_elsewhere_narrow_the_place(scene: Scene) -> None:
    scene.attacker.steal(120, 1)
    scene.attacker.run("DELETE FROM tree_nodes")
    scene.attacker.run("DELETE FROM checkpoints")
    kept = [
        Kept(name, scene.notes[number]) for name, number in (("of May", 3), ("of March", 0), ("of April", 1))
    ]
    place = "not what was sealed: positions 101 to 250; the checkpoint of April does not agree"
    assert place in found(scene.ledger, key=scene.key, kept=kept)


def test_a_ledger_made_anew_is_told_from_the_one_that_was_sealed(scene: Scene) -> None:
    scene.attacker.change(1, requestId="else")
    scene.attacker.run("DELETE FROM tree_nodes")
    scene.attacker.run("DELETE FROM checkpoints")
    said = f"from March is of {scene.origin}: another ledger, or position 1 is another event"
    assert said in scene.found(kept=2)


# The seals themselves.

SEALS: dict[str, tuple[str, str]] = {
    "all checkpoints are removed": (
        "DELETE FROM checkpoints",
        r"^checkpoints are missing: the tree goes to position 512, they go to 0",
    ),
    "the newest checkpoints are removed": (
        "DELETE FROM checkpoints WHERE size > 300",
        r"^checkpoints are missing: the tree goes to position 512, they go to 300",
    ),
    "one checkpoint is removed": (
        "DELETE FROM checkpoints WHERE size = 300",
        r"^the checkpoint over 520 events, .* came after one over 300 events, which is missing",
    ),
    "the first checkpoint is removed": (
        "DELETE FROM checkpoints WHERE size = 100",
        r"^the checkpoint over 250 events, .* came after one over 100 events, which is missing",
    ),
    "a root is edited": (
        "UPDATE checkpoints SET root = sha256(root) WHERE size = 300",
        r"^the checkpoint over 300 events, .* is not of this log, though a later one is",
    ),
    "the newest root is edited": (
        "UPDATE checkpoints SET root = sha256(root) WHERE size = 600",
        r"^not what was sealed: positions 521 to 600; the checkpoint over 600 events",
    ),
    "a note is edited": (
        "UPDATE checkpoints SET note = replace(note, E'\\n250\\n', E'\\n251\\n') WHERE size = 250",
        r"^the checkpoint over 250 events, .*: the signature of key [0-9a-f]{8} is false",
    ),
    "a note is replaced": (
        "UPDATE checkpoints SET note = 'all is well' WHERE size = 250",
        r"^the checkpoint over 250 events, .*: this is not a signed note",
    ),
    "a checkpoint is dated back": (
        "UPDATE checkpoints SET sealed_at = sealed_at - interval '1 day' WHERE size = 250",
        r"^the checkpoint over 250 events, .* says in its note what its row does not",
    ),
    "a checkpoint is moved": (
        "UPDATE checkpoints SET size = 251 WHERE size = 250",
        r"^the checkpoint over 251 events, .* says in its note what its row does not",
    ),
    "the tree is removed": (
        "DELETE FROM tree_nodes",
        r"^the tree lacks its node over positions 1 to 256",
    ),
    "a node is removed": (
        'DELETE FROM tree_nodes WHERE "index" = 1',
        r"^the tree lacks its node over positions 257 to 512",
    ),
    "a node is edited": (
        'UPDATE tree_nodes SET hash = sha256(hash) WHERE "index" = 1',
        r"^the tree's node over positions 257 to 512 is not that of the log",
    ),
    "a node is added": (
        "INSERT INTO tree_nodes VALUES (8, 2, '')",
        r"^checkpoints are missing: the tree goes to position 768, they go to 600",
    ),
}


@pytest.mark.parametrize("attack", SEALS)
def test_the_place_among_the_seals_is_named_when(scene: Scene, attack: str) -> None:
    statement, place = SEALS[attack]
    scene.attacker.run(statement)
    assert [line for line in scene.found() if re.search(place, line)], scene.found()


def test_what_was_removed_altogether_is_known_by_a_checkpoint_that_was_kept_elsewhere(scene: Scene) -> None:
    scene.attacker.run("DELETE FROM checkpoints")
    scene.attacker.run("DELETE FROM tree_nodes")
    said = "checkpoints are missing: the checkpoint from March is newer than those that are stored"
    assert scene.found(kept=4) == [said]


@pytest.mark.parametrize("named_by_a_variable", [False, True])
def test_a_ledger_made_anew_without_its_seals_is_told_by_the_note_beside_the_key(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, named_by_a_variable: bool
) -> None:
    """On a database, too, `verify` uses the key that the service was given, wherever it lies."""
    option = [] if named_by_a_variable else ["--seal-key", str(scene.key)]
    if named_by_a_variable:
        monkeypatch.setenv("FUNDLEDGER_SEAL_KEY", str(scene.key))
    assert scene.verify(*option).output.endswith(f"sealed up to position {SIZES[-1]} of {HEAD}\n")
    scene.attacker.change(1, requestId="else")
    scene.attacker.run("DELETE FROM tree_nodes")
    scene.attacker.run("DELETE FROM checkpoints")
    said = scene.verify(*option)
    assert said.code == 1
    witness = scene.key.with_name("sealed-sealed.txt")
    assert f"{witness} is of {scene.origin}: another ledger, or position 1 is another event" in said.output


def test_a_forged_signature_is_told_by_the_key_that_the_service_was_given(scene: Scene) -> None:
    forged = Ed25519PrivateKey.generate()
    scene.attacker.build_the_tree_anew(lambda sealed: checkpoint.sign(sealed, forged))
    said = scene.verify("--seal-key", str(scene.key))
    assert (said.code, said.output.count("no signature is of a known key")) == (1, len(SIZES))


def test_a_seal_key_that_is_named_and_not_there_is_said_and_not_made(scene: Scene) -> None:
    nowhere = scene.key.with_name("nowhere.pem")
    said = scene.verify("--seal-key", str(nowhere))
    assert (said.code, said.output) == (1, "")
    assert said.errors.startswith(f"fundledger: there is no seal key at {nowhere}: ")
    assert not nowhere.exists()


def test_without_a_seal_key_it_is_said_that_no_signature_was_checked(scene: Scene) -> None:
    said = scene.verify()
    assert said.code == 0
    assert said.output.endswith("; the signatures were not checked: see --public-key\n")


def test_endless_findings_are_cut_short(scene: Scene) -> None:
    scene.attacker.run("UPDATE ledger_events SET state = state || ' '::bytea")
    assert len(scene.found()) == 21
    assert scene.found()[-1] == "what follows position 20 was not looked at"


# What is not what was sealed is not signed.

DAMAGE = {
    "a sealed event was changed": "UPDATE ledger_events SET leaf_hash = '' WHERE notification_id = 590",
    "a node was changed": "UPDATE tree_nodes SET hash = sha256('')",
    "a node is missing": 'DELETE FROM tree_nodes WHERE "index" = 0',
    "a sealed event is missing": "DELETE FROM ledger_events WHERE notification_id = 590",
    "a new event is missing": "DELETE FROM ledger_events WHERE notification_id = 603",
    "the newest root was changed": "UPDATE checkpoints SET root = sha256('') WHERE size = 600",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_is_signed_where(scene: Scene, damage: str) -> None:
    scene.attacker.run(DAMAGE[damage])

    async def step() -> None:
        async with sealer_on(scene.ledger, scene.key) as sealer:
            await sealer.step()

    with pytest.raises(SealBroken):
        asyncio.run(step())
    assert scene.ledger.value("SELECT max(size) FROM checkpoints") == SIZES[-1]


# The read models.


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE accounts SET balance = balance + 1 WHERE login = 1002", "accounts, live only: "),
        ("UPDATE history SET amount = 1 WHERE position = 300", "history, rebuilt only: "),
        ("DELETE FROM history WHERE position = 603", "history, rebuilt only: "),
    ],
)
def test_a_read_model_that_was_changed_is_named(scene: Scene, statement: str, place: str) -> None:
    scene.attacker.run(statement)
    assert any(line.startswith(place) for line in scene.found())


def test_a_forged_deposit_at_the_end_of_the_log_is_named_by_the_read_models(scene: Scene) -> None:
    last = json.loads(states(scene.ledger)[-1])
    place = {"position": 606, "operation": 606, "version": last["version"] + 1, "requestId": "forged"}
    money = {"balance": last["balance"] + last["balanceChange"]}
    scene.attacker.write({606: plain(last | place | money)})
    assert any(re.search(r'^history, rebuilt only: .*"position": 606', line) for line in scene.found())


# Anything.


@pytest.mark.parametrize("seed", range(8))
def test_any_change_of_any_sealed_event_is_found_where_it_is(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    position = chance.randint(1, SIZES[-1])
    state = bytearray(states(scene.ledger)[position - 1])
    state[chance.randrange(len(state))] ^= 1 << chance.randrange(8)
    hashed = leaf_hash(bytes(state)) if chance.random() < 0.5 else None
    scene.attacker.run(
        "UPDATE ledger_events SET state = %s, leaf_hash = coalesce(%s, leaf_hash) WHERE notification_id = %s",
        bytes(state),
        hashed,
        position,
    )
    assert any(position in named_by(line) for line in scene.found()), (position, scene.found())
