"""The integration guide names what there is, maps every published route, and shows code that is run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from api.app import ROUTES
from api.client import Client
from api.description import published_path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples"

PUBLISHED = {
    *("POST /users", "PATCH /users/{login}", "GET /users/{login}", "POST /users/{login}/disable"),
    *("POST /balances/deposit", "POST /balances/withdraw", "POST /balances/credit", "GET /balances/history"),
    *("GET /groups", "GET /symbols", "GET /reports/exposure", "GET /reports/users", "GET /accounts"),
}
"""The routes of the two published APIs."""

_ROUTE = re.compile(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^\s`?]*)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def routes() -> set[str]:
    return {
        f"{method} {published_path(path)}"
        for handler in ROUTES
        for method in handler.http_methods
        for path in handler.paths
    }


def mapping() -> list[list[str]]:
    """Give the cells of the rows that map a route."""
    rows = [line.strip("|").split("|") for line in GUIDE.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows if _ROUTE.match(row[0].strip())]


def test_every_route_that_it_names_is_one_of_the_service() -> None:
    named = set(_ROUTE.findall(GUIDE))
    assert len(named) > len(PUBLISHED)
    assert named - routes() == set()


def test_every_published_route_is_mapped_once_to_one_of_the_same_name() -> None:
    published = [_ROUTE.findall(row[0])[0] for row in mapping()]
    assert sorted(published) == sorted(PUBLISHED)
    for row in mapping():
        assert _ROUTE.findall(row[1]) == _ROUTE.findall(row[0])


def test_every_published_code_and_header_is_mapped() -> None:
    for word in ("ValidationError", "Unauthorized", "PermissionDenied", "AlreadyApplied", "ManagerOffline"):
        assert word in GUIDE
    for header in ("Authorization", "x-operator-id", "x-request-id", "Content-Type"):
        assert f"| `{header}" in GUIDE


def test_every_method_of_the_client_that_it_names_exists() -> None:
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction)}
    named = {_ROUTE.findall(row[0])[0]: re.findall(r"`(\w+)", row[2]) for row in mapping()}
    without = {"GET /symbols", "GET /reports/exposure", "GET /reports/users"}
    assert {route for route, names in named.items() if not names} == without
    assert {names[0] for names in named.values() if names} <= methods


@pytest.mark.parametrize("language", ["python", "sh"])
def test_code_is_that_of_an_example_or_what_runs_the_examples(language: str) -> None:
    files = [path.read_text(encoding="utf-8") for path in EXAMPLES.iterdir() if path.is_file()]
    blocks = [text for kind, text in _BLOCK.findall(GUIDE) if kind == language]
    running = [text for text in blocks if "docs/examples/" in text]
    assert blocks
    assert len(running) == (1 if language == "sh" else 0)
    for block in blocks:
        assert block in running or any(block in text for text in files), block


def test_all_its_blocks_are_of_these_languages() -> None:
    assert {kind for kind, _ in _BLOCK.findall(GUIDE)} == {"python", "sh"}


def test_every_recipe_leads_to_its_example() -> None:
    recipes = GUIDE.split("## Recipes\n", 1)[1].split("\n## ", 1)[0].split("\n### ")[1:]
    assert len(recipes) == 5
    for recipe in recipes:
        named = re.findall(r"\]\((examples/[\w.]+)\)", recipe)
        assert named, recipe
        assert all((ROOT / "docs" / name).exists() for name in named)
