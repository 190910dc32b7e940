"""The docs say what the code does: routes, fields, refusals, options, scopes, events, and nothing else."""

from __future__ import annotations

import argparse
import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from api import problems
from api.app import ROUTES
from api.cli.grammar import parser
from api.console.app import ROUTES as CONSOLE
from api.history import KINDS
from api.middleware import ANY_SCOPE
from api.scopes import ROLES, SCOPES
from api.settings import DEFAULTS, SETTINGS, variable
from api.settings import option as option_of
from ledger import decide, refusals
from ledger.events import AnyEvent, Event
from ledger.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    *("api.md", "architecture.md", "console.md", "decisions.md", "glossary.md", "operations.md"),
    *("integration.md", "reliability.md", "reporting.md", "scale.md"),
)
PACKAGES = ("ledger", "projections", "api")

INDIRECT = {
    # A first argument of a refusal that is no literal: where it stands, and the codes that it can be.
    ("api/bodies.py", "code"): set[str](),  # keyword arguments `code=`, collected below
    ("api/keys.py", "reason"): set[str](),  # what `death` returns, collected below
    ("ledger/writer.py", "code"): set[str](),  # the first argument of `offline`, collected below
    ("ledger/decide.py", "error.code"): {"unknown_operation"},
}


@cache
def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(heading: str, name: str = "api.md") -> str:
    """Give the text under a heading, up to the next one of its level or above; code blocks left out."""
    level = len(heading) - len(heading.lstrip("#"))
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.MULTILINE | re.DOTALL)
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, flags=re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"docs/{name} has no heading {heading!r}"
    return found[1]


def quoted(text: str) -> list[str]:
    """Give what stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def rows(text: str) -> list[list[str]]:
    """Give the cells of all rows of tables, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|-: ")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if number not in heads and not set(line) <= set("|-: ")
    ]


def headings(name: str) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)


# Routes.


def routes() -> dict[str, dict[str, Any]]:
    """Give method and path, as published, and what the handler says of itself."""
    found = {}
    for handler in ROUTES:
        for method in handler.http_methods:
            for path in handler.paths:
                published = re.sub(r"\{(\w+):\w+\}", lambda name: f"{{{_camel(name[1])}}}", path)
                found[f"{method} {published}"] = handler.opt
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def documented_fields(route: str, line: str) -> set[tuple[str, bool]] | None:
    """Give the fields of a route's `Body:` or `Query:` line, each with whether it is required."""
    found = re.search(rf"^{line}: (.*)$", section(f"### {route}"), flags=re.MULTILINE)
    if found is None:
        return None
    return {(name.removesuffix("?"), not name.endswith("?")) for name in quoted(found[1])}


def fields(struct: type[Any]) -> set[tuple[str, bool]]:
    return {(field.encode_name, field.required) for field in msgspec.structs.fields(struct)}


def test_the_routes_of_the_docs_are_those_of_the_service() -> None:
    documented = re.findall(r"^### ((?:GET|POST|PUT|PATCH|DELETE) .*)$", page("api.md"), flags=re.MULTILINE)
    assert sorted(documented) == sorted(routes())


@pytest.mark.parametrize("route", routes())
def test_a_route_is_documented_with_its_scope(route: str) -> None:
    scope = routes()[route].get("scope")
    words = {None: "none", ANY_SCOPE: "any living key"}.get(scope, f"`{scope}`")
    assert f"Scope: {words}\n" in section(f"### {route}")


@pytest.mark.parametrize("route", routes())
def test_a_route_is_documented_with_every_field_and_no_other(route: str) -> None:
    opt = routes()[route]
    for line, option in (("Body", "body"), ("Query", "query")):
        expected = fields(opt[option]) if option in opt else None
        assert documented_fields(route, line) == expected, line


@pytest.mark.parametrize("route", routes())
def test_a_route_is_documented_with_an_example(route: str) -> None:
    whole = page("api.md").split(f"### {route}\n", 1)[1].split("\n### ", 1)[0]
    assert "```" in whole or "[Example]" in whole


