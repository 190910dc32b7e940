"""The ledger and its model agree, and the model owes nothing to the ledger."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tests.model.exercise import go, new_seed

HERE = Path(__file__).parent
MODEL = ("days", "model", "accounts", "money", "masks", "answers", "history", "listing", "daily")
OURS = ("api", "ledger", "projections")


def test_after_two_thousand_steps_ledger_and_model_agree_to_the_cent(database_url: str) -> None:
    counted = go(database_url, 20261120 if "CI" in os.environ else new_seed(), steps=2_000)
    assert counted.steps >= 2_000
    assert counted.acknowledged >= 500
    assert set(counted.seen) >= EXPECTED


EXPECTED = {
    *("deposit", "withdrawal", "credit", "transfer", "correction", "reversal", "opening", "trade", "expired"),
    *("request_applied", "request_id_reused", "not_enough_money", "not_enough_credit", "account_disabled"),
}
"""What no run of that length goes without."""


@pytest.mark.parametrize("name", MODEL)
def test_the_model_takes_nothing_from_the_ledger(name: str) -> None:
    tree = ast.parse((HERE / f"{name}.py").read_text())
    imported = [
        module
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert imported
    assert [module for module in imported if module.partition(".")[0] in OURS] == []
