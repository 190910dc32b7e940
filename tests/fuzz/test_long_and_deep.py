"""Nothing that is read takes long, however long or deep it is."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from api import bodies
from api.accounts_query import AccountsQuery
from api.audit import EventsQuery
from api.bodies import converted
from api.console.doorkeeper import cookie_in
from api.history import HistoryQuery
from api.history_reading import position_of
from api.middleware import introduce
from ledger.masks import parse_mask
from ledger.money import parse_amount_text
from projections.accounts_filter import Filter, make_rule, number
from tests.fuzz.hostile import bounded, outcome
from tests.fuzz.readers import BODIES, HEADERS, KEY, PARAMETERS, QUERIES, presented, sheet_rows

if TYPE_CHECKING:
    pass

MANY = settings(max_examples=150)


MEGABYTE = 1 << 20


LONG = [
    pytest.param(text, id=name)
    for name, text in {
        "digits": "9" * MEGABYTE,
        "decimals": "0." + "1" * MEGABYTE,
        "zeros": "0" * MEGABYTE,
        "commas": "," * MEGABYTE,
        "stars": "*" * MEGABYTE,
        "stars-and-letters": "*a" * (MEGABYTE // 2),
        "brackets": "[" * MEGABYTE,
        "pairs": "[[" * 500 + "]]" * 500,
        "minus": "-" * MEGABYTE,
        "quotes": '"' * MEGABYTE,
        "nul": "\0" * MEGABYTE,
        "half": "\ud800" * MEGABYTE,
        "wide": "\U0001f600" * (MEGABYTE // 4),
        "lines": "1\n" * (MEGABYTE // 64),
        "back-ticks": "`" * MEGABYTE,
        "paths": " - at `$" * (MEGABYTE // 8) + "\n",
        "escapes": '"' + "\\" * MEGABYTE + '"',
        "cookies": "a=" * (MEGABYTE // 2) + ";" * MEGABYTE,
    }.items()
]


@pytest.mark.parametrize("text", LONG)
def test_a_megabyte_of_anything_is_refused_in_a_moment(text: str) -> None:
    raw = text.encode(errors="surrogatepass")
    written = [raw, *(json.dumps(body).encode() for body in ({text: 1}, {"kind": text, "login": text}))]
    named = raw.decode(errors="replace")
    with bounded():
        for read in (parse_amount_text, parse_mask, number, bodies.position, position_of, bodies.group_name):
            outcome(lambda read=read: read(text))  # type: ignore[misc]
        for query, name in product((HistoryQuery, AccountsQuery, EventsQuery), PARAMETERS):
            outcome(lambda query=query, name=name: QUERIES[query](converted({name: text}, query)))  # type: ignore[misc]
            outcome(lambda query=query: converted({named: "1"}, query))  # type: ignore[misc]
        for decode, go_on in BODIES.items():
            for body in written:
                outcome(lambda decode=decode, go_on=go_on, body=body: go_on(decode(body)))  # type: ignore[misc]
        presented(b"Bearer " + raw)
        cookie_in({"headers": [(b"cookie", b"fundledger_main=" + raw)]}, "fundledger_main")  # type: ignore[arg-type]
        outcome(lambda: introduce(dict.fromkeys(HEADERS, raw), KEY))
        sheet_rows(f"login,group\n1,{text}")


@pytest.mark.parametrize("depth", [10, 100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_a_body_of_any_depth_is_refused_in_a_moment(depth: int, opening: str, closing: str) -> None:
    deep = (opening * depth + "1" + closing * depth).encode()
    whole = b'{"login":1001,"amount":1,"metadata":{"a":%b}}' % deep
    with bounded():
        for decode, go_on in BODIES.items():
            for body in (deep, whole):
                outcome(lambda decode=decode, go_on=go_on, body=body: go_on(decode(body)))  # type: ignore[misc]


def test_a_mask_that_makes_others_go_back_and_forth_is_answered_in_a_moment() -> None:
    with bounded():
        mask = parse_mask(",".join(["*a" * 500 + "b"] * 4))
        assert not mask.selects("a" * 100_000)
        rule = make_rule("where[0]", "name", "like", ["%a" * 500 + "b"])
        assert not rule.holds("a" * 100_000)
        assert Filter(group_mask=mask, rules=(rule,)).rules == (rule,)
