"""The key that signs checkpoints: a file that the database does not hold, and beside it the last note signed.

The note is a witness of its own. Whoever rewrites the database does not reach it, so the next start finds out
before anything is signed on top of a log that is another one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import checkpoint
from ledger.checkpoint import NOTE_MAX, Checkpoint, NoteBroken


def default_path(data: Path) -> Path:
    """Name the key of a data directory: beside PostgreSQL's files, not among them."""
    return data / "seal-key.pem"


class SealKeyUnusable(Exception):
    """The file of the seal key holds none, or others can read it."""


class SealKey:
    """A seal key and the place where it lies."""

    def __init__(self, path: Path, private: Ed25519PrivateKey, *, made: bool = False) -> None:
        self.path = path
        self.made = made
        """Whether it was made just now."""
        self.private = private

    @classmethod
    def at(cls, path: Path) -> SealKey:
        """Read the key, or make it where there is no file yet."""
        made = not path.exists() and _make(path)
        return cls(path, _read(path), made=made)

    def witness(self, ledger: str) -> Path:
        """Name the file of the last note that was signed for a ledger."""
        return self.path.with_name(f"sealed-{ledger}.txt")

    def remember(self, ledger: str, note: str) -> None:
        """Keep a note as the last one that was signed, in the place of the one before."""
        path = self.witness(ledger)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(note, encoding="utf-8")
        fresh.replace(path)

    def remembered(self, ledger: str) -> Checkpoint | None:
        """Give the last checkpoint that was signed, as far as it is known here."""
        path = self.witness(ledger)
        return checkpoint.read(read_note(path)) if path.exists() else None


def read_note(path: Path) -> str:
    """Read a note from a file; NoteBroken for what cannot be one."""
    with path.open("rb") as file:
        data = file.read(NOTE_MAX * 4)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteBroken("this is not a signed note") from error


def _make(path: Path) -> bool:
    """Make a key, whole or not at all; False where another process was first."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
            return True
    finally:
        fresh.unlink()
    return False


def _read(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & 0o077:
        raise SealKeyUnusable(f"others can read the seal key {path}: say chmod 600")
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SealKeyUnusable(
            f"{path} holds no seal key that can be read: restore that file, or give another --seal-key"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SealKeyUnusable(f"{path} holds a key of another kind than Ed25519: give another --seal-key")
    return private
