"""The README's commands, run in order, give the answers that it shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.service import BOUND_S, FUNDLEDGER, ROOT, Service, data_directory, end, end_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"
SCRIPT = ".venv/bin/fundledger"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "---- the answer of the next command ----"
_MASKED = re.compile(r"^(recordedAt|effectiveAt|serverDay|tradingDay|keyId)$")


class Step:
    """A command of the README, and the answer shown below it, if one is."""

    def __init__(self, command: str, shown: str | None) -> None:
        self.command = command
        self.shown = shown


def steps() -> list[Step]:
    """Give all commands of all blocks, in order; an answer belongs to the last command above it."""
    found: list[Step] = []
    for kind, text in _BLOCK.findall(README):
        if kind == "sh":
            found += [Step(command, None) for command in _commands(text)]
        else:
            assert kind == "json", f"nobody checks a block of {kind}"
            found[-1] = Step(found[-1].command, text)
    return found


def _commands(block: str) -> list[str]:
    """Split a block into its commands, those over several lines made one."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line]


STEPS = steps()


def test_the_first_screen_has_what_a_newcomer_needs_in_order() -> None:
    what = [step.command.split("#")[0].strip() for step in STEPS[:2]]
    assert what == ["make run", "make test"]
    words = " ".join(step.command for step in STEPS[2:])
    positions = [words.index(part) for part in ("keys create", "/groups/", "/users", "/deposit", "/history")]
    assert positions == sorted(positions)
    assert [bool(step.shown) for step in STEPS] == [False] * 5 + [True] * 3
    assert README.index("## Where to go next") > README.rindex("```")


def test_the_same_deposit_is_sent_twice_to_the_letter() -> None:
    assert STEPS[5].command == STEPS[6].command


def test_every_file_and_make_target_that_it_names_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.fixture(scope="module")
def answers() -> Iterator[list[str]]:
    """Yield what each command after `make run` and `make test` printed."""
    with data_directory() as data:
        service = Service(("--data", str(data)), data.parent / "log")
        try:
            service.started(_make_run(data))
            assert service.url, service.logged()
            yield _run([_here(step.command, service, data) for step in STEPS[2:]])
            service.stop()
        finally:
            end(service)
            end_server(data)


@pytest.mark.parametrize("number", range(2, len(STEPS)))
def test_the_command_answers_as_shown(number: int, answers: list[str]) -> None:
    step, answer = STEPS[number], answers[number - 2]
    if step.shown is not None:
        assert _masked(_exactly(answer)) == _masked(_exactly(step.shown))
    elif "curl" in step.command:
        assert "operationId" in _exactly(answer), answer


def test_what_an_answer_shows_is_compared_to_the_digit() -> None:
    assert _exactly('{"amount": 5000.00}') != _exactly('{"amount": 5000.0}')
    assert _masked(_exactly('{"position": 4}')) != _masked(_exactly('{"position": 5}'))


def _make_run(data: Path) -> subprocess.Popen[bytes]:
    """Start what `make run` starts, on a free port, another directory, with the script of this Python."""
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "run", f"DATA={data}", "ARGS=--port 0"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},  # not those of the `make test` that runs this
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    command = said.stdout.splitlines()[-1].removeprefix("exec ")
    assert command == f"{SCRIPT} serve --data {data} --port 0"
    with (data.parent / "log").open("ab") as log:
        return subprocess.Popen(
            shlex.split(command.replace(SCRIPT, shlex.join(FUNDLEDGER))),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
        )


def _here(command: str, service: Service, data: Path) -> str:
    """Put this run's address, script and data directory into a command; nothing else of it changes."""
    there = f"{shlex.join(FUNDLEDGER)} \\1 --data {shlex.quote(str(data))}"
    return re.sub(rf"{re.escape(SCRIPT)} (keys create)", there, command).replace(ADDRESS, service.url)


def _run(commands: list[str]) -> list[str]:
    """Run commands in one shell, since they share $KEY; give what each printed."""
    lines = ["set -eu", *(line for command in commands for line in (f"echo '{_MARK}'", command, "echo"))]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert done.returncode == 0, done.stderr
    return [part.strip() for part in done.stdout.split(_MARK)[1:]]


def _exactly(text: str) -> Any:
    """Read JSON with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def _masked(value: Any) -> Any:
    """Replace what differs from run to run: times and days, and the key's id."""
    if isinstance(value, dict):
        return {
            name: "..." if _MASKED.match(name) and inner is not None else _masked(inner)
            for name, inner in value.items()
        }
    return [_masked(inner) for inner in value] if isinstance(value, list) else value
