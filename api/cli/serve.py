"""`fundledger serve`: the embedded PostgreSQL if need be, the service, and its clean end."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from argparse import Namespace
from datetime import timedelta
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar

from api.app import create_app
from api.cli.logs import log_as_service
from api.cli.where import again
from api.connections import Connection, sweep
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.housekeeping import Keeper
from api.log_lines import fields
from api.seal_key import SealKey, default_path
from api.service import Service
from api.settings import Settings
from api.version import VERSION
from projections import install
from projections.obstacles import Obstacle

DRAIN_S = 8
SWEEP_TICKS = 10
REMEDIES = {
    errno.EADDRINUSE: "give another --port, or stop what listens there",
    errno.EACCES: "give a --port above 1023, or the right to bind lower ones",
    errno.EADDRNOTAVAIL: "give a --host that this machine has",
}

log = logging.getLogger("fundledger")


class CannotServe(Obstacle):
    """The address cannot be had."""


def serve(arguments: Namespace) -> int:
    """Serve until told to stop; then drain, and stop what was started."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    settings = arguments.settings
    log_as_service(settings.log_level, settings.log_format)
    with _bound(settings.host, settings.port) as address:
        _serve_at(address, settings)
    return 0


def _bound(host: str, port: int) -> socket.socket:
    """Take the address before anything is started."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotServe(f"cannot serve at {host}:{port}: {error.strerror}; check --host") from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        remedy = REMEDIES.get(error.errno or 0, "give another --host or --port")
        raise CannotServe(f"cannot serve at {host}:{port}: {error.strerror}; {remedy}") from error
    return bound


def _serve_at(address: socket.socket, settings: Settings) -> None:
    if settings.database_url is not None:
        key = None if settings.seal_key is None else SealKey.at(settings.seal_key)
        uvloop.run(_serve(address, settings, settings.database_url, keeper=None, seal_key=key))
        return
    postgres = EmbeddedPostgres(settings.data)
    postgres.start()
    try:
        postgres.create_database_if_missing()
        install.migrate(postgres.url(), settings.ledger)
        login = install.make_service_login(postgres.url(), settings.ledger)
        key = SealKey.at(settings.seal_key or default_path(settings.data))
        uvloop.run(_serve(address, settings, postgres.url(user=login), keeper=postgres, seal_key=key))
    finally:
        postgres.stop()


async def _serve(
    address: socket.socket,
    settings: Settings,
    url: str,
    *,
    keeper: Keeper | None,
    seal_key: SealKey | None,
) -> None:
    service = Service(
        Database(url, settings.ledger),
        ledger=settings.ledger,
        keeper=keeper,
        request_ids_needed=settings.request_id == "required",
        clock_behind_max=timedelta(seconds=settings.clock_tolerance),
        seal_key=seal_key,
    )
    try:
        await service.start(simulate_from=settings.simulate_from)
        app = create_app(service, base_path=settings.base_path)
        gc.collect()
        gc.freeze()
        await _Server(_config(app), settings, service, seal_key).serve(sockets=[address])
    finally:
        served = service.ready
        await service.stop()
        if served:
            log.info("stopped", extra=fields(ledger=settings.ledger))


def _config(app: Litestar) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=Connection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


class _Server(uvicorn.Server):
    """Says where it serves once it does; at its end it lets followers of the log go before it waits."""

    def __init__(
        self, config: uvicorn.Config, settings: Settings, service: Service, seal_key: SealKey | None
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._service = service
        self._seal_key = seal_key

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if self.started and sockets:
            self._tell_start(sockets[0].getsockname()[1])

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: look whether to stop, and now and then who keeps a connection waiting."""
        if counter % SWEEP_TICKS == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def _tell_start(self, port: int) -> None:
        """Say to the log that it serves, then to people where: who reads that finds the other."""
        told = {"ledger": self._settings.ledger, "host": self._settings.host, "port": port}
        sealed = self._seal_key is not None
        log.info("started", extra=fields(**told, sealed=sealed, version=VERSION, pid=os.getpid()))
        _greet(self._settings, port)
        print(_of_seals(self._seal_key), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let followers go, and end."""
        log.info("stopping", extra=fields(ledger=self._settings.ledger))
        self._service.tail.end()
        await super().shutdown(sockets)


def _greet(settings: Settings, port: int) -> None:
    base_path = settings.base_path.rstrip("/")
    print(f"fundledger serves the ledger {settings.ledger} at http://{settings.host}:{port}{base_path}")
    command = sys.argv[0] if sys.argv[0].endswith("fundledger") else "fundledger"
    print(f"make a key: {command} keys create --role manager --name me{again(settings)}", flush=True)


def _of_seals(key: SealKey | None) -> str:
    if key is None:
        return "the log is NOT SEALED: say --seal-key FILE to have its checkpoints signed"
    return f"the log is sealed with {key.path}{', which was made now' if key.made else ''}"


def _exit(*_: Any) -> None:
    raise SystemExit(0)
