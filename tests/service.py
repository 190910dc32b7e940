"""`fundledger serve` as a process of its own, on a data directory or a database: started, killed, ended."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg

from api.cli import main
from api.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
FUNDLEDGER = (sys.executable, "-m", "api.cli")
"""The console script, also where only its packages are at hand."""

BOUND_S = 60.0
"""What has not come by then does not come."""

KEPT = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0)
"""The service hangs up a connection that has been idle for 5 s: an older one may be closing just now."""

_POLL_S = 0.01
_ADDRESS = re.compile(r"at (http://\S+)")


_HOW_FAR = re.compile(r"^.*\d %\n", re.MULTILINE)


class Ran:
    """What a command came to; how far it had come meanwhile, as a slow machine shows, is no error."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.output = done.stdout
        self.errors = _HOW_FAR.sub("", done.stderr)

    @property
    def last_line(self) -> str:
        """The last line of standard output."""
        return self.output.splitlines()[-1]


class Service:
    """A service and the commands on the same ledger; it can be killed and started again where it was."""

    def __init__(self, where: tuple[str, ...], log: Path, *, ledger: str = "main") -> None:
        self.where = (*where, "--ledger", ledger)
        self.log = log
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> str:
        """Start it, at the address where it was before, and wait until it serves; give what it said."""
        port = urlsplit(self.url).port or free_port()
        words = self.started(start(self.log, "--port", str(port), *self.where, *options))
        assert words, self.logged()
        return words

    def started(self, process: subprocess.Popen[bytes]) -> str:
        """Take a started process as the service; give what it said once it serves."""
        self.process = process
        words = read_line(process)
        if found := _ADDRESS.search(words):
            self.url = found[1]
            words += read_line(process)
        return words

    @property
    def pid(self) -> int:
        """The process id of the running service."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> int:
        """Send a signal that ends it; give the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; give the exit code."""
        assert self.process is not None
        code = self.process.wait(BOUND_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        assert self.signal(signal.SIGKILL) == -signal.SIGKILL

    def stop(self) -> None:
        """End it as an operator would, if it runs; it must end cleanly."""
        if self.running():
            assert self.signal(signal.SIGTERM) == 0, self.logged()

    def running(self) -> bool:
        """Say whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def run(self, *words: str, bound_s: float = BOUND_S) -> Ran:
        """Run a command on the same ledger."""
        return run(*words, *self.where, bound_s=bound_s)

    def command(self, *words: str) -> Ran:
        """Run a command on the same ledger within this process, which is faster."""
        output, errors = io.StringIO(), io.StringIO()
        arguments = [*words, *self.where]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = _exit_code(arguments)
        return Ran(subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue()))

    def key(self, role: str = "admin", *options: str) -> str:
        """Make a key by the command line; give its text."""
        done = self.command("keys", "create", "--role", role, "--name", f"a {role}", *options)
        assert done.code == 0, done.errors
        return done.last_line

    def client(self, key: str | None = None) -> httpx.Client:
        """Open a client with a key, a new admin's unless one is given."""
        headers = {"Authorization": f"Bearer {key or self.key()}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=BOUND_S, limits=KEPT, trust_env=False)

    def logged(self) -> str:
        """Read what it wrote to standard error."""
        return self.log.read_text() if self.log.exists() else ""

    def troubles(self) -> list[str]:
        """Give what it wrote that tells of trouble."""
        return troubles_in(self.logged())


def records(log: str) -> list[dict[str, Any]]:
    """Read a log's lines of JSON."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def troubles_in(log: str) -> list[str]:
    """Give the lines that tell of trouble: all but what goes on as it should, and refusals for cause."""
    return [line for line in log.splitlines() if not line.startswith("{") or _is_trouble(json.loads(line))]


def _is_trouble(record: dict[str, Any]) -> bool:
    for_cause = record["event"] == "refused" and record["status"] < 500
    return record["level"] != "info" and not for_cause


def _exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:  # wrong usage
        return int(ended.code or 0)


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `fundledger serve`."""
    with log.open("ab") as errors:
        return subprocess.Popen(
            [*FUNDLEDGER, "serve", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )


def run(*words: str, bound_s: float = BOUND_S) -> Ran:
    """Run a command to its end."""
    return Ran(
        subprocess.run(
            [*FUNDLEDGER, *words], check=False, cwd=ROOT, capture_output=True, text=True, timeout=bound_s
        )
    )


def read_line(process: subprocess.Popen[bytes]) -> str:
    """Read the next line that a process says; empty when it ended."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], BOUND_S)
    assert ready, "the process neither says anything nor ends"
    return process.stdout.readline().decode()


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Lend a new directory, in reach of the account that PostgreSQL runs as when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="fundledger-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """Lend the place of a new data directory."""
    with scratch_directory() as directory:
        yield directory / "data"


@contextlib.contextmanager
def embedded_service(*options: str, ledger: str = "main", begin: bool = True) -> Iterator[Service]:
    """Serve a new data directory."""
    with data_directory() as data, service_in(data, *options, ledger=ledger, begin=begin) as service:
        yield service


@contextlib.contextmanager
def service_in(data: Path, *options: str, ledger: str = "main", begin: bool = True) -> Iterator[Service]:
    """Serve a data directory; at the end nothing of it runs any more, killed or not."""
    service = Service(("--data", str(data)), data.parent / "log", ledger=ledger)
    try:
        if begin:
            service.start(*options)
        yield service
    finally:
        end(service)
        if data.exists():
            end_server(data)


@contextlib.contextmanager
def service_on(database_url: str, log: Path, *options: str, ledger: str = "main") -> Iterator[Service]:
    """Serve a ledger of a database."""
    service = Service(("--database-url", database_url), log, ledger=ledger)
    try:
        service.start(*options)
        yield service
    finally:
        end(service)


def end(service: Service) -> None:
    """End a service that may still run after a failed test."""
    if service.process is not None and service.process.poll() is None:
        service.process.terminate()
        try:
            service.process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()
    if service.process is not None and service.process.stdout is not None:
        service.process.stdout.close()


def end_server(data: Path) -> None:
    """End a server that a killed service left behind: the last to use it stops it."""
    if (data / "postgres" / "postmaster.pid").exists():
        with EmbeddedPostgres(data).session():
            pass


def postmaster_pid(data: Path) -> int | None:
    """Give the process id of the data directory's server, if it has one and says that it is ready."""
    try:
        lines = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return int(lines[0]) if ready else None


def superuser_url(data: Path) -> str:
    """Give the superuser's URL of a data directory's running server."""
    return EmbeddedPostgres(data).url()


def rows(url: str, query: str, *values: object, ledger: str = "main") -> list[tuple[object, ...]]:
    """Run a statement in a ledger's schema as superuser; give its rows."""
    with psycopg.connect(url, autocommit=True, options=f"-c search_path=ledger_{ledger}") as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Ask again and again until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"did not come true within {seconds} s"
        time.sleep(_POLL_S)


def by_then(seconds: float, condition: Callable[[], bool]) -> None:
    """Ask until a condition holds; asked later than so many seconds from now it must, on any machine."""
    until = time.monotonic() + seconds
    while True:
        late = time.monotonic() > until
        if condition():
            return
        assert not late, f"does not hold after {seconds} s"
        time.sleep(_POLL_S)


def day_lasts(span: timedelta) -> None:
    """Wait for the next day, by UTC, where this one does not last so long any more."""
    now = datetime.now(UTC)
    tomorrow = (now + span).replace(hour=0, minute=0, second=0, microsecond=0)
    time.sleep(max(0.0, (tomorrow - now).total_seconds()))


def free_port() -> int:
    """Find a port that nobody uses, and that the machine gives to nobody who asks for any."""
    for port in islice(_PORTS, _PORTS_EACH):
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


_PORTS_EACH = 100
_PORTS_FROM = 10_000 + os.getpid() % 220 * _PORTS_EACH
_PORTS = cycle(range(_PORTS_FROM, _PORTS_FROM + _PORTS_EACH))
"""This process's own: others that test find theirs elsewhere."""


def alive(pid: int) -> bool:
    """Say whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
