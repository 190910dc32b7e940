"""The OpenAPI document, made from the routes, the structs that decode their bodies, and what they answer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET

from api import batches, problems
from api.accounts_query import AccountsBody, AccountsQuery
from api.bodies import BatchBody
from api.examples import Example, examples_of
from api.feed_bodies import DealItem, DealsBody, PositionItem, PositionsBody, QuoteItem, QuotesBody
from api.middleware import ANY_SCOPE, OPERATOR_MAX
from api.shapes.codes import derived
from api.shapes.links import LINKS, Link
from api.shapes.parts import REFERENCE, AnyObject, named
from api.shapes.problems import Problem
from api.shapes.routes import ANSWERS, Answers
from api.version import VERSION
from ledger.refusals import ManagerOffline, Refusal
from projections.accounts_filter import FIELDS

Document = dict[str, Any]

TITLE: Final = "fundledger"
DESCRIPTION: Final = (
    "An event-sourced funding ledger for brokers. Money is exact; a request id is applied once, for ever."
)
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"  # no schema says what stands in a stream


def document(routes: Sequence[HTTPRouteHandler], base: str) -> Document:
    """Describe the routes under their base path."""
    parts = Parts()
    paths: dict[str, Document] = {}
    for handler in routes:
        [path] = handler.paths
        for method in sorted(handler.http_methods - {"OPTIONS"}):
            item = paths.setdefault(base + published_path(path), {})
            item[method.lower()] = _operation(handler, method, path, parts)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(parts.schemas.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "a ledger's key"}},
        },
    }


def published_path(path: str) -> str:
    """Give a route's path as it is published: /users/{login}."""
    return _PARAMETER.sub(lambda found: f"{{{_camel(found[1])}}}", path)


class Parts:
    """The schemas that others refer to, gathered as they are met."""

    def __init__(self) -> None:
        self.schemas: Document = {}
        self._known: dict[int, Document] = {}

    def of(self, kind: Any) -> Document:
        """Give the schema of a type, and keep those of the objects in it."""
        if id(kind) not in self._known:
            self._known[id(kind)] = self._made(kind)
        return self._known[id(kind)]

    def _made(self, kind: Any) -> Document:
        [schema], found = msgspec.json.schema_components([kind], ref_template=REFERENCE)
        for name, part in found.items():
            self.schemas[name] = _readable(part)
        self._follow([schema, *found.values()])
        return _readable(schema)

    def _follow(self, schemas: Iterable[Document]) -> None:
        for name in {name for schema in schemas for name in _references(schema)} - self.schemas.keys():
            self.of(named(name))


_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
_LOGIN: Final[Document] = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_WORD: Final[Document] = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
_REQUEST_ID: Final[Document] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_LAST_EVENT: Final[Document] = {"type": "string", "pattern": "^[0-9]{0,15}$"}
_IN_PATH: Final[dict[str, Document]] = {
    "login": _LOGIN,
    "operationId": {"type": "string", "pattern": "^(bal|op)_[0-9]{1,18}$"},
    "requestId": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    "group": {"type": "string", "pattern": r"^[^\s,*!/\x00-\x1f\x7f]{1,64}$"},
    "symbol": {"type": "string", "pattern": r"^[^\s/\x00-\x1f\x7f]{1,32}$"},
}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _references(schema: Any) -> Iterator[str]:
    """Give the names of all objects that a schema refers to."""
    for node in _nodes(schema):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.rpartition("/")[2]


def _nodes(value: Any) -> Iterator[Document]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(inner)


def _readable(schema: Document) -> Document:
    """Put a docstring's lines in order."""
    if "description" not in schema:
        return schema
    return schema | {"description": inspect.cleandoc(schema["description"])}


# One operation.


