"""A key lives for exactly as long as it is to, on every process of its ledger: by the moment of each request.

A request counts by when it was sent: what was sent a second after the end is refused, whatever the machine
was busy with meanwhile.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.access.keychain import make_a_key
from tests.api.served import Caller, Served, number, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN = timedelta(seconds=1)
ENOUGH_LATER = 20
"""Requests after the end: as many as show that it is one."""


class Asked(msgspec.Struct, frozen=True):
    """One request of a key: when it was sent, when its answer had come, and what that said."""

    sent: datetime
    answered: datetime
    said: tuple[int, str | None]


@pytest.fixture(scope="module")
def processes(
    served: Served, shared_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Served]]:
    """Yield two services of one ledger."""
    log: Path = tmp_path_factory.mktemp("other") / "log"
    with serving(shared_url, log) as other:
        yield [served, other]
    assert other.troubles == []


def asked_until(callers: list[Caller], end: datetime) -> list[list[Asked]]:
    """Let keys be used by turns, until well after an instant; give what each was told."""
    found: list[list[Asked]] = [[] for _ in callers]
    while any(len([one for one in asked if one.sent >= end]) < ENOUGH_LATER for asked in found):
        for caller, asked in zip(callers, found, strict=True):
            sent = datetime.now(UTC)
            said = caller.get("/groups").said
            asked.append(Asked(sent, datetime.now(UTC), said))
    return found


def codes(
    asked: list[Asked], *, sent_from: datetime | None = None, told_by: datetime | None = None
) -> set[str]:
    """Give what was said to requests that were sent from an instant on, or answered before one."""
    return {
        one.said[1] or "let in"
        for one in asked
        if (sent_from is None or one.sent >= sent_from) and (told_by is None or one.answered < told_by)
    }


@pytest.fixture
def callers(processes: list[Served]) -> list[Caller]:
    """Give a new key's callers, one on each process, which know it already."""
    key = processes[0].key("manager", "--groups", "vip", "--max-amount", "7")
    found = [Caller(process, key) for process in processes]
    assert {caller.get("/groups").status for caller in found} == {200}
    return found


class TestRevoked:
    def test_it_is_dead_within_a_second_on_every_process(
        self, processes: list[Served], callers: list[Caller]
    ) -> None:
        processes[0].command("keys", "revoke", callers[0].key_id)
        known_by = datetime.now(UTC) + WITHIN
        for asked in asked_until(callers, known_by):
            assert codes(asked) <= {"let in", "key_revoked"}
            assert codes(asked, sent_from=known_by) == {"key_revoked"}
            assert [one.said[0] for one in asked] == sorted(one.said[0] for one in asked), "it rose again"

    def test_it_moves_no_money_from_then_on(
        self, processes: list[Served], callers: list[Caller], admin: Caller
    ) -> None:
        login = admin.open("vip")
        for caller in callers:
            caller.booked("deposit", login=login, amount=1)
        processes[0].command("keys", "revoke", callers[0].key_id)
        asked_until(callers, datetime.now(UTC) + WITHIN)
        body = {"login": login, "amount": 1}
        for caller in callers:
            for answer in (
                caller.post("/balances/deposit", body, request_id="dead"),
                caller.post("/balances/deposit?dryRun=true", body, request_id="dead"),
                caller.batch({"op": "deposit", "requestId": "dead", **body}),
                caller.send("PATCH", f"/users/{login}", {"name": "dead"}),
            ):
                assert answer.said == (401, "key_revoked")
        assert admin.held(login)[0] == number("2.00")

    def test_it_cannot_be_revoked_back_to_life_nor_rotated(
        self, processes: list[Served], callers: list[Caller], capsys: pytest.CaptureFixture[str]
    ) -> None:
        processes[0].command("keys", "revoke", callers[0].key_id)
        for words in (("revoke",), ("rotate",), ("rotate", "--overlap", "60")):
            with pytest.raises(AssertionError):
                processes[0].command("keys", *words, callers[0].key_id)
            assert "no living key" in capsys.readouterr().err


class TestExpiring:
    def test_it_lives_until_the_instant_and_not_beyond_on_every_process(
        self, processes: list[Served], shared_url: str
    ) -> None:
        end = datetime.now(UTC) + timedelta(seconds=2)
        key = make_a_key(shared_url, expires_at=end)
        for asked in asked_until([Caller(process, key) for process in processes], end):
            assert codes(asked, told_by=end) <= {"let in"}
            assert codes(asked, sent_from=end) == {"key_expired"}


class TestRotated:
    def test_both_live_until_the_overlap_is_over_and_then_only_the_successor(
        self, processes: list[Served], callers: list[Caller]
    ) -> None:
        printed = processes[0].command("keys", "rotate", callers[0].key_id, "--overlap", "2")
        successors = [Caller(process, printed.splitlines()[-1]) for process in processes]
        listed = processes[0].command("keys", "list")
        found = re.search(rf"^{callers[0].key_id}\t.*\t(?:ends|revoked) (\S+)$", listed, re.MULTILINE)
        assert found is not None, listed
        end = datetime.fromisoformat(found[1])
        for asked in asked_until(callers, end):
            assert codes(asked, told_by=end) <= {"let in"}
            assert codes(asked, sent_from=end) == {"key_revoked"}
        assert {caller.get("/groups").status for caller in successors} == {200}

    def test_without_an_overlap_it_is_dead_within_a_second_too(
        self, processes: list[Served], callers: list[Caller]
    ) -> None:
        printed = processes[0].command("keys", "rotate", callers[0].key_id)
        known_by = datetime.now(UTC) + WITHIN
        for asked in asked_until(callers, known_by):
            assert codes(asked, sent_from=known_by) == {"key_revoked"}
        assert Caller(processes[1], printed.splitlines()[-1]).get("/groups").status == 200

    def test_the_successor_may_do_the_same_and_no_more(
        self, processes: list[Served], callers: list[Caller], admin: Caller
    ) -> None:
        printed = processes[0].command("keys", "rotate", callers[0].key_id)
        successor = Caller(processes[1], printed.splitlines()[-1])
        assert [group["group"] for group in successor.get("/groups")["groups"]] == ["vip"]
        login = admin.open("vip")
        assert successor.book("deposit", login=login, amount=7).status == 201
        assert successor.book("deposit", login=login, amount=number("7.01")).said == (403, "key_limit")
        assert successor.book("deposit", login=admin.open(), amount=1).said == (403, "outside_mask")
