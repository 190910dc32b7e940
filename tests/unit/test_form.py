"""The form that files and stored things keep: docstrings, event shapes, statuses in one place, pins."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from api import problems
from ledger.events import SCHEMA, AnyEvent, Deal, Event, GrantChange
from ledger.recorder import LedgerRecorder

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for package in ("ledger", "projections", "api", "tests", "bench")
    for path in (ROOT / package).rglob("*.py")
)

FOR_EVER = (
    "Shapes of stored events are for ever: a ledger's log holds them already. Add a field with a default, and"
    " add it here; never rename, retype, reuse or remove one."
)
ENVELOPE = (
    "position stream version operation recordedAt serverDay tradingDay schema requestId operatorId keyId"
)
STORED = {
    "money-moved": (
        "login group kind currency digits amount balanceChange creditChange balance credit effectiveAt"
        " comment reference method metadata expiresAt corrects reason peer grants warnings deal"
    ),
    "account-opened": (
        "login group currency digits leverage regdate enable enableReadOnly enableChangePassword name email"
        " country phone address city zipcode comment magic customerId asked"
    ),
    "account-updated": (
        "login group leverage regdate enable enableReadOnly enableChangePassword name email country phone"
        " address city zipcode comment magic customerId"
    ),
    "account-disabled": "login",
    "account-enabled": "login",
    "group-defined": (
        "group currency digits leverage equityMode withdrawPolicy refuseWhenStale marginCall stopOut"
        " maxOperation coverage permissions asked"
    ),
    "symbol-defined": (
        "symbol digits contractSize baseCurrency profitCurrency marginRate swapLong swapShort spread"
        " tradeMode description asked"
    ),
    "server-defined": "timezone dayEnd overnightDays bookCurrency",
    "simulation-started": "startsAt",
    "key-created": (
        "key name role scopes groups secretHash logins amountMax amountDayMax expiresAt replaces"
    ),
    "key-revoked": "key revokedAt",
}
"""The storage contract: each event type's own fields, under the names by which they are stored."""

NEEDED = {
    "money-moved": "login group kind currency digits amount balance credit",
    "account-opened": "login group currency digits leverage regdate",
    "account-updated": "login",
    "account-disabled": "login",
    "account-enabled": "login",
    "group-defined": "group currency digits",
    "symbol-defined": "symbol digits contractSize baseCurrency profitCurrency",
    "server-defined": "timezone dayEnd overnightDays bookCurrency",
    "simulation-started": "startsAt",
    "key-created": "key name role scopes groups secretHash",
    "key-revoked": "key revokedAt",
}
"""Those without a default. A field that comes later has one, or older events could not be read."""

EVENTS: dict[str, type[Event]] = {event.TOPIC: event for event in get_args(AnyEvent)}


def own(event: type[Event]) -> list[str]:
    """Give the stored names of an event's own fields."""
    names = event.__struct_encode_fields__
    envelope = ENVELOPE.split()
    assert list(names[: len(envelope)]) == envelope, FOR_EVER
    return list(names[len(envelope) :])


# Stored events.


def test_the_event_types_are_those_of_the_contract() -> None:
    assert sorted(EVENTS) == sorted(STORED), FOR_EVER


def test_every_event_class_can_be_read_back() -> None:
    assert set(Event.__subclasses__()) == set(EVENTS.values())


@pytest.mark.parametrize("topic", STORED)
def test_a_stored_field_keeps_its_name(topic: str) -> None:
    assert own(EVENTS[topic]) == STORED[topic].split(), FOR_EVER


@pytest.mark.parametrize("topic", STORED)
def test_a_field_that_came_later_has_a_default(topic: str) -> None:
    event = EVENTS[topic]
    defaults = len(event.__struct_defaults__)
    needed = {
        name
        for name, default in zip(
            event.__struct_encode_fields__[-defaults:], event.__struct_defaults__, strict=True
        )
        if _is_no_default(default)
    }
    required = {*event.__struct_encode_fields__[:-defaults], *needed} - set(ENVELOPE.split())
    assert required == set(NEEDED[topic].split()), FOR_EVER


def _is_no_default(default: object) -> bool:
    return repr(default) == "NODEFAULT"


@pytest.mark.parametrize("topic", STORED)
def test_the_topic_of_an_event_is_the_tag_in_its_bytes(topic: str) -> None:
    config = EVENTS[topic].__struct_config__
    assert (config.tag_field, config.tag) == ("type", topic), FOR_EVER


def test_a_topic_is_written_out_on_its_class() -> None:
    for event in EVENTS.values():
        assert "TOPIC" in vars(event), f"{event.__name__} inherits its topic"


def test_a_grants_change_keeps_its_order() -> None:
    assert GrantChange.__struct_fields__ == ("grant", "expires_at", "amount"), FOR_EVER
    assert GrantChange.__struct_config__.array_like, FOR_EVER


def test_the_deal_behind_a_trade_keeps_its_names() -> None:
    names = ("dealId", "symbol", "ticket", "lots", "profit", "storage", "commission", "taxes", "time")
    assert Deal.__struct_encode_fields__ == names, FOR_EVER


def test_the_schema_version_is_counted_up_by_hand() -> None:
    assert SCHEMA == 1, FOR_EVER


def test_the_log_keeps_its_name_and_columns() -> None:
    assert LedgerRecorder.__init__.__kwdefaults__ == {"events_table_name": "ledger_events"}
    first = (ROOT / "ledger" / "sql" / "0001_log.sql").read_text(encoding="utf-8")
    table = first[first.index("CREATE TABLE ledger_events (") :]
    columns = re.findall(
        r"^    ([a-z_]+) (?:bigint|text|bytea)", table[: table.index(") WITH")], re.MULTILINE
    )
    names = "notification_id originator_id originator_version topic state leaf_hash"
    assert columns == names.split(), FOR_EVER


# Files.


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "no docstring"
    first = docstring.splitlines()[0]
    assert first.endswith((".", "?")), first
    assert len(first.split()) >= 2, first
    assert len(docstring.splitlines()) == 1 or not docstring.splitlines()[1], "one line, then a blank one"


def test_http_statuses_of_refusals_stand_in_one_file() -> None:
    statuses = {*problems.STATUS.values(), *problems._ROUTING}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if path.is_relative_to(ROOT / "api") and path != Path(problems.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in statuses
    ]
    assert found == []


def test_the_domain_knows_no_http_status() -> None:
    for package in ("ledger", "projections"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(?:status_code|HTTPException|http\.HTTPStatus)\b", text), path


def test_the_lock_has_no_url() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")
