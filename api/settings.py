"""The settings of a service: what each means, what a right value is, and where the present one came from.

Each has an option and a variable of one name: `--base-path`, `FUNDLEDGER_BASE_PATH`. Options win.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec

from api.bodies import YEARS

PREFIX: Final = "FUNDLEDGER_"
"""Begins the names of our variables; one that is no setting is a mistake."""

YEAR_S: Final = 366 * 86_400
DEFAULT: Final = "default"

RequestIds = Literal["required", "optional"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "lines"]


class Form(msgspec.Struct, frozen=True):
    """How the text of a value is read (ValueError for a wrong one), and what a right one is, in words."""

    read: Callable[[str], Any]
    right: str
    metavar: str


class Setting(msgspec.Struct, frozen=True):
    """What is said of a setting beside its type and its default."""

    meaning: str
    form: Form
    secret: bool = False


def whole(low: int, high: int, metavar: str = "N") -> Form:
    """Take a whole number within bounds, in plain digits."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError
        return int(text)

    return Form(read, f"a whole number from {low} to {high}", metavar)


def one_of(*words: str) -> Form:
    """Take one of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    *others, last = words
    return Form(read, f"{', '.join(others)} or {last}", f"{{{','.join(words)}}}")


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None or value.year not in YEARS:
        raise ValueError
    return value.astimezone(UTC)


def _host(text: str) -> str:
    if not text or not text.isprintable() or re.search(r"[\s/@]", text):
        raise ValueError
    return text


def _base_path(text: str) -> str:
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+/?", text):
        raise ValueError
    return text


def _ledger(text: str) -> str:
    from ledger.refusals import ValidationError
    from projections.schema import schema_of

    try:
        schema_of(text)
    except ValidationError as error:
        raise ValueError from error
    return text


def _url(text: str) -> str:
    """Read a database's URL as libpq would, and what libpq would say only when it connects."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError) as error:
        raise ValueError from error
    ports = str(parts.get("port") or "5432").split(",")
    if not text.strip() or not all(port == "" or (port.isdigit() and int(port) <= 65_535) for port in ports):
        raise ValueError
    return text


DIRECTORY: Final = Form(_path, "the path of a directory", "DIRECTORY")
FILE: Final = Form(_path, "the path of a file", "FILE")
INSTANT: Final = Form(
    _instant,
    f"a time with its zone, such as 2026-11-20T09:30:00Z, from {YEARS[0]} to {YEARS[-1]}",
    "TIME",
)
SECONDS: Final = whole(0, YEAR_S, "SECONDS")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a service, or a command beside it, is told."""

    data: Annotated[Path, Setting("directory of the embedded PostgreSQL", DIRECTORY)] = Path("data")
    database_url: Annotated[
        str | None,
        Setting(
            "URL of a PostgreSQL 15 to 18 to use instead of `--data`",
            Form(_url, "a URL such as postgresql://USER@HOST/DATABASE", "URL"),
            secret=True,
        ),
    ] = None
    ledger: Annotated[
        str,
        Setting(
            "name of the ledger",
            Form(_ledger, "a small letter, then small letters, digits or _, up to 40", "NAME"),
        ),
    ] = "main"
    host: Annotated[
        str, Setting("address to listen on", Form(_host, "a name or an address, such as 127.0.0.1", "HOST"))
    ] = "127.0.0.1"
    port: Annotated[int, Setting("port to listen on; 0 takes a free one", whole(0, 65_535, "PORT"))] = 8080
    base_path: Annotated[
        str,
        Setting("where the routes are mounted", Form(_base_path, "a path such as /mt4/manager", "PATH")),
    ] = "/"
    request_id: Annotated[
        RequestIds,
        Setting("whether money commands must bring a request id", one_of(*get_args(RequestIds))),
    ] = "required"
    seal_key: Annotated[
        Path | None, Setting("the key that signs checkpoints; made where there is none", FILE)
    ] = None
    simulate_from: Annotated[
        datetime | None, Setting("run the ledger's clock on from this instant", INSTANT)
    ] = None
    clock_tolerance: Annotated[
        int, Setting("seconds that the clock may be behind the ledger's last event", SECONDS)
    ] = 60
    log_level: Annotated[
        LogLevel,
        Setting("from where on something is worth a line of the log", one_of(*get_args(LogLevel))),
    ] = "info"
    log_format: Annotated[
        LogFormat,
        Setting("JSON, or lines for people; auto: lines on a terminal", one_of(*get_args(LogFormat))),
    ] = "auto"


def _described() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in Settings.__struct_fields__}


SETTINGS: Final[Mapping[str, Setting]] = _described()
DEFAULTS: Final[Mapping[str, Any]] = {field.name: field.default for field in msgspec.structs.fields(Settings)}


class SettingsWrong(Exception):
    """Some settings are wrong; each problem is one sentence."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settled(msgspec.Struct, frozen=True):
    """The settings that hold, and where each came from: its option, its variable, or the default."""

    settings: Settings
    origins: Mapping[str, str]

    def shown(self) -> list[tuple[str, str, str]]:
        """Give option, value and origin of each; what is secret is masked."""
        return [(option(name), _shown(name, self.settings), self.origins[name]) for name in SETTINGS]