def _operation(handler: HTTPRouteHandler, method: str, path: str, parts: Parts) -> Document:
    opt, examples = handler.opt, examples_of(f"{method} {published_path(path)}")
    operation: Document = {
        "operationId": _camel(handler.handler_name),
        "summary": (handler.fn.__doc__ or "").strip().rstrip("."),
        "tags": [opt["tag"]],
        "parameters": [
            _with_examples(parameter, examples)
            for parameter in (*_in_path(path), *_in_query(opt), *_in_headers(handler))
        ],
        "responses": _responses(handler, parts, examples),
    }
    if "body" in opt:
        content = {"schema": _body(opt["body"], parts)} | _given(
            {example.title: example.body for example in examples if example.body is not UNSET}
        )
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    if (scope := opt.get("scope")) is not None:
        operation["security"] = [{"key": [] if scope == ANY_SCOPE else [scope]}]
    return operation


def _given(values: Mapping[str, Any]) -> Document:
    """Give the examples of a place, where there are any."""
    return {"examples": {title: {"value": value} for title, value in values.items()}} if values else {}


def _with_examples(parameter: Document, examples: Sequence[Example]) -> Document:
    found = {example.title: example.given(parameter["in"], parameter["name"]) for example in examples}
    given = _given({title: value for title, value in found.items() if value is not None})
    if "content" not in parameter:
        return parameter | given
    return parameter | {"content": {JSON: parameter["content"][JSON] | given}}


# What a route takes.


def _in_path(path: str) -> Iterator[Document]:
    for name in map(_camel, (name for name, _ in _PARAMETER.findall(path))):
        yield {"name": name, "in": "path", "required": True, "schema": _IN_PATH.get(name, _WORD)}


def _in_query(opt: Document) -> Iterator[Document]:
    if "query" not in opt:
        return
    query = opt["query"]
    _, found = msgspec.json.schema_components([query])
    described = found[query.__name__]
    for name, schema in described["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in described.get("required", [])}
        if query is AccountsQuery and name in _RULES:
            yield parameter | {"content": {JSON: {"schema": _RULES[name]}}}
        else:
            yield parameter | {"schema": _without_null(schema)}


def _without_null(schema: Document) -> Document:
    """Say that a parameter may be missing, which is not null: a query holds text alone."""
    if schema.get("default", ...) is None:
        schema = {name: part for name, part in schema.items() if name != "default"}
    if "anyOf" not in schema:
        return schema
    only: Document
    [only] = [part for part in schema["anyOf"] if part != {"type": "null"}]
    return only | {name: part for name, part in schema.items() if name != "anyOf"}


def _in_headers(handler: HTTPRouteHandler) -> Iterator[Document]:
    if handler.opt.get("scope") is None:
        return
    if handler.http_methods & {"POST", "PUT", "PATCH"}:
        yield {"name": "x-request-id", "in": "header", "schema": _REQUEST_ID}
        yield {"name": "Idempotency-Key", "in": "header", "schema": _REQUEST_ID}
    if handler.handler_name == "stream_events":
        yield {"name": "Last-Event-ID", "in": "header", "schema": _LAST_EVENT}
    yield {"name": "x-operator-id", "in": "header", "schema": {"type": "string", "maxLength": OPERATOR_MAX}}


def _body(body: type, parts: Parts) -> Document:
    [schema], found = msgspec.json.schema_components([body], ref_template=REFERENCE)
    parts.schemas |= {name: _with_money(part) for name, part in found.items()}
    described: Document = schema
    if body in _ITEMS:
        field, item = _ITEMS[body]
        [items], inner = msgspec.json.schema_components([item], ref_template=REFERENCE)
        parts.schemas |= {name: _with_money(part) for name, part in inner.items()}
        parts.schemas[body.__name__]["properties"][field]["items"] = items
    if body is AccountsBody:
        parts.schemas[body.__name__]["properties"] |= {
            name: {"anyOf": [rule, {"type": "null"}]} for name, rule in _RULES.items()
        }
    return described


def _with_money(schema: Document) -> Document:
    """Describe the raw tokens: amounts, and prices."""
    schema = _readable(schema)
    if "prefixItems" in schema:
        return schema | {"prefixItems": [part or _MONEY for part in schema["prefixItems"]]}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    described = {
        name: part or (_MONEY if name in required else {"anyOf": [_MONEY, {"type": "null"}]})
        for name, part in properties.items()
    }
    return schema | {"properties": described}


_ITEMS: Final[dict[type, tuple[str, Any]]] = {
    BatchBody: ("operations", batches.Item),
    QuotesBody: ("quotes", QuoteItem),
    PositionsBody: ("positions", PositionItem),
    DealsBody: ("deals", DealItem),
}
"""Bodies whose items are decoded one by one: the field that holds them, and what they are."""

_MONEY: Final[Document] = {
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}],
    "description": "a plain decimal with at most the currency's digits",
}
_FIELD: Final[Document] = {"enum": list(FIELDS)}
_VALUE: Final[Document] = {"type": ["string", "number", "boolean"]}
_VALUES: Final[Document] = {"type": "array", "items": _VALUE, "minItems": 1}
_RANGE: Final[Document] = {"type": "array", "prefixItems": [_VALUE, _VALUE], "minItems": 2, "maxItems": 2}


