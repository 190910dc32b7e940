"""`fundledger verify`, `export` and `seal-key`: what shows that a log is the one that was sealed."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from api.cli.progress import counted, progress_bar
from api.cli.where import database_url, extent, reading
from api.seal_key import SealKey, SealKeyUnusable, default_path, read_note
from ledger import checkpoint
from ledger.checkpoint import VerificationKey
from ledger.evidence import Kept, Signatures
from ledger.offline import ExportVerification
from projections import export as exporting
from projections import rebuild, verifying
from projections.export import NotExportable

LINE_MAX = 1 << 24
"""Bytes of an event at most, far beyond any that was ever stored."""

MEND = "`fundledger rebuild` mends read models; for the log see docs/operations.md, Restore"
KEEP = "keep the export and the checkpoints as they are, and ask whoever runs the ledger"
_FIRST = "SELECT leaf_hash FROM ledger_events ORDER BY notification_id LIMIT 1"


def verify(arguments: Namespace) -> int:
    """Say what is not as it should be, or that everything is."""
    if arguments.offline is not None:
        return _verify_export(arguments)
    keys, kept = list(arguments.public_key or ()), _kept(arguments.checkpoint or ())
    own = _own_key(arguments)
    if own is not None:
        keys.append(checkpoint.verification_key("", own.private))
        kept += _remembered(own, arguments.settings.ledger)
    ledger = arguments.settings.ledger
    with database_url(arguments.settings) as url:
        with counted(extent(url, ledger)[0], "checked", "replayed") as seen:
            found = list(rebuild.verify(url, ledger, seen, keys=keys, kept=kept))
        head, sealed = extent(url, ledger)
    if _told(found, MEND):
        return 1
    print("the log holds together and the read models are what it adds up to")
    print(f"sealed up to position {sealed} of {head}{_unchecked(keys)}")
    return 0


def export(arguments: Namespace) -> int:
    """Write the stored bytes of all sealed events, one a line."""
    with database_url(arguments.settings) as url, reading(url, arguments.settings.ledger) as connection:
        _, sealed = verifying.extent(connection)
        if not sealed:
            raise NotExportable("nothing is sealed yet: a service with a seal key does it within a second")
        with _target(arguments.file) as file, progress_bar(sealed) as seen:
            done = 0
            for states in exporting.lines(connection, until=sealed):
                file.writelines(state + b"\n" for state in states)
                done += len(states)
                seen(done, f"written {done:,} of {sealed:,} events")
    print(f"{sealed} events, up to the newest checkpoint", file=sys.stderr)
    return 0


def show_key(arguments: Namespace) -> int:
    """Print what an auditor checks this ledger's checkpoints with."""
    key = _own_key(arguments)
    if key is None:
        raise SealKeyUnusable("there is no seal key here: `fundledger serve` makes one; see --seal-key")
    with database_url(arguments.settings) as url, reading(url, arguments.settings.ledger) as connection:
        first = connection.execute(_FIRST, binary=True).fetchone()
    if first is None:
        raise SealKeyUnusable(
            "the key is named after the ledger's first event, and there is none yet: make an API key first"
        )
    origin = checkpoint.origin_of(arguments.settings.ledger, first[0])
    print(checkpoint.verification_key(origin, key.private))
    return 0


def _verify_export(arguments: Namespace) -> int:
    if not arguments.checkpoint:
        words = "--offline needs a --checkpoint to hold the export against: see `fundledger verify --help`"
        print(f"fundledger: {words}", file=sys.stderr)
        return 2
    keys = arguments.public_key or ()
    run = ExportVerification(_kept(arguments.checkpoint), Signatures(keys))
    with _source(arguments.offline) as file, progress_bar(_size(file)) as seen:
        lines = iter(lambda: file.readline(LINE_MAX), b"")
        found = list(run.run(lines, lambda head: seen(_read(file), f"checked {head:,} events")))
    if _told(found, KEEP):
        return 1
    print(f"the {run.head} events hold together, and each balance is what its events add up to")
    print(f"sealed up to position {run.vouched} of {run.head}{_unchecked(keys)}")
    return 0


def _told(found: list[str], remedy: str) -> bool:
    for finding in found:
        print(finding)
    if found:
        print(f"fundledger: {len(found)} differences; {remedy}", file=sys.stderr)
    return bool(found)


def _unchecked(keys: Sequence[VerificationKey]) -> str:
    return "" if keys else "; the signatures were not checked: see --public-key"


def _kept(paths: Iterable[Path]) -> list[Kept]:
    return [Kept(str(path), read_note(path)) for path in paths]


def _remembered(key: SealKey, ledger: str) -> list[Kept]:
    path = key.witness(ledger)
    return _kept([path]) if path.exists() else []


def _own_key(arguments: Namespace) -> SealKey | None:
    """Give the ledger's own key, or None where none was ever made; one that is named must be there."""
    settings = arguments.settings
    path = settings.seal_key
    if path is None and settings.database_url is None:
        path = default_path(settings.data)
    if path is not None and path.exists():
        return SealKey.at(path)
    if settings.seal_key is not None:
        raise SealKeyUnusable(f"there is no seal key at {path}: check --seal-key, or restore that file")
    return None


@contextmanager
def _target(path: Path) -> Iterator[BinaryIO]:
    """Lend where an export goes; a file appears when it is whole, and only its owner can read it."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with part.open("wb") as file:
            yield file
    except BaseException:
        part.unlink()  # half an export is of no use, and may be what has filled the disk
        raise
    part.replace(path)


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def _size(file: BinaryIO) -> int | None:
    return os.fstat(file.fileno()).st_size if file.seekable() else None


def _read(file: BinaryIO) -> int:
    return file.tell() if file.seekable() else 0
