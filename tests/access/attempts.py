"""Every way to name, in a path, a body or an item, what is beyond a key's reach."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from api.feed_bodies import DealItem
from tests.access.router import GUARDED, Route
from tests.access.samples import items_of, right_body
from tests.access.world import Person, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.served import Answer, Caller

WRITING = [route for route in GUARDED if not route.reads]


class Limited(msgspec.Struct, frozen=True):
    """A key with every scope and a limited reach; `hidden` is what it must not be told."""

    caller: Caller
    inside: tuple[Person, ...]
    hidden: tuple[str, ...]
    groups_beyond: tuple[str, ...]
    logins: tuple[int, ...] | None

    def outside(self, world: World) -> list[Person]:
        """Give the accounts beyond its reach."""
        return [person for person in world.everyone if person not in self.inside]


NAMING = {"login", "from", "to", "logins", "operationId", "corrects", "group", "ticket", "closed"}
"""The fields of bodies that name an account, or what is an account's."""


class Attempt(msgspec.Struct, frozen=True):
    """A right request that names something beyond the key's reach, and why it is refused."""

    path: str
    body: Any
    code: str

    @property
    def sent(self) -> str:
        """What the caller has told itself."""
        return f"{self.path} {json.dumps(self.body)}"


def attempts(route: Route, world: World, limited: Limited) -> Iterator[Attempt]:
    """Give every way to name what is beyond a key's reach."""
    for path in _paths_beyond(route, world, limited):
        body = None if route.body is None else right_body(route.body, **_own(route.body, world.ann))
        yield Attempt(path, body, "outside_mask")
    if route.path in CONCERNS_ALL:
        assert route.body is not None
        for body in CONCERNS_ALL[route.path]:
            code = "whole_feed_only" if "/feed/" in route.path else "whole_ledger_only"
            yield Attempt(route.at(), right_body(route.body) | body, code)
    if route.body is not None:
        path = route.at(login=world.ann.login, operation_id=world.ann.operations[0])
        for body in _bodies_beyond(route.body, world, limited):
            yield Attempt(path, body, "login_taken" if _is_taken(route, body, limited) else "outside_mask")


def _is_taken(route: Route, body: Any, limited: Limited) -> bool:
    """Tell whether a login that the key might open is another's already."""
    if route.path != "/users" or body["group"] in limited.groups_beyond:
        return False
    return limited.logins is None or body["login"] in limited.logins


CONCERNS_ALL: dict[str, list[dict[str, Any]]] = {
    "/symbols/{symbol}": [{}],
    "/server": [{}],
    "/feed/quotes": [{"seq": 1}, {"epoch": 1}, {"quotes": [["ZEBRA", 1, 2]]}],
    "/feed/positions": [{"seq": 1}, {"epoch": 1}],
    "/feed/online": [{"seq": 1}, {"epoch": 1}],
}
"""What is told of all accounts at once, so that no limited key may tell it."""


def _paths_beyond(route: Route, world: World, limited: Limited) -> Iterator[str]:
    for person in limited.outside(world):
        if "login" in route.places:
            yield route.at(login=person.login)
        if "operation_id" in route.places:
            yield from (route.at(operation_id=operation) for operation in person.operations)
    if "group" in route.places:
        shared = () if limited.logins is None else ("zebra-in", "zebra-out")
        yield from (route.at(group=group) for group in (*limited.groups_beyond, *shared))


def _bodies_beyond(struct: type[Any], world: World, limited: Limited) -> Iterator[Any]:
    """Give a right body for each field and each account that it can name."""
    named = {"requestId": "reach"} if "request_id" in struct.__struct_fields__ else {}
    base = right_body(struct, **_own(struct, world.ann), **named)
    for name, items in items_of(struct):
        for item in items:
            if not item.__struct_config__.array_like:
                yield from (base | {name: [body]} for body in _bodies_beyond(item, world, limited))
    for field in msgspec.structs.fields(struct):
        for person in limited.outside(world):
            if (
                field.encode_name in NAMING - {"group"} and struct is not DealItem
            ) or field.encode_name == "login":
                yield base | {field.encode_name: _named(person)[field.encode_name]}
        if field.encode_name == "group":
            yield from (base | {"group": group} for group in limited.groups_beyond if group in WITH_ACCOUNTS)


WITH_ACCOUNTS = {"zebra-out", "zebra-far"}


def _own(struct: type[Any], person: Person) -> dict[str, Any]:
    """Give what names the key's own account in a body."""
    names = {
        field.encode_name
        for field in msgspec.structs.fields(struct)
        if field.required or field.name == "login"
    }
    return {name: value for name, value in _named(person).items() if name in names}


def _named(person: Person) -> dict[str, Any]:
    operation = person.operations[0]
    return {
        **dict.fromkeys(("login", "from", "to"), person.login),
        **dict.fromkeys(("operationId", "corrects"), operation),
        "group": person.group,
        "logins": [person.login],
        "ticket": person.ticket,
        "closed": [person.ticket],
        "symbol": "ZEBRA",
    }


def structs_of(route: Route) -> Iterator[type[Any]]:
    """Give the structs that a route decodes, those of its items too."""
    if route.body is not None:
        yield route.body
        for _, items in items_of(route.body):
            yield from items


def codes_of(answer: Answer) -> set[str | None]:
    """Give the codes of a refusal, or of the items that were refused; `accepted` where one was not."""
    if answer.status >= 400:
        return {answer["code"]}
    refused = answer.body.get("errors") or answer.body.get("results") or []
    accepted = {"accepted"} if answer.body.get("accepted") or not refused else set()
    return accepted | {item.get("code", "accepted") for item in refused}
