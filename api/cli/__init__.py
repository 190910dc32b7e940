"""The command line: `fundledger COMMAND`. Errors go to standard error, with exit code 1 or 2."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from api.bodies import YEARS
from api.cli import demo, evidence, imports, keys, ledgers, serve
from api.cli.logs import log_to_standard_error
from api.embedded import EmbeddedPostgresError
from api.seal_key import SealKeyUnusable
from api.startup import CLOCK_BEHIND_MAX
from ledger.checkpoint import NoteBroken
from ledger.codec import UnknownEvent
from ledger.refusals import Refusal
from projections.export import NotExportable
from projections.obstacles import Obstacle
from projections.rebuild import LogBroken
from projections.schema import SchemaOutdated

DATA = Path("data")
FAILURES = (
    *(Refusal, EmbeddedPostgresError, Obstacle, LogBroken, UnknownEvent),
    *(SealKeyUnusable, NoteBroken, NotExportable),
)
"""What says in a sentence why a command did not do what it was asked for."""

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    arguments = parser().parse_args(argv)
    log_to_standard_error()
    command: Command = arguments.run
    try:
        return command(arguments)
    except SchemaOutdated as error:
        return _fail(f"{error}; run `fundledger migrate{_where(arguments)}` first")
    except FAILURES as error:
        return _fail(str(error))
    except psycopg.Error as error:
        return _fail(f"the database cannot be used: {str(error).strip()}")
    except BrokenPipeError:
        sys.stdout = None  # whoever read it has gone; there is nothing left to flush to
        return 1
    except OSError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Describe all commands and their options."""
    top = argparse.ArgumentParser(
        prog="fundledger", description="an event-sourced funding ledger for brokers"
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    common = _common()
    _serve(commands.add_parser("serve", parents=[common], help="serve a ledger over HTTP"))
    command = commands.add_parser("migrate", parents=[common], help="create or update a ledger's schema")
    command.set_defaults(run=ledgers.migrate)
    _keys(commands.add_parser("keys", help="make, list, revoke and rotate keys"), common)
    _ledgers(commands.add_parser("ledgers", help="make and list ledgers"), common)
    _import(commands.add_parser("import", parents=[common], help="take over accounts from a CSV file"))
    command = commands.add_parser("rebuild", parents=[common], help="make the read models anew from the log")
    command.set_defaults(run=ledgers.rebuild)
    _verify(
        commands.add_parser("verify", parents=[common], help="check the log, its seals and the read models")
    )
    command = commands.add_parser("export", parents=[common], help="write all sealed events to a file")
    command.add_argument(
        "file", type=Path, metavar="FILE", help="where the events go, one a line; - is standard output"
    )
    command.set_defaults(run=evidence.export)
    _seal_key(commands.add_parser("seal-key", help="show the key that checkpoints are checked with"), common)
    _demo(commands.add_parser("demo", parents=[common], help="fill an empty ledger with a made-up broker"))
    return top


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    where = common.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, default=DATA, help="directory of the embedded PostgreSQL")
    where.add_argument("--database-url", help="URL of a PostgreSQL 15 to 18 to use instead")
    common.add_argument("--ledger", default="main", help="name of the ledger (default: main)")
    return common


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=port, default=8080, help="0 takes a free one")
    command.add_argument(
        "--base-path", type=base_path, default="/", help="where the routes are mounted, such as /mt4/manager"
    )
    command.add_argument(
        "--request-id",
        choices=["required", "optional"],
        default="required",
        help="whether money commands must bring a request id",
    )
    command.add_argument(
        "--seal-key",
        type=Path,
        metavar="FILE",
        help="the key that signs checkpoints; made where there is none",
    )
    command.add_argument(
        "--simulate-from", type=instant, metavar="TIME", help="run the ledger's clock on from this instant"
    )
    command.add_argument(
        "--clock-tolerance",
        type=keys.seconds,
        default=int(CLOCK_BEHIND_MAX.total_seconds()),
        metavar="SECONDS",
        help="how far the clock may be behind the ledger's last event",
    )
    command.set_defaults(run=serve.serve)


def _keys(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", parents=[common], help="make a key and print it once")
    create.add_argument("--role", required=True, choices=sorted(keys.ROLES))
    create.add_argument("--name", required=True)
    create.add_argument("--groups", default="*", metavar="MASK", help="groups that the key reaches")
    create.add_argument("--logins", type=keys.logins, metavar="LIST", help="the only logins that it reaches")
    create.add_argument("--max-amount", metavar="N", help="limit of one operation")
    create.add_argument("--max-amount-day", metavar="N", help="limit of a server day")
    create.add_argument("--expires", type=instant, metavar="TIME")
    create.set_defaults(run=keys.create)
    listing = actions.add_parser("list", parents=[common], help="list the keys")
    listing.set_defaults(run=keys.show)
    revoke = actions.add_parser("revoke", parents=[common], help="kill a key")
    revoke.add_argument("key", metavar="KEY_ID")
    revoke.set_defaults(run=keys.revoke)
    rotate = actions.add_parser("rotate", parents=[common], help="make a key's successor and end the key")
    rotate.add_argument("key", metavar="KEY_ID")
    rotate.add_argument(
        "--overlap", type=keys.seconds, default=0, metavar="SECONDS", help="how long both live"
    )
    rotate.set_defaults(run=keys.rotate)


def _import(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", type=Path, metavar="FILE", help="accounts.csv; its first row names the columns"
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="where each row's result goes (default: beside it)",
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be, and book nothing")
    command.set_defaults(run=imports.import_accounts)


def _verify(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--offline", type=Path, metavar="EXPORT", help="check an export instead; needs no database"
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        metavar="FILE",
        help="a checkpoint that was kept elsewhere; may be given again",
    )
    command.add_argument(
        "--public-key",
        type=evidence.public_key,
        action="append",
        metavar="KEY",
        help="what `fundledger seal-key show` printed; may be given again",
    )
    command.set_defaults(run=evidence.verify)


def _seal_key(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", parents=[common], help="print the public key, for an auditor")
    show.add_argument(
        "--seal-key", type=Path, metavar="FILE", help="the key, where it is not in the data directory"
    )
    show.set_defaults(run=evidence.show_key)


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed makes the same broker"
    )
    command.set_defaults(run=demo.demo)


def _ledgers(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create", parents=[common], help="make a ledger: its own schema, log and keys"
    )
    create.add_argument("name", metavar="NAME")
    create.set_defaults(run=ledgers.create)
    listing = actions.add_parser("list", parents=[common], help="list the ledgers")
    listing.set_defaults(run=ledgers.show)


def instant(text: str) -> datetime:
    """Parse an instant of the command line: RFC 3339 with a zone."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-20T09:30:00Z") from error
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no zone: write 2026-11-20T09:30:00Z")
    if value.year not in YEARS:
        raise argparse.ArgumentTypeError(f"{text!r} lies outside of {YEARS[0]}..{YEARS[-1]}")
    return value.astimezone(UTC)


def port(text: str) -> int:
    """Parse a port of the command line."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def base_path(text: str) -> str:
    """Parse the path under which the routes are mounted."""
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path such as /mt4/manager")
    return text


def _where(arguments: argparse.Namespace) -> str:
    """Repeat where the command looked, for the one that mends it."""
    if arguments.database_url is None:
        words = "" if arguments.data == DATA else f" --data {shlex.quote(str(arguments.data))}"
    else:
        words = " --database-url URL"
    return words if arguments.ledger == "main" else f"{words} --ledger {arguments.ledger}"


def _fail(words: str) -> int:
    print(f"fundledger: {words}", file=sys.stderr)
    return 1
