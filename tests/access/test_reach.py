"""A key that reaches some accounts is told nothing of the others, whatever it asks and wherever it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from api.bodies import Login, OperationId
from api.scopes import SCOPES
from tests.access.attempts import NAMING, WRITING, Limited, attempts, codes_of, structs_of
from tests.access.keychain import make_a_key
from tests.access.questions import (
    OF_THE_WHOLE_LOG,
    READING,
    TELLS_OF_NOBODY,
    ask,
    lasting,
    questions,
    told_of,
)
from tests.access.router import Route
from tests.access.world import GROUP_NEEDLES, Person, World, live, settle, trade
from tests.api.served import Caller, Served, number, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service in whose ledger nothing happens but here, all of it on one day."""
    log = tmp_path_factory.mktemp("reach") / "log"
    with serving(database_url, log, "--simulate-from", "2026-03-02T08:00:00Z") as service:
        yield service
    assert service.troubles == []


@pytest.fixture(scope="module")
def admin(served: Served) -> Caller:
    return served.caller()


@pytest.fixture(scope="module")
def world(admin: Caller) -> World:
    return settle(admin)


@pytest.fixture(scope="module")
def keys(served: Served, database_url: str, world: World) -> dict[str, Limited]:
    def limited(*inside: Person, groups_too: bool, **wanted: Any) -> Limited:
        hidden = [needle for person in world.everyone if person not in inside for needle in person.needles]
        caller = Caller(served, make_a_key(database_url, **wanted))
        return Limited(
            caller,
            inside,
            (*hidden, *(GROUP_NEEDLES if groups_too else ())),
            ("zebra-out", "zebra-far", "zebra-none") if "groups" in wanted else (),
            wanted.get("logins"),
        )

    ann, ben, cem = world.ann, world.ben, world.cem
    logins = (ann.login, cem.login)
    return {
        "of a mask": limited(ann, ben, groups_too=True, groups="zebra-in"),
        "of logins": limited(ann, groups_too=False, logins=(ann.login,)),
        "of both": limited(ann, groups_too=True, groups="zebra-in,*-none", logins=logins),
    }


@pytest.fixture(params=["of a mask", "of logins", "of both"])
def limited(request: pytest.FixtureRequest, keys: dict[str, Limited]) -> Limited:
    return keys[request.param]


@pytest.fixture(scope="module")
def impersonal(served: Served, database_url: str) -> Caller:
    """Give a caller without limits who may do everything but see personal columns."""
    scopes = [scope for scope in SCOPES if scope != "users:pii"]
    return Caller(served, make_a_key(database_url, *scopes))


class TestReading:
    @pytest.mark.parametrize("route", READING, ids=str)
    def test_no_answer_tells_of_an_account_beyond_the_keys_reach(
        self, world: World, limited: Limited, route: Route
    ) -> None:
        for question in questions(route, world):
            told = ask(limited.caller, question)
            assert told_of(question, told, limited.hidden) == [], (question.sent, told.text)
            assert told.status < 500
            if question.about in limited.outside(world):
                assert (told.status, told.code) == (403, "outside_mask"), (question.sent, told.text)

    def test_the_search_finds_all_of_it_in_what_a_key_without_limits_is_told(
        self, admin: Caller, world: World, keys: dict[str, Limited]
    ) -> None:
        hidden = keys["of both"].hidden
        found = {
            route.path: {
                needle
                for question in questions(route, world)
                for needle in told_of(question, ask(admin, question), hidden)
            }
            for route in READING
        }
        assert set().union(*found.values()) == set(hidden)
        personal = tuple(world.ann.personal)
        for path in ("/accounts", "/audit/events", "/reports/users"):
            [route] = [route for route in READING if route.path == path]
            asked = [ask(admin, question) for question in questions(route, world)]
            unseen = {text for text in personal if not any(text in told.text for told in asked)}
            assert unseen <= {world.ann.text("city")}, path
        assert {path for path, needles in found.items() if not needles} <= TELLS_OF_NOBODY | OF_THE_WHOLE_LOG
        assert all(
            found[path] >= {str(world.ben.login), world.dag.mark}
            for path in ("/accounts", "/balances/history", "/audit/events", "/audit/stream", "/reports/users")
        )

    @pytest.mark.parametrize("route", READING, ids=str)
    def test_no_answer_tells_a_personal_column_without_its_scope(
        self, world: World, impersonal: Caller, route: Route
    ) -> None:
        hidden = tuple(text for person in world.everyone for text in person.personal)
        for question in questions(route, world):
            told = ask(impersonal, question)
            assert told_of(question, told, hidden) == [], (question.sent, told.text)

    @pytest.mark.parametrize("name", ["of a mask", "of both"])
    def test_nothing_that_happens_beyond_its_reach_changes_what_a_key_is_told(
        self, admin: Caller, world: World, keys: dict[str, Limited], name: str
    ) -> None:
        limited = keys[name]
        asked = [
            question
            for route in READING
            if route.path not in OF_THE_WHOLE_LOG
            for question in questions(route, world)
            if question.about not in limited.outside(world)
        ]
        let_feed_be_heard(admin)
        before = [lasting(question, ask(limited.caller, question)) for question in asked]
        for place, person in enumerate(limited.outside(world)):
            live(admin, person, again=f"-again-{len(limited.inside)}")
            trade(admin, person, ticket=990_001 + place + 10 * len(limited.inside))
            change(admin, person, again=len(limited.inside))
        let_feed_be_heard(admin)
        for question, told in zip(asked, before, strict=True):
            assert lasting(question, ask(limited.caller, question)) == told, question.sent

    @pytest.mark.parametrize("name", ["of a mask", "of both"])
    def test_of_a_transfer_across_only_the_own_leg_is_told_and_in_it_the_others_number(
        self, admin: Caller, world: World, keys: dict[str, Limited], name: str
    ) -> None:
        limited, other = keys[name], str(world.cem.login)
        if not (told := limited.caller.history(requestId="zebra-across")):
            body = {"from": world.cem.login, "to": world.ann.login, "amount": 1}
            sent = admin.post("/balances/transfer", body, request_id="zebra-across")
            assert sent.status == 201
            told = limited.caller.history(requestId="zebra-across")
        [row] = told
        assert {field for field, value in row.items() if other in str(value)} == {"peer"}
        [leg] = [
            event
            for event in limited.caller.get("/audit/events", limit=10_000)["events"]
            if event["requestId"] == "zebra-across"
        ]
        assert {field for field, value in leg["data"].items() if other in str(value)} == {"peer"}
        for path in (f"/balances/operations/{row['operationId']}", "/requests/zebra-across"):
            assert limited.caller.get(path).said == (403, "outside_mask")


