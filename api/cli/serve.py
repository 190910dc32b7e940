"""`fundledger serve`: the embedded PostgreSQL if need be, the service, and its clean end."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from argparse import Namespace
from typing import Any

import uvicorn
import uvloop

from api.app import create_app
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.housekeeping import Keeper
from api.service import Service
from projections import install

DRAIN_S = 8
GC_THRESHOLDS = (200_000, 100, 1_000)


def serve(arguments: Namespace) -> int:
    """Serve until told to stop; then drain, and stop what was started."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    with _bound(arguments.host, arguments.port) as address:
        _serve_at(address, arguments)
    return 0


def _bound(host: str, port: int) -> socket.socket:
    """Take the address before anything is started; OSError where it cannot be had."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise OSError(f"cannot serve at {host}:{port}: {error.strerror}") from error
    return bound


def _serve_at(address: socket.socket, arguments: Namespace) -> None:
    if arguments.database_url is not None:
        uvloop.run(_serve(address, arguments, arguments.database_url, keeper=None))
        return
    postgres = EmbeddedPostgres(arguments.data)
    postgres.start()
    try:
        postgres.create_database_if_missing()
        install.migrate(postgres.url(), arguments.ledger)
        uvloop.run(_serve(address, arguments, postgres.url(), keeper=postgres))
    finally:
        postgres.stop()


async def _serve(address: socket.socket, arguments: Namespace, url: str, *, keeper: Keeper | None) -> None:
    service = Service(
        Database(url, arguments.ledger),
        ledger=arguments.ledger,
        keeper=keeper,
        request_ids_needed=arguments.request_id == "required",
    )
    try:
        await service.start(simulate_from=arguments.simulate_from)
        app = create_app(service, base_path=arguments.base_path)
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await _Server(config, arguments, service).serve(sockets=[address])
    finally:
        await service.stop()


class _Server(uvicorn.Server):
    """Says where it serves once it does; at its end it lets followers of the log go before it waits."""

    def __init__(self, config: uvicorn.Config, arguments: Namespace, service: Service) -> None:
        super().__init__(config)
        self._arguments = arguments
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if self.started and sockets:
            _greet(self._arguments, sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let followers go, and end."""
        self._service.tail.end()
        await super().shutdown(sockets)


def _greet(arguments: Namespace, port: int) -> None:
    if arguments.database_url is None:
        where = "" if str(arguments.data) == "data" else f" --data {arguments.data}"
    else:
        where = " --database-url URL"
    ledger = "" if arguments.ledger == "main" else f" --ledger {arguments.ledger}"
    base_path = arguments.base_path.rstrip("/")
    print(f"fundledger serves the ledger {arguments.ledger} at http://{arguments.host}:{port}{base_path}")
    command = sys.argv[0] if sys.argv[0].endswith("fundledger") else "fundledger"
    print(f"make a key: {command} keys create --role manager --name me{where}{ledger}", flush=True)


def _exit(*_: Any) -> None:
    raise SystemExit(0)
