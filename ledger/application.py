"""The ledger as an application of the event store library: streams, and accounts as they once were.

Writes go through ledger.writer; who reads the log in order reads its table.
"""

from __future__ import annotations

from typing import Any, ClassVar

from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory, Mapper, Transcoder
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from ledger import account
from ledger.account import Account
from ledger.codec import BytesTranscoder, EventMapper
from ledger.events import Event
from ledger.recorder import LedgerRecorder
from ledger.silence import BoundedThreadConnection

CONNECT_TIMEOUT_S = 5


class LedgerFactory(PostgresFactory):
    """Builds the recorder on connections whose search path is the ledger's schema."""

    application_recorder_class = LedgerRecorder

    def __init__(self, env: Environment | None) -> None:
        super().__init__(env)
        self.datastore.pool.connection_class = BoundedThreadConnection
        kwargs: Any = self.datastore.pool.kwargs
        row_factory = kwargs["row_factory"]
        kwargs.clear()  # what the library makes of its own settings; ours come as one conninfo
        kwargs.update(conninfo_to_dict(self.env.get("LEDGER_CONNINFO") or ""), row_factory=row_factory)
        kwargs.setdefault("connect_timeout", CONNECT_TIMEOUT_S)


class Ledger(Application[str]):
    """One ledger's log, read through the library. `name` fixes the table's name for ever."""

    name = "ledger"
    env: ClassVar[dict[str, str]] = {
        "ORIGINATOR_ID_TYPE": "text",
        "CREATE_TABLE": "no",
        "POSTGRES_DBNAME": "",
        "POSTGRES_HOST": "",
        "POSTGRES_USER": "",
        "POSTGRES_PASSWORD": "",
        "POSTGRES_POOL_SIZE": "1",
    }

    @classmethod
    def at(cls, conninfo: str, *, schema: str) -> Ledger:
        """Open the ledger of a schema; the conninfo carries its search path as an option."""
        return cls(env={"LEDGER_CONNINFO": conninfo, "POSTGRES_SCHEMA": schema})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Build our own factory."""
        return LedgerFactory(env)

    def construct_transcoder(self) -> Transcoder:
        """Build the transcoder that the library asks for."""
        return BytesTranscoder()

    def construct_mapper(self) -> Mapper[str]:
        """Build the mapper that stores our own bytes."""
        return EventMapper(self.construct_transcoder())

    def stream(self, name: str, *, until: int | None = None) -> list[Event]:
        """Give the events of a stream in order, up to a version."""
        return list(self.events.get(name, lte=until))  # type: ignore[arg-type]

    def account(self, login: int, *, version: int | None = None) -> Account | None:
        """Fold an account from its events, up to a version: time travel."""
        return account.fold(self.stream(f"account:{login}", until=version))