class TestWriting:
    """Whatever a path, a body or an item can name is out of reach where the key does not reach it."""

    @pytest.mark.parametrize("route", WRITING, ids=str)
    def test_a_key_moves_and_changes_nothing_beyond_its_reach(
        self, served: Served, world: World, limited: Limited, route: Route
    ) -> None:
        before = served.last_position
        tried = list(attempts(route, world, limited))
        for attempt in tried:
            answer = limited.caller.send(route.method, attempt.path, attempt.body, request_id="reach")
            assert codes_of(answer) == {attempt.code}, (attempt, answer.text)
            told = f"{dict(answer.headers)} {answer.text}"
            assert not [n for n in limited.hidden if n in told and n not in attempt.sent], (attempt, told)
        assert tried
        assert served.last_position == before

    def test_whatever_a_body_can_name_is_tried(self) -> None:
        fields = {
            field.encode_name
            for route in WRITING
            for struct in structs_of(route)
            for field in msgspec.structs.fields(struct)
            if {field.type, *get_args(field.type)} & {Login, list[Login], OperationId}
        }
        assert fields <= NAMING | {"dealId"}, (
            "a field that names an account or operation: say here how to name another's"
        )

    def test_what_a_request_id_was_used_for_beyond_its_reach_is_not_told(
        self, world: World, limited: Limited
    ) -> None:
        for person in limited.outside(world):
            for header in ("x-request-id", "Idempotency-Key"):
                for request_id in person.requests:
                    body = {"login": world.ann.login, "amount": 1}
                    headers = {header: request_id}
                    refused = limited.caller.send("POST", "/balances/deposit", body, headers=headers)
                    assert refused.said == (400, "request_id_reused")
                    assert refused.body.keys() == PROBLEM

    def test_what_a_reference_was_used_for_beyond_its_reach_is_not_told(
        self, world: World, limited: Limited
    ) -> None:
        for person in limited.outside(world):
            note = {name: person.text(f"paid-{name}") for name in ("method", "reference")}
            for amount in (number(person.amount), 1):
                refused = limited.caller.book("deposit", login=world.ann.login, amount=amount, **note)
                assert refused.said == (400, "reference_reused")
                assert refused.body.keys() == PROBLEM | {"field"}


PROBLEM = {"type", "title", "status", "code", "detail", "requestId"}


def let_feed_be_heard(admin: Caller) -> None:
    """Let the feed say something, so that for a minute nothing is told to be stale."""
    assert admin.post("/feed/quotes", {"quotes": [["ZEBRA", 1.1, 1.2]]}).status == 200
    assert admin.post("/feed/positions", {"kind": "delta", "positions": []}).status == 200


def change(admin: Caller, person: Person, *, again: int) -> None:
    """Let everything but money happen around an account."""
    login, group = person.login, person.group
    for answer in (
        admin.send("PATCH", f"/users/{login}", {"city": f"{person.mark}{again}", "leverage": 100 + again}),
        admin.post(f"/users/{login}/disable"),
        admin.post(f"/users/{login}/enable"),
        admin.post("/feed/online", {"logins": [login]}),
        admin.post("/users", {"group": group, "name": person.text("new")}),
        *([] if group == "zebra-in" else [admin.put(f"/groups/{group}", _definition(admin, group, again))]),
        admin.put(f"/groups/zebra-new-{again}", {"currency": "XQZ"}),
    ):
        assert answer.status < 300, answer.text


def _definition(admin: Caller, group: str, again: int) -> dict[str, Any]:
    [found] = [found for found in admin.get("/groups")["groups"] if found["group"] == group]
    return {"currency": found["currency"], "leverage": 100 + again, "equityMode": "net"}
