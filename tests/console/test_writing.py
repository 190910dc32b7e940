"""What pages make of the words of a refusal."""

from __future__ import annotations

import pytest

from api.console.writing import sentence
from ledger.refusals import ValidationError


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("amount must be above zero", "Amount must be above zero."),
        ("where[2]: no such field", "No such field."),
        ("bal_4 is not sealed yet", "bal_4 is not sealed yet."),
        ("op_12 is no movement of money", "op_12 is no movement of money."),
    ],
)
def test_a_refusal_reads_as_a_sentence_and_an_operation_keeps_its_name(detail: str, said: str) -> None:
    assert sentence(ValidationError("code", detail)) == said
