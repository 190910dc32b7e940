"""What a command says when it fails: one sentence that ends in what to do next."""

from __future__ import annotations

import errno
import logging
from argparse import Namespace
from typing import Final

import psycopg

from api.cli.logs import masked
from api.cli.where import again
from api.embedded import EmbeddedPostgresError
from api.embedded.errors import CommandFailed
from api.seal_key import SealKeyUnusable
from ledger.checkpoint import NoteBroken
from ledger.codec import UnknownEvent
from ledger.continuity import LogBroken
from ledger.refusals import Refusal
from ledger.writer import Unreachable
from projections.export import NotExportable
from projections.obstacles import Obstacle
from projections.schema import LedgerMissing, SchemaOutdated

log = logging.getLogger("fundledger")

PLAIN: Final = (Obstacle, EmbeddedPostgresError, SealKeyUnusable, NotExportable)
"""What says by itself what to do."""

AFTER_A_REFUSAL: Final = {
    "unknown_key": "`fundledger keys list` shows those that live",
    "ledger_exists": "use it with --ledger, or give another NAME",
    "ledger_is_real": "give another --ledger, or another --data",
    "already_simulated": "give another --ledger, or another --data",
    "simulation_goes_back": "give a later time, or leave --simulate-from away to go on from there",
    "bad_mask": "give --groups '*' for all groups, or see docs/glossary.md on masks",
    "amount_malformed": "write it as 1500.00",
    "bad_file": "give another --results",
    "database_away": "run it again when PostgreSQL is back",
    "outcome_unknown": "an import can be run again; `fundledger keys list` shows whether a key was made",
    "batch_failed": "see the log of PostgreSQL",
}
"""By code, where the sentence says only what is so."""

AFTER_AN_ERROR: Final = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "give a file",
    errno.EACCES: "run it as an account that may, or give another path",
    errno.EPERM: "run it as an account that may, or give another path",
    errno.EROFS: "give a path that can be written to",
    errno.ENOSPC: "make room on that disk, and run it again",
    errno.EDQUOT: "make room on that disk, and run it again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), and run it again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), and run it again",
}
ON_THE_DATABASE: Final = (
    ("password", "give the login's password in PGPASSWORD, or in a password file"),
    ("pg_hba.conf", "let this login in, in pg_hba.conf of that server"),
    ("failed to resolve", "check the host in --database-url"),
    ("translate host name", "check the host in --database-url"),
    ("refused", "start PostgreSQL there, or check host and port in --database-url"),
    ("no such file", "start PostgreSQL there, or check host and port in --database-url"),
    ("lock timeout", "somebody reads the ledger for long: run it again when that is over"),
    ("timeout", "check the way to that host, and its firewall"),
    ("timed out", "check the way to that host, and its firewall"),
    ("too many", "end other connections, or raise max_connections of that server"),
    ("remaining connection slots", "end other connections, or raise max_connections of that server"),
    ("starting up", "wait until that server has started, and run it again"),
    ("shutting down", "wait until that server is back, and run it again"),
    ("permission denied", "use a login that may: docs/operations.md, Logins and roles"),
    ("certificate", "check sslmode and the certificates in --database-url"),
    ("ssl", "check sslmode in --database-url"),
    ("no space left", "make room on the disk of that server, and run it again"),
    ("does not exist", "make it, or check the name in --database-url"),
)
"""By words of PostgreSQL's; it gives no code before there is a connection. The first that fits counts."""


def sentence_of(error: Exception, arguments: Namespace) -> str:
    """Say what went wrong and what to do next, in one line."""
    return masked(" ".join(_words(error, arguments).split()))


def _words(error: Exception, arguments: Namespace) -> str:
    if isinstance(error, CommandFailed):
        return f"{error}; see postgres.log in the data directory, and whether its disk has room"
    if isinstance(error, PLAIN):
        return str(error)
    match error:
        case LedgerMissing() if error.others:
            return f"{error}; check --ledger, or make it by `fundledger migrate{again(arguments.settings)}`"
        case SchemaOutdated():
            return f"{error}; run `fundledger migrate{again(arguments.settings)}` first"
        case Refusal():
            return _then(str(error), AFTER_A_REFUSAL.get(error.code))
        case psycopg.Error() | Unreachable():
            return f"the database cannot be used: {_of_database(error)}"
        case OSError():
            return _then(_of_system(error), AFTER_AN_ERROR.get(error.errno or 0))
        case _:
            return _of_the_log(error) or _fault(error)


def _of_the_log(error: Exception) -> str | None:
    """Say what is wrong with a log, or with what was sealed of it."""
    match error:
        case LogBroken():
            return f"{error}; see what `fundledger verify` finds, and docs/operations.md, Restore"
        case UnknownEvent():
            return f"{error}; nothing was changed: install the version that wrote it, or a later one"
        case NoteBroken():
            return f"{error}; give the text that GET /audit/checkpoint answers with, unchanged"
        case _:
            return None


def _then(words: str, remedy: str | None) -> str:
    return words if remedy is None else f"{words}; {remedy}"


def _of_database(error: Exception) -> str:
    words = str(error).strip() or str(error.__cause__ or type(error).__name__)
    known = (remedy for sign, remedy in ON_THE_DATABASE if sign in words.lower())
    return f"{words}; {next(known, 'see the log of that PostgreSQL, and check --database-url')}"


def _of_system(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}"


def _fault(error: Exception) -> str:
    """Log a bug: whoever mends it needs to know where it was."""
    log.critical("the command met a fault", exc_info=error)
    return "this is a fault of fundledger's own: report it, with the lines above"
