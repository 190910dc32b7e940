"""An auditor's calls: the signed checkpoint, proofs of operations, and that the log has only grown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from ledger import checkpoint, merkle
from tests.api.served import BOUND_S, Answer, Caller, Served
from tests.seal.sealing import Attacker, key_of
from tests.service import read_line, within

if TYPE_CHECKING:
    from pathlib import Path


class Story(msgspec.Struct):
    """What was booked before the older checkpoint and after it, by operation ids, and who calls."""

    admin: Caller
    limited: Caller
    blind: Caller
    older: dict[str, Any]
    newer: dict[str, Any]
    early: str
    transfer: str
    of_vip: str
    opened: str
    opened_bare: str
    logins: tuple[int, int]


@pytest.fixture(scope="module")
def story(served: Served, admin: Caller) -> Story:
    """Book something of everything, sealed in at least two checkpoints."""
    limited, blind = served.caller("manager", "--groups", "vip"), served.caller("manager")
    scopes = "UPDATE keys SET scopes = array_remove(scopes, 'users:pii') WHERE key_id = %s"
    served.ledger.rows(scopes, blind.key_id)
    one, other, vip = admin.open(balance="50"), admin.open(), admin.open("vip")
    early = admin.booked("deposit", login=one, amount=10)
    older = sealed(admin, early["position"])
    transfer = admin.booked("transfer", from_=one, to=other, amount=20, comment="été ☂")["operationId"]
    of_vip = admin.booked("deposit", login=vip, amount=1)["operationId"]
    opened = admin.post("/users", {"group": "standard", "name": "Anna", "phone": "+30 210"})["operationId"]
    bare = admin.post("/users", {"group": "standard"})["operationId"]
    newer = sealed(admin, int(bare.split("_")[1]))
    early_id = early["operationId"]
    return Story(admin, limited, blind, older, newer, early_id, transfer, of_vip, opened, bare, (one, other))


def sealed(caller: Caller, position: int) -> dict[str, Any]:
    """Wait until a position is sealed; give the newest checkpoint."""
    said: list[Answer] = []

    def there() -> bool:
        said.append(caller.get("/audit/checkpoint"))
        return said[-1].status == 200 and said[-1]["size"] >= position

    within(BOUND_S, there)
    found: dict[str, Any] = said[-1].body
    return found


def proof(caller: Caller, operation_id: str, **query: object) -> Answer:
    """Give the proof of an operation that is sealed."""
    answer = caller.get(f"/audit/proof/{operation_id}", **query)
    assert answer.status == 200, answer.text
    return answer


def holds(answer: Answer) -> bool:
    """Check each event of a proof against its checkpoint's root."""
    against = answer["checkpoint"]
    assert answer["events"]
    return all(
        merkle.includes(
            bytes.fromhex(against["root"]),
            size=against["size"],
            index=event["position"] - 1,
            leaf=bytes.fromhex(event["leafHash"]),
            proof=[bytes.fromhex(one) for one in event["proof"]],
        )
        for event in answer["events"]
    )


def stored(answer: Answer) -> list[bytes]:
    """Cut the bytes of the events out of an answer, as they came."""
    parts = answer.text.split('"data":')[1:]
    return [part[: json.JSONDecoder().raw_decode(part)[1]].encode() for part in parts]


def test_the_newest_checkpoint_is_signed_by_the_services_key(
    served: Served, story: Story, seal_key: Path
) -> None:
    found = story.newer
    read = checkpoint.read(found["note"])
    key = checkpoint.read_key(served.command("seal-key", "show", "--seal-key", str(seal_key)))
    assert (key.name, key.public) == (read.origin, key_of(seal_key).public)
    assert checkpoint.check(found["note"], [key]) == found["keyId"] == key.key_id
    assert (found["ledger"], found["size"], found["root"]) == (read.origin, read.size, read.root.hex())
    assert found["sealedAt"] in found["note"].replace("000Z", "Z")
    assert found["ledger"].startswith("fundledger/main/")


def test_a_checkpoint_comes_as_the_note_alone_where_text_is_asked_for(story: Story) -> None:
    path = f"/audit/checkpoint?size={story.older['size']}"
    answer = story.admin.send("GET", path, headers={"accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == story.older["note"]


def test_an_older_checkpoint_stays_to_be_read(story: Story) -> None:
    assert story.older["size"] < story.newer["size"]
    assert story.admin.get("/audit/checkpoint", size=story.older["size"]).body == story.older
    assert story.admin.get("/audit/checkpoint", size=10**9).said == (404, "unknown_checkpoint")
    assert story.admin.get("/audit/checkpoint", size=0).said == (400, "wrong_type")


def test_an_operation_is_proved_by_its_stored_bytes(story: Story) -> None:
    answer = proof(story.admin, story.transfer)
    assert [merkle.leaf_hash(state).hex() for state in stored(answer)] == [
        event["leafHash"] for event in answer["events"]
    ]
    assert tuple(event["data"]["login"] for event in answer["events"]) == story.logins
    assert holds(answer)


def test_a_proof_holds_against_the_checkpoint_that_is_asked_for(story: Story) -> None:
    older = proof(story.admin, story.early, size=story.older["size"])
    newer = proof(story.admin, story.early)
    assert older["checkpoint"] == story.older
    assert newer["checkpoint"]["size"] >= story.newer["size"]
    assert holds(older)
    assert holds(newer)
    assert story.admin.get(f"/audit/proof/{story.early}", size=10**9).said == (404, "unknown_checkpoint")


def test_what_is_newer_than_a_checkpoint_is_said_not_to_be_sealed(story: Story) -> None:
    answer = story.admin.get(f"/audit/proof/{story.transfer}", size=story.older["size"])
    assert answer.said == (404, "not_sealed")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("bal_999999", (404, "unknown_operation")),
        ("op_999999", (404, "unknown_operation")),
        ("bal_1", (404, "unknown_operation")),
        ("bal_0", (404, "unknown_operation")),
        ("17", (400, "bad_operation_id")),
    ],
)
def test_what_is_no_operation_has_no_proof(story: Story, operation: str, said: tuple[int, str]) -> None:
    assert story.admin.get(f"/audit/proof/{operation}").said == said


