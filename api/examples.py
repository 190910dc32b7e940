"""True examples of every route: requests with what the service answered, written and held by a test."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

FILE: Final = Path(__file__).parent / "static" / "examples.json"


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One request and its answer. JSON stays as it was sent: 1500.00 keeps its zeros."""

    title: str
    route: str
    path: dict[str, str | int] = {}
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Raw | UnsetType = UNSET
    status: int
    media_type: str
    answer: Raw

    def given(self, place: str, name: str) -> Any:
        """Give what stands at a parameter's place, as JSON where that is JSON; None where nothing does."""
        places: dict[str, Mapping[str, Any]] = {
            "path": self.path,
            "query": self.query,
            "header": self.headers,
        }
        value = places[place].get(name)
        return Raw(value.encode()) if isinstance(value, str) and value.startswith("[") else value


def examples_of(route: str) -> list[Example]:
    """Give the examples of a route such as `GET /users/{login}`."""
    return [example for example in _examples() if example.route == route]


@cache
def _examples() -> list[Example]:
    return msgspec.json.decode(FILE.read_bytes(), type=list[Example]) if FILE.exists() else []