def test_the_pages_of_the_console_are_documented_with_their_scopes() -> None:
    found = {}
    for handler in CONSOLE:
        for method in handler.http_methods:
            for path in handler.paths:
                published = re.sub(r"\{(\w+):\w+\}", lambda name: f"{{{_camel(name[1])}}}", path)
                found[f"{method} /console{published.rstrip('/')}"] = handler.opt["console"]
    documented = {
        address: row[1]
        for row in rows(section("## Addresses and scopes", "console.md"))
        for address in quoted(row[0])
    }
    words = {None: "none", (): "any living key"}
    assert documented == {
        address: words.get(needed) or " ".join(f"`{scope}`" for scope in needed)
        for address, needed in found.items()
    }


# Refusals.


FAMILIES = {
    name: family
    for name, family in vars(refusals).items()
    if isinstance(family, type) and issubclass(family, Refusal)
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield path.relative_to(ROOT).as_posix(), node


def family_of(call: ast.Call) -> str | None:
    """Give the family that a call makes a refusal of, if it does."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return "ManagerOffline" if name == "offline" else name if name in FAMILIES else None


def deaths() -> set[str]:
    """Give the codes that `Key.death` gives."""
    tree = ast.parse((ROOT / "api" / "keys.py").read_text(encoding="utf-8"))
    [death] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "death"]
    values = [node.value for node in ast.walk(death) if isinstance(node, ast.Return)]
    return {
        value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }


@cache
def raised() -> frozenset[tuple[str, str]]:
    """Give every code with the title of its family."""
    found = {(code, refusals.Unauthorized.title) for code in deaths()}
    for path, call in calls():
        for keyword in call.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                found.add((str(keyword.value.value), refusals.ValidationError.title))
        family = family_of(call)
        if family is None or not call.args:
            continue
        first = call.args[0]
        if isinstance(first, ast.Constant):
            codes = {str(first.value)}
        else:
            codes = INDIRECT.get((path, ast.unparse(first)), {f"{path}:{call.lineno} gives an unknown code"})
        found |= {(code, FAMILIES[family].title) for code in codes}
    return frozenset(found)


def refusal_rows() -> list[list[str]]:
    return [row for row in rows(section("## Refusals")) if len(row) == 5]


def test_every_code_that_can_be_raised_is_documented_under_its_title() -> None:
    documented = {(quoted(code)[0], title) for code, _, title, _, _ in refusal_rows()}
    assert raised() - documented == set()


def test_no_code_is_documented_that_cannot_be_raised() -> None:
    documented = {(quoted(code)[0], title) for code, _, title, _, _ in refusal_rows()}
    assert documented - raised() == set()


def test_a_code_is_documented_once_in_a_place() -> None:
    places = re.split(r"^#### ", section("## Refusals"), flags=re.MULTILINE)
    for place in places:
        seen = [(row[0], row[2]) for row in rows(place) if len(row) == 5]
        assert len(seen) == len(set(seen)), place.splitlines()[0]


def test_statuses_in_the_docs_are_those_of_the_one_table() -> None:
    statuses = {family.title: status for family, status in problems.STATUS.items()}
    by_routing = {refusal.code: status for status, refusal in problems._ROUTING.items()}
    for code, status, title, _, _ in refusal_rows():
        assert int(status) == by_routing.get(quoted(code)[0], statuses[title]), code


def test_every_title_is_documented_with_its_status() -> None:
    documented = {
        row[0]: row[1] for row in rows(section("## Refusals")) if len(row) == 3 and row[1].isdigit()
    }
    assert documented == {family.title: str(status) for family, status in problems.STATUS.items()}


def test_the_order_of_the_docs_is_that_of_the_decisions() -> None:
    assert decide.__doc__ is not None
    order = " ".join(decide.__doc__.split("\n\n")[1].split()).rstrip(".").split(" -> ")
    places = re.findall(r"^#### \d+\. (.*)$", page("api.md"), flags=re.MULTILINE)
    assert places[-len(order) :] == order


def test_the_checks_stand_in_the_code_in_the_order_that_is_documented() -> None:
    source = ast.parse(Path(decide.__file__).read_text(encoding="utf-8"))
    [body] = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "decide"]
    called = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
    names = [
        ast.unparse(call.func) for call in sorted(called, key=lambda call: (call.lineno, call.col_offset))
    ]
    checks = [name.rpartition(".")[2].removeprefix("_") for name in names if "check" in name]
    order = ["effective_time", "reach", "request_id", "reference", "limits"]
    assert checks == [f"check_{name}" for name in order]
    ruling = [name for name in names if "check" in name or name.startswith("RULES")]
    assert ruling[-1].startswith("RULES")


# Command line.


def commands(of: argparse.ArgumentParser | None = None) -> dict[str, argparse.ArgumentParser]:
    """Give every command by its full name."""
    of = of or parser()
    below = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        return {of.prog: of}
    return {
        name: command
        for action in below
        for sub in action.choices.values()
        for name, command in commands(sub).items()
    }


def options(command: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    named = {action.option_strings[-1]: action for action in command._actions if action.option_strings}
    return {name: action for name, action in named.items() if name != "--help"}


def documented_options(text: str) -> dict[str, list[str]]:
    return {quoted(row[0])[0]: row for row in rows(text) if row[0].startswith("`--")}


def documented(name: str) -> dict[str, list[str]]:
    """Give the rows of a command's options, those that stand elsewhere too."""
    common = section("## Command line").split("\n### ", 1)[0]
    also = section("### fundledger serve") if name == "fundledger settings" else ""
    taken = options(commands()[name])
    shared = {found: row for found, row in documented_options(common).items() if found in taken}
    return shared | documented_options(also) | documented_options(section(f"### {name}"))


def test_the_commands_of_the_docs_are_those_of_the_command_line() -> None:
    documented = re.findall(r"^### (fundledger .*)$", page("api.md"), flags=re.MULTILINE)
    assert sorted(documented) == sorted(commands())


@pytest.mark.parametrize("name", commands())
def test_a_command_is_documented_with_every_option_and_no_other(name: str) -> None:
    assert sorted(documented(name)) == sorted(options(commands()[name]))


@pytest.mark.parametrize("name", commands())
def test_options_are_documented_with_their_defaults(name: str) -> None:
    for found, action in options(commands()[name]).items():
        default = DEFAULTS.get(action.dest, action.default)
        expected = "" if default is None else f"`{default}`"
        assert documented(name)[found][1] == expected, found


@pytest.mark.parametrize("name", commands())
def test_what_a_command_takes_without_a_name_is_documented(name: str) -> None:
    for action in commands()[name]._actions:
        if not action.option_strings:
            assert f"`{name} {action.metavar}" in section(f"### {name}")


OTHERS = "createdb|docker|install|journalctl|make|psql|systemctl|useradd"
"""Programs with options of their own."""


def test_options_named_anywhere_in_the_docs_exist() -> None:
    known = {found for command in commands().values() for found in options(command)} | {"--help", "--version"}
    for name in PAGES:
        for line in page(name).splitlines():
            if "fundledger" in line or line.startswith("|"):
                own = re.sub(rf"`(?:{OTHERS}) [^`]*`|^(?:{OTHERS}) .*", "", line)
                assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own)) <= known, f"docs/{name}: {line}"


