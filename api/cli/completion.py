"""`fundledger completion`: what makes a shell complete commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import shtab

from api.cli.grammar import parser

FILES = ("FILE", "EXPORT")
DIRECTORIES = ("DIRECTORY",)


def complete(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    described = parser()
    for action in _actions(described):
        if action.help == argparse.SUPPRESS:
            action.help = "a command"  # which only help has under headings of its own
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(described, shell=arguments.shell))
    return 0


def _actions(of: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give every option and argument of a command and of those below it."""
    for action in of._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
