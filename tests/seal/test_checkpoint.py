"""A checkpoint says what the log was, is signed, and is believed only by the signature of a known key."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ledger import checkpoint
from ledger.checkpoint import Checkpoint, NoteBroken, UnknownKey

FIRST = bytes(range(32))
ORIGIN = checkpoint.origin_of("main", FIRST)
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
KEY = checkpoint.verification_key(ORIGIN, PRIVATE)
SEALED_AT = datetime(2026, 11, 20, 13, 8, 30, tzinfo=UTC)

# The note that Go's sumdb publishes with its note package: its key, its text, its signature.
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def sealed(size: int = 20, root: bytes = bytes(32), after: int = 9) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=size, root=root, sealed_at=SEALED_AT, after=after)


def test_a_published_note_is_checked_by_its_published_key() -> None:
    key = checkpoint.read_key(PUBLISHED_KEY)
    assert str(key) == PUBLISHED_KEY
    assert checkpoint.check(PUBLISHED_NOTE, [key]) == "c74f20a3"
    with pytest.raises(NoteBroken, match="not a checkpoint"):
        checkpoint.read(PUBLISHED_NOTE)
    with pytest.raises(NoteBroken, match="false"):
        checkpoint.check(PUBLISHED_NOTE.replace("answer", "cause"), [key])


def test_a_checkpoint_reads_as_the_transparency_logs_write_it() -> None:
    note = checkpoint.sign(sealed(), PRIVATE)
    assert note.startswith(
        "fundledger/main/000102030405060708090a0b0c0d0e0f\n"
        "20\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "sealed 2026-11-20T13:08:30.000000Z\n"
        "after 9\n"
        "\n"
        f"— {ORIGIN} "
    )
    text, _, line = note.rpartition("\n\n")
    signature = b64decode(line.split()[2])
    assert signature[:4].hex() == KEY.key_id
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(signature[4:], f"{text}\n".encode())


@given(
    st.integers(0, 10**15),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 10**15),
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),  # noqa: DTZ001 - the zone is given below
    st.integers(-14, 14),
)
def test_any_checkpoint_is_read_back_as_it_was_signed(
    size: int, root: bytes, after: int, sealed_at: datetime, hours: int
) -> None:
    here = sealed_at.replace(tzinfo=timezone(timedelta(hours=hours)))
    given = msgspec.structs.replace(sealed(size, root, after), sealed_at=here)
    note = checkpoint.sign(given, PRIVATE)
    assert checkpoint.read(note) == given
    assert checkpoint.check(note, [KEY]) == KEY.key_id
    assert checkpoint.key_ids(note) == [KEY.key_id]


def test_no_letter_of_a_signed_checkpoint_can_be_changed() -> None:
    note = checkpoint.sign(sealed(), PRIVATE)
    for place, letter in enumerate(note):
        other = "x" if letter != "x" else "y"
        with pytest.raises(NoteBroken):
            checkpoint.check(note[:place] + other + note[place + 1 :], [KEY])


def test_a_signature_of_another_key_is_not_believed() -> None:
    with pytest.raises(UnknownKey):
        checkpoint.check(checkpoint.sign(sealed(), OTHER), [KEY])
    with pytest.raises(UnknownKey):
        checkpoint.check(checkpoint.sign(sealed(), PRIVATE), [])


def test_a_witness_may_sign_beside_us() -> None:
    note = checkpoint.sign(sealed(), PRIVATE)
    theirs = checkpoint.sign(sealed(), OTHER).rpartition("\n\n")[2]
    assert checkpoint.check(note + theirs, [KEY]) == KEY.key_id
    assert checkpoint.read(note + theirs) == sealed()
    forged = note + note.rpartition("\n\n")[2].replace(" ", "  ", 1)
    with pytest.raises(NoteBroken):
        checkpoint.check(forged, [KEY])


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("\n20\n", "\n020\n"),
        ("\n20\n", "\n-20\n"),
        ("\n20\n", "\n\u0662\u0660\n"),
        ("A=\n", "A\n"),
        ("2026-11-20", "2026-11-31"),
        ("after 9", "after nine"),
        ("after 9\n", "after 9\nmore\n"),
        ("fundledger/", "fund ledger/"),
        ("\n\n", "\n"),
        ("— ", "- "),
        ("=\n", "=\n\n"),
        ("—", "\N{EM DASH}\N{EM DASH}"),
    ],
)
def test_what_is_not_quite_a_checkpoint_is_none(found: str, put: str) -> None:
    note = checkpoint.sign(sealed(), PRIVATE)
    assert found in note
    with pytest.raises(NoteBroken):
        checkpoint.read(note.replace(found, put))


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for note in (text, f"{text}\n\n— a {b64encode(bytes(9)).decode()}\n"):
        with pytest.raises(NoteBroken):
            checkpoint.read(note)
        with pytest.raises(NoteBroken):
            checkpoint.check(note, [KEY])


def test_a_very_long_note_is_not_read() -> None:
    note = checkpoint.sign(sealed(), PRIVATE)
    with pytest.raises(NoteBroken):
        checkpoint.read(note + note.rpartition("\n\n")[2] * 1_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        str(KEY)[:-4],
        str(KEY).replace("+", " "),
        re.sub("[0-9a-f]{8}", "00000000", str(KEY), count=1),
        f"{ORIGIN}+00000000+{b64encode(bytes(33)).decode()}",
        f"{ORIGIN}+00000000+=",
        f"{ORIGIN}+00000000+A",
    ],
)
def test_a_mistyped_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="verification key"):
        checkpoint.read_key(text)


def test_an_origin_names_one_ledger_whatever_it_is_called() -> None:
    assert checkpoint.is_origin_of(ORIGIN, FIRST)
    assert checkpoint.is_origin_of(checkpoint.origin_of("renamed", FIRST), FIRST)
    assert not checkpoint.is_origin_of(ORIGIN, bytes(32))
