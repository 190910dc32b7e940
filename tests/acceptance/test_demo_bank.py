"""`make demo-bank` on a small bank: it books, says what it booked, and can be started again at any time."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.service import BOUND_S, ROOT, Service, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BANK = """\
day,account,n,trans_id,kind,operation,k_symbol,amount,sign,bank_balance
1993-01-03,793,0,t1,deposit,VKLAD,,800.00,+,800.00
1993-01-03,1539,0,t2,deposit,VKLAD,,600.50,+,600.50
1993-01-04,793,0,t3,withdrawal,VYBER,,900.00,-,-100.00
1993-01-31,793,0,t4,charge,VYBER,SLUZBY,14.60,-,-114.60
1993-01-31,1539,0,t5,interest,,UROK,3.33,+,
"""


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_on(database_url, tmp_path_factory.mktemp("demo") / "log") as service:
        yield service
        service.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bank.csv.gz"
    path.write_bytes(gzip.compress(BANK.encode()))
    return path


def demo_bank(service: Service, file: Path, *, url: str | None = None) -> subprocess.CompletedProcess[str]:
    where = [*service.where, "--url", url or service.url, "--file", str(file)]
    return subprocess.run(
        [sys.executable, "-m", "bench.demo_bank", *where],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )


def test_it_books_a_bank_once_and_shows_how_to_read_an_account(service: Service, file: Path) -> None:
    done = demo_bank(service, file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 operations booked, 0 were booked before." in done.stdout
    assert "1 of them are withdrawals that overdrew, booked as charges." in done.stdout
    assert "4 of the 4 balances that the bank printed are the same." in done.stdout
    assert "The accounts hold 489.23 CZK together." in done.stdout
    key = re.findall(r"KEY=(\S+)", done.stdout)[0]
    [csv, january] = re.findall(r'curl "(\S+)"', done.stdout)
    headers = {"Authorization": f"Bearer {key}"}
    lines = httpx.get(csv, headers=headers, trust_env=False, timeout=BOUND_S).text.splitlines()
    assert len(lines) == 1 + 3
    assert httpx.get(january, headers=headers, trust_env=False, timeout=BOUND_S).json()["rows"] == []
    again = demo_bank(service, file)
    assert "0 operations booked, 5 were booked before." in again.stdout
    assert "4 of the 4 balances that the bank printed are the same." in again.stdout
    assert "The accounts hold 489.23 CZK together." in again.stdout


def test_a_bank_whose_balances_differ_fails(service: Service, file: Path) -> None:
    file.write_bytes(gzip.compress(BANK.replace("-114.60", "-114.61").encode()))
    done = demo_bank(service, file)
    assert done.returncode == 1
    assert "3 of the 4 balances that the bank printed are the same." in done.stdout


def test_what_stands_in_its_way_is_said_in_a_sentence(service: Service, file: Path) -> None:
    missing = demo_bank(service, file.with_name("nosuch.gz"))
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no file" in missing.stderr
    away = demo_bank(service, file, url="http://127.0.0.1:1")
    assert away.returncode == 1
    assert "is `make run` running?" in away.stderr
    file.write_bytes(gzip.compress(BANK.replace("800.00,+", "800.01,+").encode()))
    other = demo_bank(service, file)
    assert other.returncode == 1
    assert "the service refuses: t1: " in other.stderr


def test_make_runs_it_on_the_data_directory_of_make_run() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo-bank", "DATA=./elsewhere", "ARGS=--ledger x"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    command = "exec .venv/bin/python -m bench.demo_bank --data ./elsewhere --ledger x"
    assert said.stdout.splitlines()[-1] == command
