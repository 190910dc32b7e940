"""An export is verified without a database: against itself, and against checkpoints kept elsewhere."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from ledger import checkpoint
from ledger.checkpoint import Checkpoint, VerificationKey
from ledger.events import encode
from ledger.evidence import Kept, Signatures
from ledger.merkle import leaf_hash
from ledger.offline import ExportVerification
from ledger.refusals import Refusal
from tests.make import (
    NOW,
    credit,
    define_group,
    deposit,
    given_only,
    open_account,
    reverse,
    transfer,
    when,
    withdraw,
)
from tests.seal.sealing import named_by, plain, root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
Log = list[bytes]
SEEDS = st.integers(0, 2**32)


def history(seed: int, *, length: int | None = None) -> Log:
    """Give the stored bytes of a history of anything, from the first event on."""
    chance = random.Random(seed)
    book = given_only()
    when(book, define_group())
    for login in (1001, 1002, 1003):
        when(book, open_account(login))
    until = length or chance.randint(5, 300)
    while len(book.booked) < until:
        one, other = chance.sample((1001, 1002, 1003), 2)
        amount = chance.randint(1, 500)
        command = chance.choice(
            [
                deposit(amount, login=one, comment="été ☂"),
                withdraw(amount, login=one),
                credit(amount, login=one, expires_at=NOW + timedelta(days=9)),
                transfer(amount, source=one, target=other),
                reverse(chance.randint(1, until)),
            ]
        )
        with suppress(Refusal):
            when(book, command)
    return [encode(event) for event in book.booked]


def sealed(log: Log, size: int, *, private: Ed25519PrivateKey = PRIVATE) -> str:
    """Seal the first events of a log; give the note."""
    leaves = [leaf_hash(state) for state in log[:size]]
    origin = checkpoint.origin_of("main", leaves[0])
    one = Checkpoint(origin=origin, size=size, root=root_of(leaves), sealed_at=NOW, after=0)
    return checkpoint.sign(one, private)


def keys(*privates: Ed25519PrivateKey) -> list[VerificationKey]:
    return [checkpoint.verification_key("", private) for private in privates]


def found(log: Iterable[bytes], *notes: str, known: Sequence[VerificationKey] | None = None) -> list[str]:
    """Verify an export against notes; give what is found."""
    kept = [Kept(f"number {number}", note) for number, note in enumerate(notes, start=1)]
    run = ExportVerification(kept, Signatures(keys(PRIVATE) if known is None else known))
    return list(run.run(state + b"\n" for state in log))


@settings(max_examples=30)
@for_all(SEEDS, st.data())
def test_any_history_holds_together_and_is_what_any_checkpoint_says(seed: int, data: st.DataObject) -> None:
    log = history(seed)
    sizes = data.draw(st.lists(st.integers(1, len(log)), max_size=4))
    assert found(log, *(sealed(log, size) for size in sizes)) == []


def flipped(log: Log, chance: random.Random) -> Log:
    """Change one bit."""
    place = chance.randrange(len(log))
    state = bytearray(log[place])
    state[chance.randrange(len(state))] ^= 1 << chance.randrange(8)
    return [*log[:place], bytes(state), *log[place + 1 :]]


def without(log: Log, chance: random.Random) -> Log:
    """Leave one event out."""
    place = chance.randrange(len(log))
    return [*log[:place], *log[place + 1 :]]


def repeated(log: Log, chance: random.Random) -> Log:
    """Repeat one event somewhere."""
    place = chance.randrange(len(log))
    return [*log[:place], chance.choice(log), *log[place:]]


def exchanged(log: Log, chance: random.Random) -> Log:
    """Let two events change places."""
    one, other = sorted(chance.sample(range(len(log)), 2))
    return [*log[:one], log[other], *log[one + 1 : other], log[one], *log[other + 1 :]]


def shortened(log: Log, chance: random.Random) -> Log:
    """Cut the end off."""
    return log[: chance.randrange(len(log))]


def numbered_anew(log: Log, chance: random.Random) -> Log:
    """Leave one event out, and let all that follow move up."""
    rest = [json.loads(state) for state in without(log, chance)]
    return [plain(event | {"position": place}) for place, event in enumerate(rest, start=1)]


def renamed(log: Log, chance: random.Random) -> Log:
    """Let the request of one event be another one, which nothing else in the log contradicts."""
    place = chance.randrange(len(log))
    state = plain(json.loads(log[place]) | {"requestId": "another"})
    return [*log[:place], state, *log[place + 1 :]]


CHANGES = (flipped, without, repeated, exchanged, shortened, numbered_anew, renamed)


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=25)
@for_all(seed=SEEDS)
def test_any_change_of_what_was_sealed_is_found(
    change: Callable[[Log, random.Random], Log], seed: int
) -> None:
    log = history(seed)
    changed = change(log, random.Random(seed))
    assert changed != log
    lines = found(changed, sealed(log, len(log)))
    assert lines
    if change is not numbered_anew:  # there the first event that does not follow is what is named
        pairs = enumerate(zip(log, changed, strict=False), start=1)
        first = next((place for place, (a, b) in pairs if a != b), len(changed) + 1)
        assert any(first in named_by(line) for line in lines), (first, lines)


@settings(max_examples=30)
@for_all(SEEDS, st.data())
def test_more_checkpoints_name_the_place_more_exactly(seed: int, data: st.DataObject) -> None:
    log = history(seed)
    sizes = sorted(data.draw(st.sets(st.integers(1, len(log)), max_size=5)) | {len(log)})
    position = data.draw(st.integers(2, len(log)))
    state = plain(json.loads(log[position - 1]) | {"requestId": "another"})
    start, end = next((a, b) for a, b in pairwise([0, *sizes]) if a < position <= b)
    [line] = found(
        [*log[: position - 1], state, *log[position:]], *(sealed(log, size) for size in reversed(sizes))
    )
    assert named_by(line) == range(start + 1, end + 1)


def test_what_comes_after_the_checkpoint_is_held_against_the_events_alone() -> None:
    log = history(7, length=50)
    event = json.loads(log[40])
    assert found([*log[:40], plain(event | {"requestId": "another"}), *log[41:]], sealed(log, 40)) == []
    changed = [*log[:40], plain(event | {"version": 99}), *log[41:]]
    assert found(changed, sealed(log, 40))[0].startswith("the log is broken at position 41: it is version 99")


def test_an_export_that_is_shorter_than_its_checkpoint_is_named() -> None:
    log = history(7, length=50)
    note = sealed(log, 50)
    assert found(log[:30], note) == [
        "missing: positions 31 to 50, which the checkpoint number 1 was made over"
    ]
    assert found([], note) == ["missing: positions 1 to 50, which the checkpoint number 1 was made over"]


def test_a_checkpoint_of_another_ledger_is_told(log: Log) -> None:
    other = [plain(json.loads(log[0]) | {"requestId": "another"}), *log[1:]]
    origin = checkpoint.read(sealed(other, 50)).origin
    assert found(log, sealed(other, 50)) == [
        f"number 1 is of {origin}: another ledger, or position 1 is another event",
        "not what was sealed: positions 1 to 50; the checkpoint number 1 does not agree",
    ]


def test_a_signature_must_be_of_a_known_key_where_keys_are_known(log: Log) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    note = sealed(log, 50, private=other)
    assert found(log, note) == ["number 1: no signature is of a known key"]
    assert found(log, note, known=keys(other, PRIVATE)) == []
    assert found(log, note, known=[]) == []
    [line] = found(log, note.replace("after 0", "after 1"), known=keys(other))
    assert re.fullmatch("number 1: the signature of key [0-9a-f]{8} is false", line)


def test_what_is_no_note_is_told(log: Log) -> None:
    assert found(log, "all is well\n") == ["number 1: this is not a signed note"]


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"\xff", b'{"type":"moon-landed"}', b'{"type":"\xe5"}', b"[" * 100_000]
)
def test_a_line_that_is_no_event_is_named(log: Log, line: bytes) -> None:
    found_here = found([*log[:20], line, *log[21:]], sealed(log, 50))
    assert found_here[0].startswith("the event at position 21 of type '?' cannot be read by this version")


def test_a_file_of_anything_else_is_given_up_soon(log: Log) -> None:
    lines = found([b"x"] * 100_000, sealed(log, 50))
    assert len([line for line in lines if "type '?'" in line]) == 20
    assert lines[-1] == "what follows position 20 was not looked at"


@pytest.fixture
def log() -> Log:
    """Return a history of fifty events."""
    return history(7, length=50)
