"""The words of the command line: every command with its options, and what `--help` says of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from api.scopes import ROLES
from api.settings import DEFAULTS, INSTANT, SECONDS, SETTINGS, Form, option, whole
from api.version import VERSION

COMMON: Final = ("data", "database_url", "ledger")
"""Settings that every command takes."""

GROUPS: Final = {
    "Service": ("serve", "settings"),
    "Ledgers": ("migrate", "ledgers", "import", "demo"),
    "Keys": ("keys",),
    "Checks": ("verify", "rebuild", "export", "seal-key"),
    "Shell": ("completion",),
}
"""Under which heading a command is listed."""

SEED: Final = whole(0, 999_999_999)

EPILOG: Final = """\
`fundledger COMMAND --help` explains a command, with examples. Settings can also be given as variables:
FUNDLEDGER_PORT for --port, and so on.
Exit code 0: done; 1: refused or failed; 2: wrong usage; 130: interrupted."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and where the command is explained."""

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, and what to do next."""
        print(f"fundledger: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """Describe all commands and their options."""
    top = Parser(
        prog="fundledger",
        usage="fundledger COMMAND [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    top.add_argument("--version", action="version", version=f"fundledger {VERSION}")
    commands = top.add_subparsers(prog="fundledger", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for describe in (_serving, _ledgers, _keys, _checking, _completion):
        describe(commands)
    top.description = _overview(commands)
    return top


def _overview(commands: Any) -> str:
    """Give the commands under their headings."""
    helps = {action.dest: action.help for action in commands._choices_actions}
    lines = ["An event-sourced funding ledger for brokers: every deposit an immutable event."]
    for heading, names in GROUPS.items():
        lines += ["", f"{heading}:", *(f"  {name:<12}{helps[name]}" for name in names)]
    return "\n".join([*lines, "", _examples_text(["serve", "keys create --role manager --name me"])])


def _serving(commands: Any) -> None:
    command = _command(
        commands,
        "serve",
        "serve a ledger over HTTP",
        run="serve:serve",
        settings=tuple(SETTINGS),
        examples=[
            "serve",
            "serve --data /var/lib/fundledger --port 8081",
            "serve --database-url postgresql://fundledger_app@db/fundledger --seal-key /etc/seal.pem",
        ],
    )
    command.description = "Serve a ledger over HTTP, until SIGTERM or Ctrl-C; then drain what is in flight."
    _command(
        commands,
        "settings",
        "show the settings that hold here, and where each comes from",
        run="settings:show",
        settings=tuple(SETTINGS),
        examples=["settings", "settings --port 8081"],
    )


def _ledgers(commands: Any) -> None:
    _command(
        commands,
        "migrate",
        "create or update a ledger's schema",
        run="ledgers:migrate",
        examples=["migrate", "migrate --database-url postgresql://fundledger_migrator@db/fundledger"],
    )
    actions = _actions(commands, "ledgers", "make and list ledgers")
    create = _command(
        actions,
        "create",
        "make a ledger: its own schema, log and keys",
        run="ledgers:create",
        examples=["ledgers create second"],
    )
    create.add_argument("name", metavar="NAME", help="small letters, digits and _")
    _command(actions, "list", "list the ledgers", run="ledgers:show", examples=["ledgers list"])
    _import(
        _command(
            commands,
            "import",
            "take over accounts from a CSV file",
            run="imports:import_accounts",
            examples=["import accounts.csv --dry-run", "import accounts.csv"],
        )
    )
    _demo(
        _command(
            commands,
            "demo",
            "fill an empty ledger with a made-up broker",
            run="demo:demo",
            examples=["demo --data ./demo", "demo --data ./demo --seed 2"],
        )
    )


def _demo(command: argparse.ArgumentParser) -> None:
    words = "the same seed makes the same broker (default: 1)"
    command.add_argument("--seed", type=argument(SEED), default=1, metavar="N", help=words)


def _import(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", type=Path, metavar="FILE", help="accounts.csv; its first row names the columns"
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="where each row's result goes (default: beside it)",
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be, and book nothing")


def _keys(commands: Any) -> None:
    actions = _actions(commands, "keys", "make, list, revoke and rotate keys")
    _new_key(
        _command(
            actions,
            "create",
            "make a key and print it once",
            run="keys:create",
            examples=[
                "keys create --role manager --name me",
                "keys create --role finance --name psp --groups 'real*,!real-vip' --max-amount 5000",
            ],
        )
    )
    _command(actions, "list", "list the keys", run="keys:show", examples=["keys list"])
    _known_key(
        _command(
            actions, "revoke", "kill a key", run="keys:revoke", examples=["keys revoke 409318081b057b18"]
        )
    )
    rotate = _command(
        actions,
        "rotate",
        "make a key's successor and end the key",
        run="keys:rotate",
        examples=["keys rotate 409318081b057b18 --overlap 86400"],
    )
    _known_key(rotate)
    words = "how long both live (default: 0)"
    rotate.add_argument("--overlap", type=argument(SECONDS), default=0, metavar="SECONDS", help=words)


def _new_key(command: argparse.ArgumentParser) -> None:
    command.add_argument("--role", required=True, choices=sorted(ROLES), metavar="ROLE", help=_ROLES)
    command.add_argument("--name", required=True, help="whose it is")
    command.add_argument(
        "--groups", default="*", metavar="MASK", help="groups that the key reaches (default: *)"
    )
    command.add_argument("--logins", type=logins, metavar="LIST", help="the only logins that it reaches")
    command.add_argument("--max-amount", metavar="N", help="limit of one operation")
    command.add_argument("--max-amount-day", metavar="N", help="limit of a server day")
    command.add_argument("--expires", type=argument(INSTANT), metavar="TIME", help="when it dies")


def _known_key(command: argparse.ArgumentParser) -> None:
    command.add_argument("key", metavar="KEY_ID", help="as `fundledger keys list` shows it")


_ROLES = f"what it may do: {', '.join(sorted(ROLES))}"


def _checking(commands: Any) -> None:
    _verify(
        _command(
            commands,
            "verify",
            "check the log, its seals and the read models",
            run="evidence:verify",
            settings=(*COMMON, "seal_key"),
            examples=[
                "verify",
                "verify --checkpoint 2026-11-20.txt",
                "verify --offline log.jsonl --checkpoint 2026-11-20.txt",
            ],
        )
    )
    _command(
        commands,
        "rebuild",
        "make the read models anew from the log",
        run="ledgers:rebuild",
        examples=["rebuild"],
    )
    export = _command(
        commands,
        "export",
        "write all sealed events to a file",
        run="evidence:export",
        examples=["export log.jsonl", "export - --ledger second"],
    )
    export.add_argument(
        "file", type=Path, metavar="FILE", help="where the events go, one a line; - is standard output"
    )
    actions = _actions(commands, "seal-key", "show the key that checkpoints are checked with")
    _command(
        actions,
        "show",
        "print the public key, for an auditor",
        run="evidence:show_key",
        settings=(*COMMON, "seal_key"),
        examples=["seal-key show"],
    )


def _verify(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--offline", type=Path, metavar="EXPORT", help="check an export instead; needs no database"
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        metavar="FILE",
        help="a checkpoint that was kept elsewhere; may be given again",
    )
    command.add_argument(
        "--public-key",
        type=public_key,
        action="append",
        metavar="KEY",
        help="what `fundledger seal-key show` printed; may be given again",
    )


def _completion(commands: Any) -> None:
    command = _command(
        commands,
        "completion",
        "print what makes a shell complete these words",
        run="completion:complete",
        settings=(),
        examples=["completion bash > ~/.local/share/bash-completion/completions/fundledger"],
    )
    command.add_argument("shell", choices=["bash", "zsh"], metavar="bash|zsh", help="which shell")


def _command(
    commands: Any,
    name: str,
    words: str,
    *,
    run: str,
    examples: Iterable[str],
    settings: tuple[str, ...] = COMMON,
) -> argparse.ArgumentParser:
    """Add a command; `run` names a module of this package and its function, loaded when it is run."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words,
        description=f"{words[0].upper()}{words[1:]}.",
        epilog=_examples_text(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if settings:
        group = command.add_argument_group("settings, which can be variables too, such as FUNDLEDGER_LEDGER")
        for setting in settings:
            _add_setting(group, setting)
    command.set_defaults(run=run, prog=command.prog, taken=settings)
    return command


def _actions(commands: Any, name: str, words: str) -> Any:
    command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    return command.add_subparsers(metavar="ACTION", required=True)


def _add_setting(group: Any, name: str) -> None:
    """Take a setting as text: all of them are read together, so that all problems are told together."""
    setting, default = SETTINGS[name], DEFAULTS[name]
    meaning = setting.meaning.replace("`", "")
    group.add_argument(
        option(name),
        default=argparse.SUPPRESS,
        metavar=setting.form.metavar,
        help=meaning if default is None else f"{meaning} (default: {default})",
    )


def _examples_text(examples: Iterable[str]) -> str:
    return "\n".join(["examples:", *(f"  fundledger {words}" for words in examples)])


def function_of(run: str) -> Callable[[argparse.Namespace], int]:
    """Load the function that runs a command."""
    module, function = run.split(":")
    found: Callable[[argparse.Namespace], int] = getattr(import_module(f"api.cli.{module}"), function)
    return found


# What stands on the command line and is no setting.


def argument(form: Form) -> Callable[[str], Any]:
    """Read an argument as a setting of this form is read."""

    def read(text: str) -> Any:
        try:
            return form.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {form.right}") from error

    return read


def logins(text: str) -> tuple[int, ...]:
    """Parse a comma list of logins."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 1001,1002") from error
    if min(found) < 1:
        raise argparse.ArgumentTypeError("a login is a positive number")
    return found


def public_key(text: str) -> Any:
    """Parse a verification key."""
    from ledger import checkpoint

    try:
        return checkpoint.read_key(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
