"""The embedded PostgreSQL starts, survives what kills servers, and is shared without surprises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

import psycopg
import pytest

from api.embedded import EmbeddedPostgres, EmbeddedPostgresError

SERVICE = """
import signal, sys
from pathlib import Path
from api.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), shared_buffers="16MB")
server.start()
print(server.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def empty() -> Iterator[Path]:
    """Yield a directory directly under /tmp, where PostgreSQL's account can reach it when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="fundledger-test-"))
    yield directory
    rmtree(directory)


@pytest.fixture
def data(empty: Path, made_before: Path) -> Path:
    """Return a data directory that has been used before; copied, since making one takes a while."""
    copy(made_before, empty)
    return empty


@pytest.fixture(scope="module")
def made_before() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="fundledger-test-"))
    with small(directory).session():
        pass
    yield directory
    rmtree(directory)


@pytest.fixture
def server(data: Path) -> Iterator[EmbeddedPostgres]:
    server = small(data)
    server.start()
    yield server
    server.stop()


def copy(made_before: Path, data: Path) -> None:
    """Copy a data directory, owners included."""
    subprocess.run(["cp", "-a", f"{made_before}/.", str(data)], check=True)


def small(data: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data, shared_buffers="16MB")


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def setting(server: EmbeddedPostgres, name: str) -> object:
    return ask(server.url(dbname="postgres"), f"SELECT current_setting('{name}')")


def system_identifier(server: EmbeddedPostgres) -> object:
    return ask(server.url(dbname="postgres"), "SELECT system_identifier FROM pg_control_system()")


def log(data: Path) -> str:
    return (data / "postgres.log").read_text()


def kill(pid: int | None) -> None:
    """Kill a process and wait until it is gone."""
    assert pid is not None
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("wal_init_zero", "off"),
        ("jit", "off"),
        ("max_wal_size", "8GB"),
        ("checkpoint_timeout", "15min"),
        ("shared_buffers", "16MB"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
    ],
)
def test_the_server_runs_with_our_settings(shared: EmbeddedPostgres, name: str, value: str) -> None:
    assert setting(shared, name) == value


@pytest.fixture(scope="module")
def shared(made_before: Path) -> Iterator[EmbeddedPostgres]:
    """Yield one server for all tests that only look."""
    directory = Path(tempfile.mkdtemp(prefix="fundledger-test-"))
    copy(made_before, directory)
    server = small(directory)
    server.start()
    yield server
    server.stop()
    rmtree(directory)


def test_the_server_is_postgresql_18(shared: EmbeddedPostgres) -> None:
    assert shared.version().split(".")[0] == "18"


def test_a_database_is_created_once(shared: EmbeddedPostgres) -> None:
    assert shared.create_database_if_missing("once") is True
    assert shared.create_database_if_missing("once") is False
    assert ask(shared.url(dbname="once"), "SELECT current_database()") == "once"


def test_nobody_else_on_the_machine_can_reach_the_data_or_the_socket(
    server: EmbeddedPostgres, data: Path
) -> None:
    assert data.stat().st_mode & 0o077 == 0
    assert (data / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_the_terminals_ctrl_c_does_not_reach_the_server(shared: EmbeddedPostgres) -> None:
    assert shared.pid is not None
    assert os.getpgid(shared.pid) != os.getpgid(0)
    assert os.getsid(shared.pid) != os.getsid(0)


def test_a_second_start_finds_the_same_files(data: Path) -> None:
    server = small(data)
    server.start()
    first = system_identifier(server)
    server.stop()
    server.start()
    assert system_identifier(server) == first
    server.stop()


def test_a_start_may_be_repeated(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url(dbname="postgres")) as connection:
        server.start()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_log_that_has_grown_long_is_put_aside(data: Path) -> None:
    with (data / "postgres.log").open("w") as file:
        file.truncate(17 * 2**20)
    with small(data).session():
        assert len(log(data)) < 2**20
    assert (data / "postgres.log.1").stat().st_size == 17 * 2**20


def test_an_error_is_logged_without_its_statement(server: EmbeddedPostgres, data: Path) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask(server.url(), "SELECT 1 / 0 AS a_long_statement")
    assert "division by zero" in log(data)
    assert "a_long_statement" not in log(data)


def test_a_stop_is_clean_and_may_be_repeated(server: EmbeddedPostgres, data: Path) -> None:
    server.stop()
    server.stop()
    assert not server.running()
    assert log(data).endswith("database system is shut down\n")
    server.start()
    assert "automatic recovery" not in log(data)


def test_making_the_files_begins_anew_when_it_was_cut_short(empty: Path) -> None:
    remains = empty / "postgres.new"
    remains.mkdir()
    (remains / "PG_VERSION").write_text("18\n")
    with small(empty).session() as url:
        assert ask(url, "SELECT 1") == 1
    assert not remains.exists()


def test_a_killed_server_is_started_again_with_all_it_acknowledged(
    server: EmbeddedPostgres, data: Path
) -> None:
    server.create_database_if_missing()
    ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS answer")
    kill(server.pid)
    assert not server.running()
    assert server.ensure_running() is True
    assert server.ensure_running() is False
    assert ask(server.url(), "SELECT answer FROM kept") == 7
    assert "automatic recovery in progress" in log(data)


def test_a_stopped_server_is_not_started_by_ensure_running(server: EmbeddedPostgres) -> None:
    server.stop()
    with pytest.raises(EmbeddedPostgresError, match="has not been started"):
        server.ensure_running()


def test_a_process_id_left_by_a_crash_may_belong_to_any_program_by_now(
    server: EmbeddedPostgres, data: Path
) -> None:
    owner = (data / "postgres").stat()
    pid_file = data / "postgres" / "postmaster.pid"
    words = pid_file.read_text().splitlines()[1:]
    kill(server.pid)
    server.stop()
    account = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd="/", **account) as other:  # type: ignore[call-overload]
        pid_file.write_text("\n".join([str(other.pid), *words]))
        server.start()
        assert server.running()
        assert other.poll() is None
        other.communicate()


def test_the_server_of_a_killed_service_is_taken_over_rid_of_its_clients(data: Path) -> None:
    service, pid = start_service(data)
    left = psycopg.connect(small(data).url(dbname="postgres"))
    left.execute("SELECT 1")  # stays in a transaction
    kill(service.pid)
    service.communicate()
    server = small(data)
    server.start()
    assert server.pid == pid
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()
    server.stop()
    assert log(data).endswith("database system is shut down\n")


def test_when_service_and_server_are_both_killed_the_next_start_recovers(data: Path) -> None:
    service, pid = start_service(data)
    kill(service.pid)
    service.communicate()
    os.kill(pid, signal.SIGKILL)
    with small(data).session() as url:
        assert ask(url, "SELECT 1") == 1


def start_service(data: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", SERVICE, str(data)]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert service.stdout is not None
    return service, int(service.stdout.readline())


def test_a_second_service_on_the_same_data_is_refused_and_told_who_has_it(
    server: EmbeddedPostgres, data: Path
) -> None:
    second = small(data)
    with pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}"):
        second.start()
    second.stop()
    assert server.running()


def test_a_command_beside_the_service_uses_its_server_and_leaves_it_running(
    server: EmbeddedPostgres, data: Path
) -> None:
    command = small(data)
    with command.session() as url:
        assert command.pid == server.pid
        assert ask(url, "SELECT 1") == 1
    assert server.running()


def test_a_command_without_a_service_starts_the_server_and_stops_it(data: Path) -> None:
    command = small(data)
    with command.session() as url:
        assert ask(url, "SELECT 1") == 1
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_of_two_commands_the_last_one_stops_the_server(data: Path) -> None:
    first, second = small(data), small(data)
    first.start(owner=False)
    second.start(owner=False)
    first.stop()
    assert second.running()
    second.stop()
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_commands_that_come_and_go_at_once_never_lose_the_server(empty: Path) -> None:
    def command(number: int) -> object:
        with small(empty).session() as url:
            return ask(url, f"SELECT {number}")

    with ThreadPoolExecutor(max_workers=4) as threads:
        assert list(threads.map(command, range(12))) == list(range(12))
    assert not (empty / "postgres" / "postmaster.pid").exists()


def test_a_service_may_begin_while_a_command_has_the_server(data: Path) -> None:
    command, service = small(data), small(data)
    command.start(owner=False)
    service.start()
    assert service.pid == command.pid
    command.stop()
    assert service.running()
    service.stop()


def test_the_service_stops_the_server_even_when_a_command_still_uses_it(data: Path) -> None:
    command, service = small(data), small(data)
    service.start()
    command.start(owner=False)
    service.stop()
    assert not command.running()
    command.stop()


def test_a_directory_with_other_things_in_it_is_left_alone(empty: Path) -> None:
    (empty / "letter.txt").write_text("dear all")
    with pytest.raises(EmbeddedPostgresError, match="not a data directory"):
        small(empty).start()
    assert [path.name for path in empty.iterdir()] == ["letter.txt"]


def test_files_of_another_major_version_are_refused(server: EmbeddedPostgres, data: Path) -> None:
    server.stop()
    (data / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 17"):
        server.start()


def test_a_path_too_long_for_a_socket_is_no_obstacle(empty: Path) -> None:
    empty.chmod(0o711)
    server = small(empty / ("long" * 25))
    with server.session() as url:
        assert "%2Ftmp%2Ffundledger-" in url
        assert ask(url, "SELECT 1") == 1
        socket_directory = Path(str(setting(server, "unix_socket_directories")))
        assert socket_directory.stat().st_mode & 0o077 == 0
    socket_directory.rmdir()


def test_a_directory_behind_a_closed_door_works_or_is_named(empty: Path) -> None:
    try:
        with small(empty / "data").session() as url:
            answer = str(ask(url, "SELECT 'it works'"))
    except EmbeddedPostgresError as error:  # root without the right to mount, in a container for instance
        answer = str(error)
    assert answer == "it works" or f"may not enter {empty}:" in answer


def test_a_server_that_cannot_start_shows_its_last_words(server: EmbeddedPostgres, data: Path) -> None:
    server.stop()
    with (data / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write("max_connections = 'many'\n")
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "max_connections"'):
        server.start()
