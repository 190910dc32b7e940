"""The command line explains itself: commands under headings, true examples, completion, the version."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from api.cli import main
from api.cli.grammar import COMMON, GROUPS, function_of, parser
from api.settings import SETTINGS, option

ROOT = Path(__file__).parents[2]
HEAVY = ("psycopg", "litestar", "uvicorn", "cryptography", "rich", "structlog", "shtab", "projections.schema")
"""What takes longer to load than help may take to come."""


def commands(of: argparse.ArgumentParser | None = None) -> dict[str, argparse.ArgumentParser]:
    """Give every command by its full name, and those that only have others below them."""
    of = of or parser()
    found = {of.prog: of}
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found |= commands(below)
    return found


COMMANDS = commands()
RUN = {name: command for name, command in COMMANDS.items() if command.get_default("run")}


def examples(command: argparse.ArgumentParser) -> list[str]:
    """Give the examples of a command's help."""
    text = command.format_help().partition("examples:\n")[2]
    return [line.strip() for line in text.splitlines() if line.startswith("  fundledger")]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command; give its exit code and all that it said."""
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    heard = capsys.readouterr()
    return code, heard.out + heard.err


def test_help_lists_each_command_once_under_a_heading_with_a_line_about_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = said(capsys, "--help")
    assert code == 0
    below = {name.split()[1] for name in COMMANDS if " " in name}
    assert sorted(below) == sorted(name for names in GROUPS.values() for name in names)
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    for name in below:
        [words] = [line for line in lines if line[:1] == [name]]
        assert len(words) == 2


@pytest.mark.parametrize("name", RUN)
def test_help_of_a_command_has_examples_that_are_right(name: str) -> None:
    found = examples(RUN[name])
    assert found
    for example in found:
        words = shlex.split(example.partition(" > ")[0])
        assert " ".join(words).startswith(name)
        assert parser().parse_args(words[1:]).prog == name


@pytest.mark.parametrize("name", RUN)
def test_help_of_a_command_says_what_each_option_is(name: str) -> None:
    text = RUN[name].format_help()
    assert text.startswith(f"usage: {name} ")
    for action in RUN[name]._actions:
        assert action.help, action.dest


@pytest.mark.parametrize("name", RUN)
def test_a_command_can_be_loaded(name: str) -> None:
    assert callable(function_of(RUN[name].get_default("run")))


@pytest.mark.parametrize("name", sorted(set(RUN) - {"fundledger completion"}))
def test_every_command_is_told_where_its_ledger_is(name: str) -> None:
    assert set(RUN[name].get_default("taken")) >= set(COMMON)


def test_every_setting_is_an_option_of_serve() -> None:
    words = {word for action in COMMANDS["fundledger serve"]._actions for word in action.option_strings}
    assert words == {"-h", "--help"} | {option(name) for name in SETTINGS}


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert said(capsys, "--version") == (0, f"fundledger {project['version']}\n")


@pytest.mark.parametrize("words", ["--help", "serve --help", "keys create --help", "--version", "nosuch"])
def test_help_loads_nothing_that_takes_long(words: str) -> None:
    program = (
        "import sys; from api.cli import main\n"
        f"try: main({words.split()!r})\n"
        "except SystemExit: pass\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "loaded []"


def completed(words: str) -> list[str]:
    """Give what bash offers for the last of some words."""
    script = subprocess.run(
        [sys.executable, "-m", "api.cli", "completion", "bash"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    ask = f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_fundledger"
    asked = f"{script}\n{ask}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("fundledger se", {"serve", "settings", "seal-key"}),
        ("fundledger keys ''", {"create", "list", "revoke", "rotate"}),
        ("fundledger serve --po", {"--port"}),
        ("fundledger keys create --role f", {"feed", "finance"}),
        ("fundledger export pyproj", {"pyproject.toml"}),
    ],
)
def test_bash_completes_commands_options_and_files(words: str, offered: set[str]) -> None:
    assert set(completed(words)) == offered


def test_zsh_gets_a_script_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, script = said(capsys, "completion", "zsh")
    assert code == 0
    assert script.startswith("#compdef fundledger\n")
    assert "seal-key" in script


def test_settings_are_shown_and_what_is_wrong_with_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNDLEDGER_DATABASE_URL", "postgresql://me:between-us@db/x")
    code, text = said(capsys, "settings", "--port", "8081")
    assert code == 0
    assert "between-us" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["--port", "8081", "--port"] in rows
    assert ["--database-url", "postgresql://me:***@db/x", "FUNDLEDGER_DATABASE_URL"] in rows
    monkeypatch.setenv("FUNDLEDGER_PROT", "1")
    code, text = said(capsys, "keys", "list", "--ledger", "No")
    assert code == 2
    told = text.splitlines()
    assert told[0] == "fundledger: FUNDLEDGER_PROT is no setting: did you mean FUNDLEDGER_PORT?"
    assert told[1].startswith("fundledger: --ledger: 'No' is not ")
    assert told[2] == "fundledger: nothing was done; see `fundledger keys list --help`"
