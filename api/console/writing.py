"""How money, times and links are written in pages, and the templates that do so, compiled at start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from api.console.assets import Asset
from ledger.clock import ServerClock
from ledger.refusals import Refusal

FOLDER: Final = Path(__file__).parent / "templates"
NOTHING: Final = "\u2013"
_PLACE = re.compile(r"^where\w*\[\d+\]: ")
_OPERATION = re.compile(r"\w+_\d")
_NUMBER = re.compile(r"(-?)(\d+)((?:\.\d+)?)")


def compiled(base: str, assets: Mapping[str, Asset]) -> Environment:
    """Compile all templates now, so that no page has to wait for one."""

    def asset(name: str) -> str:
        return f"{base}/assets/{name}?v={assets[name].version}"

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {"money": money, "change": change, "at": at, "words": words}
    templates.filters |= {"in_path": in_path, "sentence": sentence}
    templates.globals |= {"base": base, "asset": asset, "link": link}
    for name in templates.list_templates():
        templates.get_template(name)
    return templates


def text(value: object) -> str:
    """Give what the API would write, without quotes; what is not set is nothing."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)


def money(value: object) -> Markup:
    """Write an exact decimal; thousands stand apart by style alone, so that a copy is a plain number."""
    return _number(text(value), "m")


def change(value: object) -> Markup:
    """Write a signed decimal; the plus is style alone."""
    return _number(text(value), "m signed")


@pass_context
def at(context: Context, instant: datetime | None) -> Markup:
    """Write an instant as the server's clocks show it, with its offset; its title says it in UTC."""
    if instant is None:
        return Markup("{}").format(NOTHING)
    wall, offset = on_the_wall(context["clock"], instant)
    utc = instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1} <small>{2}</small></time>').format(utc, wall, offset)


def on_the_wall(clock: ServerClock, instant: datetime) -> tuple[str, str]:
    """Give date and time of an instant on the server's clocks, and how far these are from UTC."""
    wall = clock.wall(instant)
    offset = f"{wall:%z}"
    return f"{wall:%Y-%m-%d %H:%M:%S}", "UTC" if clock.timezone == "UTC" else f"{offset[:3]}:{offset[3:5]}"


def words(name: str) -> str:
    """Write a name of the wire as people do: `bonus-conversion` is `bonus conversion`."""
    return name.replace("-", " ").replace("_", " ")


def sentence(refusal: Refusal) -> str:
    """Write why something is refused; a rule's place in the API's arrays is nothing that a form shows."""
    said = _PLACE.sub("", refusal.detail)
    return f"{said if _OPERATION.match(said) else said[:1].upper() + said[1:]}."


def link(path: str, query: Mapping[str, object] | None = None, **changes: object) -> str:
    """Give a link: a path, and a query with some of it changed or, by None, left out."""
    asked = {**(query or {}), **changes}
    pairs = [(name, _said(value)) for name, value in asked.items() if value not in (None, "")]
    return f"{path}?{urlencode(pairs, doseq=True)}" if pairs else path


def in_path(value: object) -> str:
    """Write what stands in a path."""
    return quote(str(value), safe="")


def _number(number: str, style: str) -> Markup:
    found = _NUMBER.fullmatch(number)
    if found is None:
        return Markup('<span class="none">{}</span>').format(number or NOTHING)
    sign, whole, decimals = found.groups()
    if not any(digit in "123456789" for digit in number):
        style += " zero"
    head = len(whole) % 3 or 3
    groups = "".join(f"<i>{whole[start : start + 3]}</i>" for start in range(head, len(whole), 3))
    shown = f"{sign}{whole[:head]}{groups}{decimals}"
    # Digits alone: there is nothing to escape.
    return Markup(f'<span class="{style}{" minus" if sign else ""}">{shown}</span>')  # noqa: S704


def _said(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