def option(name: str) -> str:
    """Name the option of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Name the variable of a setting."""
    return PREFIX + name.upper()


def settle(options: Mapping[str, str], environment: Mapping[str, str]) -> Settled:
    """Read what was given, by names of settings and of variables; SettingsWrong tells all that is wrong."""
    given, problems = _given(options, environment)
    values: dict[str, Any] = {}
    for name, (origin, text) in given.items():
        try:
            values[name] = SETTINGS[name].form.read(text)
        except ValueError:
            problems.append(_wrong(name, origin, text))
    if problems:
        raise SettingsWrong(problems)
    origins = {name: given[name][0] if name in given else DEFAULT for name in SETTINGS}
    return Settled(Settings(**values), origins)


def masked(url: str) -> str:
    """Give a database's URL without what is secret in it."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url).items()
    hidden = [str(value) for name, value in parts if value and re.fullmatch(_HIDDEN, name)]
    text = re.sub(rf"(?<=[?& ])({_HIDDEN})(\s*=\s*)('(\\.|[^'])*'|[^&\s]*)", r"\1\2***", f" {url}")[1:]
    text = re.sub(r"^(\w+://[^:/@]*):[^@]*@", r"\1:***@", text)
    return "***" if any(part in text for part in hidden) else text


def _given(
    options: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Lay options over variables: give each setting's origin and text, and what contradicts itself."""
    named = {variable(name): name for name in SETTINGS}
    ours = {key: text for key, text in environment.items() if key.startswith(PREFIX)}
    problems = [_unknown(key, named) for key in ours if key not in named]
    chosen = {name: (option(name), text) for name, text in options.items()}
    given = {named[key]: (key, text) for key, text in ours.items() if key in named}
    if chosen.keys() & _PLACES:
        given = {name: found for name, found in given.items() if name not in _PLACES}
    given |= chosen
    if given.keys() >= _PLACES:
        here, there = (given[name][0] for name in sorted(_PLACES))
        problems.append(f"{here} and {there} exclude each other: leave one of them away")
    return given, problems


_HIDDEN: Final = r"\w*password|\w*secret|scram_\w+_key"
"""What libpq calls what nobody must read."""

_PLACES: Final = {"data", "database_url"}
"""Where a ledger may be: one of them."""


def _unknown(key: str, named: Mapping[str, str]) -> str:
    near = get_close_matches(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in named], n=1)
    meant = f"did you mean {PREFIX}{near[0]}?" if near else "unset it; `fundledger settings` lists them all"
    return f"{key} is no setting: {meant}"


def _wrong(name: str, origin: str, text: str) -> str:
    setting = SETTINGS[name]
    what = "what was given (not shown, for it may hold a password)" if setting.secret and text else repr(text)
    return f"{origin}: {what} is not {setting.form.right}"


def _shown(name: str, settings: Settings) -> str:
    value = getattr(settings, name)
    if value is None:
        return "-"
    if SETTINGS[name].secret:
        return masked(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
