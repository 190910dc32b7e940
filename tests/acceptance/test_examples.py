"""The examples of the integration guide: run on a served ledger, each prints what is kept beside it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from projections import install
from tests.acceptance.examples import FOLDER, commands, run_all, steps
from tests.faults.proxy import Proxy, Target
from tests.service import BOUND_S, ROOT, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.examples import Printed, Step
    from tests.service import Service

STEPS = steps()


@pytest.fixture(scope="module")
def printed(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Printed]:
    return run_all(database_url, tmp_path_factory.mktemp("examples"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_an_example_prints_what_is_kept_beside_it(step: Step, printed: dict[str, Printed]) -> None:
    done = printed[step.name]
    assert (done.code, done.errors) == (0, "")
    assert done.output == step.shown.read_text(encoding="utf-8"), (
        "write it anew: python -m tests.acceptance.examples --write"
    )


def test_the_guide_runs_every_file_and_each_has_its_output() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    named = {step.name for step in STEPS}
    assert files == named | {step.shown.name for step in STEPS}
    assert len(named) == len(STEPS) == 7


@pytest.mark.parametrize("name", [step.name for step in STEPS if step.name.endswith(".py")])
def test_an_example_needs_the_client_and_the_standard_library_alone(name: str) -> None:
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules - sys.stdlib_module_names - {"collections.abc"} == {"api.client"}


@pytest.mark.parametrize("name", [step.name for step in STEPS if step.name.endswith(".sh")])
def test_a_script_is_one_that_any_shell_can_read(name: str) -> None:
    subprocess.run(["sh", "-n", FOLDER / name], check=True)
    assert os.access(FOLDER / name, os.X_OK)


@pytest.fixture
def newcomer(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """Yield the service of a new ledger."""
    install.migrate(database_url, "newcomer")
    with service_on(database_url, tmp_path / "log", ledger="newcomer") as service:
        yield service
        service.stop()


def test_the_guides_commands_work_as_they_stand_also_when_curls_answer_is_cut_off(
    newcomer: Service, tmp_path: Path
) -> None:
    address = urlsplit(newcomer.url)
    with Proxy(Target(str(address.hostname), int(address.port or 0))) as relay:
        relay.lose_answer(b"order-1001")
        done = _run_in_bash(commands(newcomer.where, f"http://127.0.0.1:{relay.port}", tmp_path))
        assert not relay.armed
    assert done.stderr in {"", "2026-11 is not over\n"}
    booked = r"^order-1001: booked before as (bal_\d+) \(request_applied\)$"
    found = re.findall(booked, done.stdout, re.MULTILINE)
    assert len(found) == 2
    assert len(set(found)) == 1
    assert (tmp_path / "accounts.csv").exists()


def _run_in_bash(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=ROOT,
        env={**os.environ, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
