"""The examples of the OpenAPI document are what the service answers, and every route has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
import pytest

from api.examples import FILE, Example
from tests.described import METHODS, described, unlike
from tests.fuzz.examples import BEGIN, lasting, make
from tests.service import service_on

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = msgspec.json.decode(FILE.read_bytes(), type=list[Example])


def operation_of(route: str) -> dict[str, Any]:
    """Give what the document says of a route."""
    method, _, path = route.partition(" ")
    operation: dict[str, Any] = described()["paths"][path][method.lower()]
    return operation


ROUTES = [
    f"{method.upper()} {path}"
    for path, item in described()["paths"].items()
    for method in METHODS
    if method in item
]


def test_the_examples_are_what_the_service_answers(database_url: str, tmp_path: Path) -> None:
    options = ("--simulate-from", BEGIN, "--seal-key", str(tmp_path / "seal-key.pem"))
    with service_on(database_url, tmp_path / "log", *options) as service:
        answered = make(service.url, service.key())
        service.stop()
    assert [lasting(example) for example in answered] == [lasting(example) for example in EXAMPLES], (
        "write them anew: python -m tests.fuzz --write-examples"
    )


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_has_an_example_of_what_it_is_for(route: str) -> None:
    assert any(example.route == route and example.status < 300 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.route} {example.title}")
def test_an_example_stands_in_the_document_where_it_belongs(example: Example) -> None:
    operation = operation_of(example.route)
    content = operation["responses"][str(example.status)]["content"][example.media_type]
    assert content["examples"][example.title]["value"] == msgspec.json.decode(example.answer)
    if example.body is not msgspec.UNSET:
        assert example.title in operation["requestBody"]["content"]["application/json"]["examples"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.route} {example.title}")
def test_an_example_is_as_described(example: Example) -> None:
    method, _, path = example.route.partition(" ")
    text = bytes(example.answer).decode()
    assert unlike(method, path, example.status, example.media_type, text) is None


@pytest.mark.parametrize("route", [route for route in ROUTES if "requestBody" in operation_of(route)])
def test_a_route_that_takes_a_body_shows_one_that_it_takes(route: str) -> None:
    [content] = operation_of(route)["requestBody"]["content"].values()
    taken = {example.title for example in EXAMPLES if example.route == route and example.status < 300}
    shown = {title: example["value"] for title, example in content["examples"].items() if title in taken}
    assert shown
    whole = {"components": described()["components"], "allOf": [content["schema"]]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    assert [error.message for body in shown.values() for error in validator.iter_errors(body)] == []


def test_money_keeps_its_zeros_in_the_document() -> None:
    [deposit] = [example for example in EXAMPLES if example.title == "a card payment"]
    assert b'"newBalance":1500.00' in bytes(deposit.answer)
