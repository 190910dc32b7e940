"""Numbers digit by digit: as they go over the wire, and as they are compared."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

AMOUNTS = ("amount", "balance", "credit")


def wire(value: Any, *, quoted: bool = False) -> str:
    """Write JSON; amounts are numbers as they stand, or texts."""
    match value:
        case dict():
            items = (f"{json.dumps(name)}: {_field(name, v, quoted=quoted)}" for name, v in value.items())
            return "{" + ", ".join(items) + "}"
        case list() | tuple():
            return "[" + ", ".join(wire(item, quoted=quoted) for item in value) + "]"
        case Decimal():
            return f"{value:f}"
        case _:
            return json.dumps(value)


def same(said: Any, expected: Any, what: str) -> None:
    """Fail unless the ledger says exactly what the model does; name each place where it does not."""
    said, expected = _exact(said), _exact(expected)
    if said != expected:
        raise AssertionError("\n".join([f"{what}: ledger and model differ", *_differences(said, expected)]))


def _field(name: str, value: Any, *, quoted: bool) -> str:
    number = name in AMOUNTS and isinstance(value, str) and not quoted
    return str(value) if number else wire(value, quoted=quoted)


def _exact(value: Any) -> Any:
    """Make 1.50 another thing than 1.5."""
    match value:
        case dict():
            return {name: _exact(item) for name, item in value.items()}
        case list() | tuple():
            return [_exact(item) for item in value]
        case Decimal():
            return f"#{value:f}"
        case _:
            return value


def _differences(said: Any, expected: Any, where: str = "") -> list[str]:
    if isinstance(said, dict) and isinstance(expected, dict):
        names = sorted(said.keys() | expected.keys())
        pairs = [(f"{where}.{name}", said.get(name), expected.get(name)) for name in names]
    elif isinstance(said, list) and isinstance(expected, list) and len(said) == len(expected):
        pairs = [(f"{where}[{n}]", *pair) for n, pair in enumerate(zip(said, expected, strict=True))]
    else:
        return [] if said == expected else [f"{where}: {said} where the model has {expected}"]
    return [line for place, a, b in pairs for line in _differences(a, b, place)]
