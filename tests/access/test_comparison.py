"""A secret is compared in constant time, as its hash, and so is that of an id that no key has.

Not constant, and of no use to a guesser: what is wrong about a key by itself (its form and check sum) is told
before any look into the database; that look finds a row or none, but ids are no secret; and a key that was
proved within the last second is known again by the sha256 of its header, which only its holder can present.
"""

from __future__ import annotations

import ast
import hmac
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from api import keys
from api.keys import Key, KeyRing, NewKey, make_key, secret_hash
from ledger.refusals import Unauthorized
from tests.access.keychain import stored, written
from tests.api.served import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS = {"secret", "secret_hash", "presented", "form_token", "session_id", "visit_token"}


class Spy:
    """Stands in for hmac.compare_digest: compares by it, and keeps what was compared."""

    def __init__(self) -> None:
        self.compared: list[tuple[str, str]] = []
        self._compare = hmac.compare_digest

    def __call__(self, one: str, other: str) -> bool:
        self.compared.append((one, other))
        return self._compare(one, other)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    monkeypatch.setattr(keys, "hmac", SimpleNamespace(compare_digest=spy, new=hmac.new))
    return spy


@pytest.fixture
def key() -> NewKey:
    return make_key("main")


@pytest.fixture
def ring(key: NewKey) -> KeyRing:
    """Give the ring of a ledger that has one key."""
    one = stored(key)

    async def load(key_id: str) -> Key | None:
        return one if key_id == key.key_id else None

    return KeyRing("main", load)


@pytest.mark.anyio
class TestAPresentedKey:
    async def test_is_held_against_the_stored_hash_by_its_own_hash(
        self, ring: KeyRing, key: NewKey, spy: Spy
    ) -> None:
        assert (await ring.check(f"Bearer {key.text}".encode())).key_id == key.key_id
        assert spy.compared == [(key.secret_hash, key.secret_hash)]
        assert key.secret_hash not in key.text

    @pytest.mark.parametrize("key_id", [None, "0123456789abcdef"])
    async def test_that_is_wrong_is_refused_in_one_way_whether_its_id_is_known_or_not(
        self, ring: KeyRing, key: NewKey, spy: Spy, key_id: str | None
    ) -> None:
        wrong = written(key_id or key.key_id, "s" * 43)
        with pytest.raises(Unauthorized) as refused:
            await ring.check(f"Bearer {wrong}".encode())
        assert (refused.value.code, refused.value.extra) == ("key_unknown", {})
        [(presented, known)] = spy.compared
        assert presented == secret_hash("main", key_id or key.key_id, "s" * 43)
        assert len(presented) == len(known) == 64
        assert presented != known

    async def test_of_an_unknown_id_is_no_key_even_where_its_hash_agrees(
        self, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "_NOBODYS_HASH", secret_hash("main", "0123456789abcdef", "s" * 43))
        with pytest.raises(Unauthorized):
            await ring.check(f"Bearer {written('0123456789abcdef', 's' * 43)}".encode())

    async def test_is_worth_nothing_under_another_id_or_ledger(self, key: NewKey) -> None:
        secret = key.text.split("_", 2)[2][:43]
        others = {secret_hash("main", "0123456789abcdef", secret), secret_hash("other", key.key_id, secret)}
        assert key.secret_hash == secret_hash("main", key.key_id, secret)
        assert key.secret_hash not in others

    async def test_that_was_believed_is_looked_at_again(
        self, ring: KeyRing, key: NewKey, spy: Spy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        header = f"Bearer {key.text}".encode()
        at = datetime.now(UTC).timestamp()
        for passed, looks in ((0.0, 1), (0.9, 1), (1.1, 2), (1.9, 2), (2.2, 3)):
            monkeypatch.setattr(keys, "time", SimpleNamespace(monotonic=lambda now=at + passed: now))
            await ring.check(header)
            assert len(spy.compared) == looks, passed


def comparisons() -> Iterator[tuple[Path, ast.Compare]]:
    for path in sorted((ROOT / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                yield path, node


def test_no_secret_is_compared_in_any_other_way() -> None:
    seen = 0
    for path, comparison in comparisons():
        seen += 1
        operands = (comparison.left, *comparison.comparators)
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for operand in operands
            for node in ast.walk(operand)
            if isinstance(node, ast.Attribute | ast.Name)
        }
        by_value = [op for op in comparison.ops if not isinstance(op, ast.Is | ast.IsNot)]
        assert not (by_value and names & SECRETS), f"{path}:{comparison.lineno}"
    assert seen > 100
