"""`fundledger migrate`, `ledgers`, `rebuild`."""

from __future__ import annotations

from argparse import Namespace

from api import startup
from api.cli.progress import counted
from api.cli.where import database_url, extent
from ledger.refusals import ValidationError
from projections import install, schema
from projections import rebuild as rebuilding


def migrate(arguments: Namespace) -> int:
    """Create or update the schema of a ledger."""
    with database_url(arguments.settings, make=True) as url:
        startup.check_database(url)
        done = install.migrate(url, arguments.settings.ledger)
    print("\n".join(f"applied {name}" for name in done) or "nothing to do")
    return 0


def create(arguments: Namespace) -> int:
    """Make a ledger; one that is there already is an error."""
    with database_url(arguments.settings, make=True) as url:
        startup.check_database(url)
        if arguments.name in schema.ledgers(url):
            raise ValidationError("ledger_exists", f"there is a ledger {arguments.name} already")
        install.migrate(url, arguments.name)
    print(arguments.name)
    return 0


def show(arguments: Namespace) -> int:
    """List the ledgers."""
    with database_url(arguments.settings) as url:
        names = schema.ledgers(url)
    print("\n".join(names))
    return 0


def rebuild(arguments: Namespace) -> int:
    """Make the read models anew, while a service may go on."""
    ledger = arguments.settings.ledger
    with (
        database_url(arguments.settings) as url,
        counted(extent(url, ledger)[0], "replayed") as seen,
    ):
        position = rebuilding.rebuild(url, ledger, seen)
    print(f"rebuilt from {position} events")
    return 0
