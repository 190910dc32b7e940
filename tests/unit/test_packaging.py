"""What is installed is pinned and checked, and the checkout says how to use it."""

from __future__ import annotations

import os
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PEER_LOCK = ROOT / "bench" / "hordak" / "requirements.lock"

each_lock = pytest.mark.parametrize("lock", [LOCK, PEER_LOCK], ids=["service", "peer"])


def pins(lock: Path = LOCK) -> dict[str, str]:
    """Return each pinned package's lines in a lock."""
    blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)
    return {block.split("==")[0]: block for block in blocks[1:]}


def declared() -> set[str]:
    """Return the packages that the project asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in wanted}


def test_everything_that_the_project_asks_for_is_pinned() -> None:
    assert declared() <= set(pins())


@each_lock
def test_every_pin_has_a_hash(lock: Path) -> None:
    assert all("==" in block and "--hash=sha256:" in block for block in pins(lock).values())


@each_lock
def test_the_lock_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^--", text, flags=re.MULTILINE)


def test_the_peer_is_compared_with_the_same_driver_of_postgresql() -> None:
    ours, peers = pins(), pins(PEER_LOCK)
    for name in ("psycopg", "psycopg-binary"):
        assert peers[name].splitlines()[0] == ours[name].splitlines()[0]


def test_the_peer_is_no_dependency() -> None:
    assert not {name for name in pins() if "django" in name}


def test_every_make_target_for_people_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    described = set(re.findall(r"^([a-z-]+):.* ## \S", makefile, flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)", makefile, flags=re.MULTILINE)
    assert phony is not None
    assert described == set(phony[1].split()) - {"venv-module"}


def test_the_continuous_check_is_a_program() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