def test_every_setting_is_documented_as_the_code_has_it() -> None:
    expected = []
    for name, setting in SETTINGS.items():
        default = "" if DEFAULTS[name] is None else f"`{DEFAULTS[name]}`"
        expected.append([f"`{option_of(name)}`", f"`{variable(name)}`", default, setting.meaning])
    assert rows(section("## Configure", "operations.md")) == expected


@pytest.mark.parametrize("name", PAGES)
def test_variables_named_anywhere_in_the_docs_exist(name: str) -> None:
    mistyped_on_purpose = {"FUNDLEDGER_LEGER"}
    named = set(re.findall(r"FUNDLEDGER_[A-Z_]*[A-Z]", page(name)))
    assert named - mistyped_on_purpose <= {variable(setting) for setting in SETTINGS}


# Scopes and roles.


def test_every_role_is_documented_with_exactly_its_scopes() -> None:
    text = section("## Keys, scopes and roles")
    head = next(line for line in text.splitlines() if line.startswith("| scope"))
    roles = [cell.strip() for cell in head.strip("|").split("|")][2:]
    table = {quoted(row[0])[0]: row[2:] for row in rows(text)}
    found = {
        role: {scope for scope, cells in table.items() if cells[n] == "x"} for n, role in enumerate(roles)
    }
    assert found == {role: set(scopes) for role, scopes in ROLES.items()}


