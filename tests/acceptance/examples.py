"""The examples of docs/examples, run as the integration guide has it: in its order, by keys of its roles.

`python -m tests.acceptance.examples --write` writes their outputs anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from api.embedded import EmbeddedPostgres
from projections import install
from tests.service import BOUND_S, FUNDLEDGER, ROOT, Service, scratch_directory, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")

TIMES = {"prepare.py": "2026-10-30T09:00:00Z", "month_end.py": "2026-12-01T09:00:00Z"}
MEANWHILE = "2026-11-20T09:00:00Z"
"""When the others run: so that a month is over when it is closed, and began with money."""

PLACE = "/tmp"  # noqa: S108
"""Where the guide has the files that examples write."""


class Step(msgspec.Struct, frozen=True):
    """An example as the guide runs it: the file and what follows it on the line, and the role of its key."""

    name: str
    words: tuple[str, ...]
    role: str

    @property
    def begins(self) -> str:
        """The instant from which the ledger's clock runs for it."""
        return TIMES.get(self.name, MEANWHILE)

    @property
    def shown(self) -> Path:
        """The file with what it prints."""
        return FOLDER / f"{self.name}.out"


class Printed(msgspec.Struct, frozen=True):
    """What an example came to."""

    code: int
    output: str
    errors: str


def steps() -> list[Step]:
    """Give the examples that the guide runs, in its order."""
    roles = dict(re.findall(r"^\| \[`([\w.]+)`\].*\| `(\w+)` \|$", GUIDE, re.MULTILINE))
    lines = re.findall(r"^(?:\S*python|sh) docs/examples/(\S+)(.*)$", GUIDE, re.MULTILINE)
    return [Step(name, tuple(rest.split()), roles[name]) for name, rest in lines]


def commands(where: tuple[str, ...], url: str, folder: Path) -> str:
    """Give the commands by which the guide runs them, for another ledger, address and folder."""
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    [block] = [text for text in blocks if "prepare.py" in text]
    there = {
        PLACE: shlex.quote(str(folder)),
        ".venv/bin/fundledger keys create": f"{shlex.join(FUNDLEDGER)} keys create {shlex.join(where)}",
        ".venv/bin/python": shlex.quote(sys.executable),
        "http://127.0.0.1:8080": url,
    }
    assert all(word in block for word in there)
    return re.sub("|".join(map(re.escape, there)), lambda word: there[word[0]], block)


def run_all(database_url: str, folder: Path) -> dict[str, Printed]:
    """Run all examples on a new ledger; give what each printed."""
    return dict(_run_all(database_url, folder))


def _run_all(database_url: str, folder: Path) -> Iterator[tuple[str, Printed]]:
    ledger = Service(("--database-url", database_url), folder / "log")
    roles = sorted({step.role for step in steps()})
    keys = {role: ledger.key(role) for role in roles}
    running = steps()
    for begins in dict.fromkeys(step.begins for step in running):
        with service_on(database_url, folder / "log", "--simulate-from", begins) as service:
            for step in running:
                if step.begins == begins:
                    yield step.name, run(step, service.url, keys[step.role], folder)
            service.stop()


def run(step: Step, url: str, key: str, folder: Path) -> Printed:
    """Run one example against a service."""
    program = sys.executable if step.name.endswith(".py") else "sh"
    done = subprocess.run(
        [program, str(FOLDER / step.name), *(word.replace(PLACE, str(folder)) for word in step.words)],
        check=False,
        cwd=folder,
        env={**os.environ, "LEDGER_URL": url, "LEDGER_KEY": key, "PYTHONPATH": str(ROOT), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    return Printed(done.returncode, done.stdout, done.stderr)


def write() -> None:
    """Write what the examples print beside them."""
    with scratch_directory() as folder, EmbeddedPostgres(folder / "data").session() as url:
        install.migrate(url, "main")
        printed = run_all(url, folder)
    for step in steps():
        assert (printed[step.name].code, printed[step.name].errors) == (0, ""), printed[step.name]
        step.shown.write_text(printed[step.name].output, encoding="utf-8")


if __name__ == "__main__":
    assert sys.argv[1:] == ["--write"], __doc__
    write()
