"""The command line: `fundledger COMMAND`. Errors go to standard error, with exit code 1 or 2.

What a command needs is loaded when it runs, so that help and completion come at once.
"""

from __future__ import annotations

import gc
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from api.cli.grammar import function_of, parser
from api.cli.logs import log_warnings
from api.settings import DEFAULTS, SettingsWrong, settle

__all__ = ["GC_THRESHOLDS", "main"]

GC_THRESHOLDS: Final = (200_000, 100, 1_000)
"""What comes in masses, events and accounts, has no cycles: looking for some costs a rebuild an eighth."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    arguments = parser().parse_args(argv)
    try:
        _settle(arguments)
    except SettingsWrong as wrong:
        return _wrong_usage(wrong, arguments)
    log_warnings()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        return function_of(arguments.run)(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stdout = None  # whoever read it has gone; there is nothing left to flush to
        return 1
    except Exception as error:  # noqa: BLE001 - the last place that can put it in words
        return _failed(error, arguments)


def _settle(arguments: Namespace) -> None:
    """Read the settings that were given, by options and by variables."""
    if arguments.taken:
        options = {name: getattr(arguments, name) for name in DEFAULTS if hasattr(arguments, name)}
        arguments.settled = settle(options, os.environ)
        arguments.settings = arguments.settled.settings


def _wrong_usage(wrong: SettingsWrong, arguments: Namespace) -> int:
    for problem in wrong.problems:
        print(f"fundledger: {problem}", file=sys.stderr)
    print(f"fundledger: nothing was done; see `{arguments.prog} --help`", file=sys.stderr)
    return 2


def _failed(error: Exception, arguments: Namespace) -> int:
    """Say in one sentence what went wrong and what to do next."""
    from api.cli.failures import sentence_of

    print(f"fundledger: {sentence_of(error, arguments)}", file=sys.stderr)
    return 1