def test_every_scope_is_documented() -> None:
    assert [quoted(row[0])[0] for row in rows(section("## Keys, scopes and roles"))] == list(SCOPES)


# Events and kinds.


def topics() -> list[str]:
    events: tuple[type[Event], ...] = get_args(AnyEvent)
    return [event.TOPIC for event in events]


def test_every_event_type_is_documented() -> None:
    table = [row for row in rows(section("## Storage", "architecture.md")) if "-" in row[0]]
    assert sorted(name for row in table for name in quoted(row[0])) == sorted(topics())


def test_every_kind_of_money_operation_is_documented() -> None:
    text = (
        section("## Storage", "architecture.md").split("Kinds of `money-moved`", 1)[1].split(". Shapes", 1)[0]
    )
    assert set(quoted(text)) == KINDS
    assert set(quoted(section("## Routes"))) >= KINDS


def test_every_table_is_documented() -> None:
    schema = (ROOT / "projections" / "sql" / "schema.sql").read_text(encoding="utf-8")
    tables = re.findall(r"^CREATE TABLE (\w+)", schema, flags=re.MULTILINE)
    table = rows(section("## Storage", "architecture.md"))
    assert set(tables) <= {name for row in table for name in quoted(row[0])}


# The pages themselves.


def test_every_promise_stands_beside_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page("reliability.md"))
    assert len(named) > 10
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert not missing


def test_the_folder_holds_these_pages() -> None:
    assert sorted(path.name for path in DOCS.glob("*.md")) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page(name)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = DOCS / file if file else DOCS / name
        assert path.exists(), target
        if anchor:
            assert anchor in {_anchor(heading) for heading in headings(path.name)}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_files_that_the_docs_name_exist(name: str) -> None:
    pattern = (
        r"(?:(?:ledger|projections|api|tests|docs|bench)/[\w./-]*\w|requirements\.lock|docker-compose\.yml)"
    )
    for text in quoted(page(name)):
        if re.fullmatch(pattern, text):
            path = ROOT / text
            assert path.exists() or path.with_suffix(".py").exists(), f"docs/{name} names {text}"


def test_a_word_of_the_glossary_has_one_line_and_they_stand_in_order() -> None:
    words = [row[0] for row in rows(page("glossary.md"))]
    assert words == sorted(set(words), key=lambda word: word.lower().replace("-", " "))


def test_decisions_are_dated_and_short() -> None:
    entries = re.split(r"^### ", page("decisions.md"), flags=re.MULTILINE)[1:]
    for entry in entries:
        title, *lines = entry.split("\n## ", 1)[0].strip().splitlines()
        assert re.match(r"20\d\d-[01]\d-[0-3]\d \w", title), title
        assert 3 <= len(lines) <= 11, title
        assert "Given up:" in entry.replace("Given\nup:", "Given up:"), title


def test_every_dependency_has_its_entry_among_the_decisions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in wanted}
    assert names <= set(quoted(section("## Dependencies", "decisions.md")))
