"""Real answers held against the OpenAPI document: each status, code, field and type of theirs is in it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from api.app import ROUTES
from api.description import document

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def described() -> dict[str, Any]:
    """Give the document, as a machine would read it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(document(ROUTES, "")))
    return found


def undescribed(method: str, path: str, status: int, media_type: str, text: str) -> str | None:
    """Say what of an answer is not as the document has it; None where all of it is.

    Of paths and methods that no route has nothing is said.
    """
    template = _template(path, method.lower())
    return None if template is None else unlike(method, template, status, media_type, text)


def unlike(method: str, template: str, status: int, media_type: str, text: str) -> str | None:
    """Say so of an answer of a described route."""
    if status == 405:
        return None
    response = described()["paths"][template][method.lower()]["responses"].get(str(status))
    if response is None:
        return f"{method} {template} does not describe {status}: {text[:500]}"
    kind = media_type.partition(";")[0]
    if kind not in response["content"]:
        return f"{method} {template} does not describe {kind} for {status}"
    if kind not in {"application/json", "application/problem+json"}:
        return None
    errors = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in _validator(template, method.lower(), str(status), kind).iter_errors(json.loads(text))
    ]
    return f"{method} {template} {status}: {'; '.join(errors)} in {text[:500]}" if errors else None


@cache
def _templates() -> list[tuple[str, re.Pattern[str]]]:
    """Give all paths with what they match, those without places first."""
    paths = sorted(described()["paths"], key=lambda path: path.count("{"))
    return [(path, re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path)) + "/?")) for path in paths]


def _template(path: str, method: str) -> str | None:
    found = (template for template, pattern in _templates() if pattern.fullmatch(path))
    template = next(found, None)
    return template if template is not None and method in described()["paths"][template] else None


@cache
def _validator(template: str, method: str, status: str, kind: str) -> jsonschema_rs.Draft202012Validator:
    schema = described()["paths"][template][method]["responses"][status]["content"][kind]["schema"]
    whole = {"components": described()["components"], "allOf": [schema]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