def test_the_log_is_proved_to_have_only_grown(story: Story) -> None:
    older, newer = story.older, story.newer
    answer = story.admin.get("/audit/consistency", from_=older["size"], to=newer["size"])
    assert (answer["from"], answer["fromRoot"]) == (older["size"], older["root"])
    assert (answer["to"], answer["toRoot"]) == (newer["size"], newer["root"])
    assert answer["ledger"] == newer["ledger"]
    assert story.admin.get("/audit/consistency", from_=older["size"])["to"] >= newer["size"]
    for old in range(1, newer["size"] + 1):
        answer = story.admin.get("/audit/consistency", from_=old, to=newer["size"])
        roots = bytes.fromhex(answer["fromRoot"]), bytes.fromhex(answer["toRoot"])
        found = [bytes.fromhex(one) for one in answer["proof"]]
        assert merkle.extends(*roots, old=old, new=newer["size"], proof=found)


def test_a_consistency_that_cannot_be_is_refused(story: Story) -> None:
    get = story.admin.get
    assert get("/audit/consistency").said == (400, "missing_field")
    assert get("/audit/consistency", from_=0).said == (400, "wrong_type")
    assert get("/audit/consistency", from_=2, to=1).said == (400, "bad_range")
    assert get("/audit/consistency", from_=10**9).said == (400, "bad_range")
    assert get("/audit/consistency", from_=1, to=10**9).said == (404, "not_sealed")


# Who is told what.


def test_a_limited_key_gets_proofs_of_what_it_may_see(story: Story) -> None:
    assert holds(proof(story.limited, story.of_vip))
    assert story.limited.get(f"/audit/proof/{story.transfer}").said == (403, "outside_mask")
    assert story.limited.get("/audit/proof/op_1").said == (404, "unknown_operation")


def test_the_bytes_of_a_key_are_not_told_and_are_proved_all_the_same(served: Served, story: Story) -> None:
    first = "SELECT min(notification_id) FROM ledger_events WHERE topic = 'key-created'"
    answer = proof(story.admin, f"op_{served.ledger.value(first)}")
    [event] = answer["events"]
    assert (event["data"], event["blanked"]) == (None, ["secretHash"])
    assert holds(answer)


def test_personal_bytes_need_the_scope_for_them(story: Story) -> None:
    assert holds(proof(story.admin, story.opened))
    assert story.blind.get(f"/audit/proof/{story.opened}").said == (401, "scope_missing")
    assert holds(proof(story.blind, story.opened_bare))


def test_proofs_need_the_scope_of_audits(served: Served, story: Story) -> None:
    finance = served.caller("finance")
    for path in ("/audit/checkpoint", f"/audit/proof/{story.early}", "/audit/consistency?from=1"):
        assert finance.get(path).said == (401, "scope_missing")


# How it stands.


def test_metrics_and_readiness_say_how_far_the_log_is_sealed(served: Served, story: Story) -> None:
    assert story.admin.get("/readyz")["sealing"] == "current"
    metrics = httpx.get(served.url + "/metrics", trust_env=False).text
    values = dict(line.split() for line in metrics.splitlines() if line.startswith("fundledger_seal"))
    assert float(values["fundledger_sealed_position"]) >= story.newer["size"]
    assert float(values["fundledger_seal_lag_seconds"]) < BOUND_S
    assert float(values["fundledger_seal_halted"]) == 0


def test_a_service_says_at_its_start_what_holds(served: Served, seal_key: Path) -> None:
    assert read_line(served.process) == f"the log is sealed with {seal_key}, which was made now\n"


def test_where_what_was_sealed_is_not_all_there_a_fault_names_the_command(
    served: Served, story: Story
) -> None:
    """The answer is no refusal that a caller could act on, so it is read as it comes."""
    key = {"authorization": f"Bearer {story.admin.key}"}
    sealed(story.admin, served.last_position)  # or the service seals on in the middle of it
    attacker = Attacker(served.ledger)
    attacker.remember()
    attacker.run("DELETE FROM ledger_events WHERE notification_id = 2")
    for path in (f"/audit/proof/{story.early}", "/audit/consistency?from=3"):
        answer = httpx.get(served.url + path, headers=key, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (500, "seal_broken")
        assert "fundledger verify" in answer.json()["detail"]
    attacker.run("UPDATE checkpoints SET note = 'all is well'")
    answer = httpx.get(served.url + "/audit/checkpoint", headers=key, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (500, "seal_broken")
    attacker.put_back()
