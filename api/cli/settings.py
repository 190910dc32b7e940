"""`fundledger settings`: what a service started here would be told, and where each value comes from."""

from __future__ import annotations

from argparse import Namespace


def show(arguments: Namespace) -> int:
    """Print option, value and origin of each setting; what is secret is masked."""
    rows = arguments.settled.shown()
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    return 0
