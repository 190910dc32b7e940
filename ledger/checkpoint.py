"""Checkpoints: what the log was when it was sealed, as a note that is signed with Ed25519.

The form is that of transparency logs (C2SP tlog-checkpoint, in a C2SP signed note): origin, size and root, a
line each, then two lines of ours: when it was sealed, and which checkpoint came before it. The origin ends
with the hash of the ledger's first event, so that no two ledgers share it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ID_BYTES: Final = 16
NOTE_MAX: Final = 65_536
"""Characters of a note at most; there may be signatures of others below ours."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_TEXT = re.compile(
    r"(?P<origin>[^\s+]+)\n"
    r"(?P<size>0|[1-9]\d{0,15})\n"
    r"(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"sealed (?P<sealed_at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\n"
    r"after (?P<after>0|[1-9]\d{0,15})\n",
    re.ASCII,
)
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")
_KEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<key_id>[0-9a-f]{8})\+(?P<public>[A-Za-z0-9+/]{44})")


class NoteBroken(Exception):
    """A note is not a checkpoint, or not one that was signed with a key that is known."""


class UnknownKey(NoteBroken):
    """A note bears no signature of a key that is known."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The log at a moment: the root over its first `size` events. `after` is the size of the one before."""

    origin: str
    size: int
    root: bytes
    sealed_at: datetime
    after: int

    @property
    def text(self) -> str:
        """What is signed."""
        sealed_at = f"{self.sealed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        lines = (self.origin, self.size, _text(self.root), f"sealed {sealed_at}", f"after {self.after}")
        return "".join(f"{line}\n" for line in lines)


class VerificationKey(msgspec.Struct, frozen=True):
    """The public key by which a ledger's checkpoints are checked. `name` is their origin."""

    name: str
    public: bytes

    @property
    def key_id(self) -> str:
        """The short name of the key beside its signatures."""
        return sha256(f"{self.name}\n".encode() + _ED25519 + self.public).digest()[:_KEY_ID_BYTES].hex()

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id}+{_text(_ED25519 + self.public)}"


def origin_of(ledger: str, first_leaf: bytes) -> str:
    """Name a ledger as nobody else's is named: by its first event."""
    return f"fundledger/{ledger}/{first_leaf[:ID_BYTES].hex()}"


def is_origin_of(origin: str, first_leaf: bytes) -> bool:
    """Tell whether an origin names the ledger with this first event, whatever it is called."""
    return origin.endswith(f"/{first_leaf[:ID_BYTES].hex()}")


def verification_key(origin: str, private: Ed25519PrivateKey) -> VerificationKey:
    """Give what checks the signatures of a key."""
    return VerificationKey(origin, private.public_key().public_bytes_raw())


def read_key(text: str) -> VerificationKey:
    """Read a verification key as `str` writes it; ValueError where it is none."""
    found = _KEY.fullmatch(text.strip())
    public = b64decode(found["public"]) if found else b""
    if found is None or public[:1] != _ED25519:
        raise ValueError("a verification key reads NAME+ID+KEY, such as `fundledger seal-key show` prints it")
    key = VerificationKey(found["name"], public[1:])
    if key.key_id != found["key_id"]:
        raise ValueError("the verification key was mistyped: its id does not fit it")
    return key


def sign(checkpoint: Checkpoint, private: Ed25519PrivateKey) -> str:
    """Give the signed note."""
    key = verification_key(checkpoint.origin, private)
    signature = bytes.fromhex(key.key_id) + private.sign(checkpoint.text.encode())
    return f"{checkpoint.text}\n— {key.name} {_text(signature)}\n"


def read(note: str) -> Checkpoint:
    """Read what a note says, whoever signed it."""
    text, _ = _parts(note)
    found = _TEXT.fullmatch(text)
    if found is None:
        raise NoteBroken("this is not a checkpoint")
    try:
        sealed_at = datetime.fromisoformat(found["sealed_at"])
    except ValueError as error:
        raise NoteBroken("this is not a checkpoint") from error
    return Checkpoint(
        origin=found["origin"],
        size=int(found["size"]),
        root=b64decode(found["root"]),
        sealed_at=sealed_at,
        after=int(found["after"]),
    )


def check(note: str, keys: Iterable[VerificationKey]) -> str:
    """Check a note's signatures by keys; give the id of the one that signed it."""
    text, signatures = _parts(note)
    known = {(key.name, key.key_id): key for key in keys}
    signed = [signature for signature in signatures if (signature.name, signature.key_id) in known]
    if not signed:
        raise UnknownKey("no signature is of a known key")
    for name, key_id, value in signed:
        try:
            Ed25519PublicKey.from_public_bytes(known[name, key_id].public).verify(value, text.encode())
        except InvalidSignature as error:
            raise NoteBroken(f"the signature of key {key_id} is false") from error
    return signed[0].key_id


def key_ids(note: str) -> list[str]:
    """Name the keys that signed a note, as it says itself."""
    return [signature.key_id for signature in _parts(note)[1]]


class _Signature(NamedTuple):
    name: str
    key_id: str
    value: bytes


def _parts(note: str) -> tuple[str, list[_Signature]]:
    """Take a note apart: what was signed, and by whom."""
    text, blank, below = note.rpartition("\n\n")
    if not blank or len(note) > NOTE_MAX or not below.endswith("\n"):
        raise NoteBroken("this is not a signed note")
    return f"{text}\n", [_signature(line) for line in below.removesuffix("\n").split("\n")]


def _signature(line: str) -> _Signature:
    found = _SIGNATURE.fullmatch(line)
    try:
        value = b64decode(found["signature"], validate=True) if found else b""
    except ValueError:
        value = b""
    if found is None or len(value) <= _KEY_ID_BYTES:
        raise NoteBroken("this is not a signed note")
    return _Signature(found["name"], value[:_KEY_ID_BYTES].hex(), value[_KEY_ID_BYTES:])


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
