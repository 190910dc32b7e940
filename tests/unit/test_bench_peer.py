"""A peer that cannot be installed is said to be not measured, and why; nothing else ends for that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from bench import peer
from bench.ground import Ground
from bench.hordak import environment
from bench.sample import QUICK


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take every place away that packages could come from."""
    monkeypatch.setattr(environment, "BUILD", tmp_path)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": ""}.items():
        monkeypatch.setenv(f"PIP_{name}", value)


@pytest.mark.usefixtures("no_index")
def test_a_peer_that_cannot_be_installed_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    [claim] = peer.hordak(cast("Ground", None), QUICK)
    assert claim.row()[2:] == (">= 5.00", "-", "not measured")
    assert claim.notes[0].startswith("pip failed: ")
    assert claim.plain()["median"] is None
    assert "installing" in capsys.readouterr().out


@pytest.mark.usefixtures("no_index")
def test_what_was_half_installed_is_made_anew(tmp_path: Path) -> None:
    peer.hordak(cast("Ground", None), QUICK)
    [half] = tmp_path.iterdir()
    (half / "left").touch()
    peer.hordak(cast("Ground", None), QUICK)
    assert not (half / "left").exists()