def _rules(*parts: Document) -> Document:
    return {"type": "array", "items": _tuple(*parts)}


def _tuple(*parts: Document) -> Document:
    return {"type": "array", "prefixItems": list(parts), "minItems": len(parts), "maxItems": len(parts)}


_RULES: Final[dict[str, Document]] = {
    "where": _rules(_FIELD, {"enum": ["=", "==", "!=", ">", "<", ">=", "<=", "like"]}, _VALUE),
    "whereNot": _rules(_FIELD, _VALUE),
    "whereIn": _rules(_FIELD, _VALUES),
    "whereNotIn": _rules(_FIELD, _VALUES),
    "whereBetween": _rules(_FIELD, _RANGE),
    "whereNotBetween": _rules(_FIELD, _RANGE),
    "orderBy": _tuple(_FIELD, {"enum": ["ASC", "DESC"]}),
}
"""The rules of the accounts list, which are JSON in the query too."""


# What a route answers.


def _responses(handler: HTTPRouteHandler, parts: Parts, examples: Sequence[Example]) -> Document:
    answers = ANSWERS.get(handler.handler_name, Answers(body=AnyObject))
    found = {handler.status_code: _done(answers.body, answers.texts, handler, parts)}
    if answers.rehearsal is not None:
        found[200] = _done(answers.rehearsal, (), handler, parts) | {"description": "what a dry run would do"}
    found |= _refusals(handler.opt, answers, parts)
    for example in examples:
        place = found.get(example.status, {}).get("content", {}).get(example.media_type, {})
        place.setdefault("examples", {})[example.title] = {"value": example.answer}
    return {str(status): response for status, response in sorted(found.items())}


def _done(body: Any, texts: Iterable[str], handler: HTTPRouteHandler, parts: Parts) -> Document:
    content: Document = {media_type: {"schema": {"type": "string"}} for media_type in texts}
    if EVENTS in content:
        content[EVENTS] = {}
    if body is not None:
        content = {JSON: {"schema": parts.of(body)}} | content
    done: Document = {"description": "what was done or found", "headers": _HEADERS, "content": content}
    if links := LINKS.get(handler.handler_name):
        done["links"] = {f"{number}-{link.to}": _link(link) for number, link in enumerate(links)}
    return done


def _link(link: Link) -> Document:
    body = {"requestBody": link.body} if link.body else {}
    return {"operationId": link.to, "parameters": link.parameters} | body


def _refusals(opt: Document, answers: Answers, parts: Parts) -> dict[int, Document]:
    return {
        problems.STATUS[family]: _refused(family, codes, parts)
        for family, codes in derived(opt, answers.refusals).items()
    }


def _refused(family: type[Refusal], codes: Iterable[str], parts: Parts) -> Document:
    narrowed = {
        "status": {"const": problems.STATUS[family]},
        "title": {"const": family.title},
        "code": {"enum": sorted(codes)},
    }
    schema = {"allOf": [parts.of(Problem), {"properties": narrowed}]}
    return {
        "description": (family.__doc__ or "").strip(),
        "headers": _HEADERS | (_RETRY if family is ManagerOffline else {}),
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }


_HEADERS: Final[Document] = {"x-request-id": {"required": True, "schema": {"type": "string"}}}
_RETRY: Final[Document] = {"retry-after": {"required": True, "schema": {"type": "integer", "minimum": 1}}}
