"""What is installed is pinned and checked, and the checkout says how to use it."""

from __future__ import annotations

import os
import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins() -> dict[str, str]:
    """Return each pinned package's lines in the lock."""
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    return {block.split("==")[0]: block for block in blocks[1:]}


def declared() -> set[str]:
    """Return the packages that the project asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in wanted}


def test_everything_that_the_project_asks_for_is_pinned() -> None:
    assert declared() <= set(pins())


def test_every_pin_has_a_hash() -> None:
    assert all("==" in block and "--hash=sha256:" in block for block in pins().values())


def test_the_lock_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^--", lock, flags=re.MULTILINE)


def test_every_make_target_for_people_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    described = set(re.findall(r"^([a-z-]+):.* ## \S", makefile, flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)", makefile, flags=re.MULTILINE)
    assert phony is not None
    assert described == set(phony[1].split()) - {"venv-module"}


def test_the_continuous_check_is_a_program() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
