"""Every way to ask what a route can tell, and what of an answer tells too much."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from tests.access.router import GUARDED, Route
from tests.access.samples import right_body, variants
from tests.access.world import Person, World, asks_about

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.served import Caller

READING = [route for route in GUARDED if route.reads and str(route) != "GET /feed/status"]
"""Who tells, and of whom: the state of the feed is everybody's."""

OF_THE_WHOLE_LOG = {"/audit/checkpoint", "/audit/consistency", "/audit/proof/{operation_id}"}
"""What is told of the log as a whole: its size and its hashes."""

TELLS_OF_NOBODY = {"/server", "/symbols"}
"""Routes that tell of no account and no group: a new one belongs here only if that is so."""

VOLATILE: dict[str, set[str]] = {
    "/accounts": {"position", "asOf"},
    "/accounts/query": {"position", "asOf"},
    "/reports/users": {"position", "asOf"},
    "/reports/exposure": {"asOf"},
    "/reports/daily": {"asOf"},
    "/audit/events": {"next"},
    "/audit/refusals": {"next"},
    "/server": {"now"},
}
"""What an answer tells of the whole ledger on purpose: the time, and how long the log is."""


class Question(msgspec.Struct, frozen=True):
    """A way to ask a route; `about` is the account that it names."""

    route: Route
    path: str
    query: dict[str, Any] = {}
    body: Any = None
    accept: str = "*/*"
    about: Person | None = None

    @property
    def sent(self) -> str:
        """What the caller has told itself."""
        return f"{self.path} {self.query} {json.dumps(self.body)}"


def questions(route: Route, world: World) -> Iterator[Question]:
    """Give every way to ask a route: with each parameter, and by whatever each account can be named by."""
    for path, about in _paths(route, world):
        if route.method != "GET":
            assert route.body is not None
            yield from (Question(route, path, body=body) for body in _bodies(route.body, world))
            continue
        yield Question(route, path, _required(route), accept="text/csv", about=about)
        yield from (Question(route, path, query, about=about) for query in _variants(route))
        for person in world.everyone:
            for name, values in asks_about(person).items():
                if name in _names(route):
                    named = person if name == "login" else about
                    yield from (
                        Question(route, path, _required(route) | {name: value}, about=named)
                        for value in values
                    )


def _paths(route: Route, world: World) -> Iterator[tuple[str, Person | None]]:
    """Give the path once for each thing of each account that its places can name."""
    if not route.places:
        yield route.at(), None
        return
    for person in world.everyone:
        known: dict[str, list[Any]] = {
            "login": [person.login],
            "operation_id": person.operations,
            "request_id": person.requests,
            "group": [person.group],
        }
        [place] = route.places
        for value in known.get(place, []):
            yield route.at(**{place: value}), person


def _names(route: Route) -> set[str]:
    return (
        set() if route.query is None else {field.encode_name for field in msgspec.structs.fields(route.query)}
    )


def _variants(route: Route) -> list[dict[str, Any]]:
    return [{}] if route.query is None else list(variants(route.query))


def _required(route: Route) -> dict[str, Any]:
    return _variants(route)[0]


def _bodies(struct: type[Any], world: World) -> Iterator[Any]:
    base = right_body(struct)
    yield base
    names = {field.encode_name for field in msgspec.structs.fields(struct)}
    for person in world.everyone:
        for name, values in asks_about(person).items():
            if name in names:
                rules = name.startswith("where")
                yield from (base | {name: json.loads(value) if rules else value} for value in values)


class Told(msgspec.Struct, frozen=True):
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def code(self) -> str | None:
        """Why it was refused, if it was."""
        return json.loads(self.text)["code"] if self.status >= 400 else None

    @property
    def everything(self) -> str:
        """Headers and body."""
        return f"{self.headers}\n{self.text}"


def ask(caller: Caller, question: Question) -> Told:
    """Ask; of a stream take what has happened until now."""
    last = caller.get("/audit/events", limit=10_000)["events"] if "stream" in question.path else []
    end = f"id: {last[-1]['position']}\n" if last else None
    with caller.served.http.stream(
        question.route.method,
        caller.served.url + question.path,
        params=question.query or None,
        content=None if question.body is None else msgspec.json.encode(question.body),
        headers={
            "authorization": f"Bearer {caller.key}",
            "accept": question.accept,
            "x-request-id": "the-same",
        },
    ) as answer:
        return Told(answer.status_code, dict(answer.headers), _read(answer, end))


def _read(answer: httpx.Response, end: str | None) -> str:
    if answer.headers["content-type"].partition(";")[0] != "text/event-stream":
        return answer.read().decode()
    text = ""
    for part in answer.iter_text():
        text += part
        if end is not None and end in text and text.endswith("\n\n"):
            break
    return text


def told_of(question: Question, told: Told, hidden: tuple[str, ...]) -> list[str]:
    """Give what an answer tells that it must not, beside what the caller said itself."""
    text = _CURSOR.sub("", told.everything)
    return [needle for needle in hidden if needle in text and needle not in question.sent]


_CURSOR = re.compile(r'"next":"[A-Za-z0-9_-]{32}"')
"""Where a page ended, as letters: a time among them may read like the name of a currency."""


def lasting(question: Question, told: Told) -> tuple[int, str, dict[str, str]]:
    """Give of an answer what only what it tells of can change."""
    volatile = VOLATILE.get(question.route.path, set())
    text = told.text
    if told.headers["content-type"] == "application/json" and volatile:
        text = str([(name, value) for name, value in json.loads(text).items() if name not in volatile])
    headers = {name: told.headers[name] for name in told.headers if name not in PER_ANSWER}
    return told.status, text, headers


PER_ANSWER = {"date", "content-length"}
