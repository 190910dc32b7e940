"""`fundledger serve`: the embedded PostgreSQL if need be, the service, and its clean end."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from argparse import Namespace
from datetime import timedelta
from typing import Any

import uvicorn
import uvloop

from api.app import create_app
from api.connections import Connection, sweep
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.housekeeping import Keeper
from api.seal_key import SealKey, default_path
from api.service import Service
from projections import install

DRAIN_S = 8
SWEEP_TICKS = 10
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
        key = None if arguments.seal_key is None else SealKey.at(arguments.seal_key)
        uvloop.run(_serve(address, arguments, arguments.database_url, keeper=None, seal_key=key))
        return
    postgres = EmbeddedPostgres(arguments.data)
    postgres.start()
    try:
        postgres.create_database_if_missing()
        install.migrate(postgres.url(), arguments.ledger)
        login = install.make_service_login(postgres.url(), arguments.ledger)
        key = SealKey.at(arguments.seal_key or default_path(arguments.data))
        uvloop.run(_serve(address, arguments, postgres.url(user=login), keeper=postgres, seal_key=key))
    finally:
        postgres.stop()


async def _serve(
    address: socket.socket,
    arguments: Namespace,
    url: str,
    *,
    keeper: Keeper | None,
    seal_key: SealKey | None,
) -> None:
    service = Service(
        Database(url, arguments.ledger),
        ledger=arguments.ledger,
        keeper=keeper,
        request_ids_needed=arguments.request_id == "required",
        clock_behind_max=timedelta(seconds=arguments.clock_tolerance),
        seal_key=seal_key,
    )
    try:
        await service.start(simulate_from=arguments.simulate_from)
        app = create_app(service, base_path=arguments.base_path)
        config = uvicorn.Config(
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
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await _Server(config, arguments, service, seal_key).serve(sockets=[address])
    finally:
        await service.stop()


class _Server(uvicorn.Server):
    """Says where it serves once it does; at its end it lets followers of the log go before it waits."""

    def __init__(
        self, config: uvicorn.Config, arguments: Namespace, service: Service, seal_key: SealKey | None
    ) -> None:
        super().__init__(config)
        self._arguments = arguments
        self._service = service
        self._seal_key = seal_key

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if self.started and sockets:
            _greet(self._arguments, sockets[0].getsockname()[1])
            print(_of_seals(self._seal_key), flush=True)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: look whether to stop, and now and then who keeps a connection waiting."""
        if counter % SWEEP_TICKS == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

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


def _of_seals(key: SealKey | None) -> str:
    if key is None:
        return "the log is NOT SEALED: say --seal-key FILE to have its checkpoints signed"
    return f"the log is sealed with {key.path}{', which was made now' if key.made else ''}"


def _exit(*_: Any) -> None:
    raise SystemExit(0)
