"""What a hostile or broken caller may write, and a bound on what reading it may cost."""

from __future__ import annotations

import json
import re
import signal
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from hypothesis import strategies as st

from ledger.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
CPU_MAX_S: Final = 5.0
"""A hundred times what reading anything here takes: whatever goes with a square takes longer."""

CPU_AGAIN_S: Final = 0.5
"""When the next is told so, where several tasks take turns."""

ANY_TEXT = st.text(max_size=40)
"""Any characters, half ones and NUL among them."""

CURIOUS = st.sampled_from(
    [
        *("", " ", "\0", "\ud800", "\udfff\ud800", "\ufeff1", "\u0661", "null", "true", "NaN", "Infinity"),
        *("-0", "1e5", "1E400", "0x10", "1_000", "+1", "01", "007", "1.", ".5", "1,5", "--1", "9" * 30),
        *("0." + "0" * 30, "*", "!", "!*", ",", "*,!", "%", "%%", "_", "\\", "'", '"', "[", "]", "{}", "[["),
        *('[["login"', "()", "2026-11-20", "2026-02-30", "2026-11-20T13:00:00Z", "24:00", "UTC"),
        *("0001-01-01T00:00:00+23:59", "bal_1", "bal_0", "bal_01", "op_1", "bal_" + "9" * 30, "deposit"),
        *("login", "balance", "ASC", "=", "like", "=1+1", "@x", "\t", "\r\n", "../..", "%2e", "standard"),
        *("1001", "-1", "card", "x" * 200),
    ]
)
TEXTS = CURIOUS | ANY_TEXT | st.text('0123456789.-+eE_*!,%[]{}":balo', max_size=20)

_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
"""Any JSON value."""

TOKENS: Final = (
    b"1e999999999999999999",
    b"1e9999999999999999999999",
    b"-1E-9999999999999999999999",
    b"1e" + b"9" * 1000,
    b"9" * 5000,
    b"-" + b"9" * 5000 + b"." + b"9" * 5000,
    b"0." + b"0" * 5000 + b"1",
    b'"\\ud800"',
    b'"a\\u0000b"',
    b'"\xff"',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"\\ud800":1}',
    b"nul",
    b"",
)
"""What stands at the place of a value, and no encoder writes."""


def json_of(value: object) -> bytes:
    """Write JSON as a careless client does: half characters as escapes."""
    return json.dumps(value).encode()


@cache
def documented_codes() -> frozenset[str]:
    """Give every code of a refusal that docs/api.md lists."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^\| `([a-z_]+)` \| \d{3} \|", text, flags=re.MULTILINE))


def outcome(read: Callable[[], T]) -> T | Refusal:
    """Read; give what came out, or the refusal, which must be a documented one that names itself."""
    try:
        return read()
    except Refusal as refused:
        refusal = refused
    assert refusal.code in documented_codes()
    assert refusal.detail.strip()
    return refusal


@contextmanager
def bounded() -> Iterator[None]:
    """Fail where the processor is busy for much longer than reading may take; waiting does not count."""

    def over(*_: object) -> None:
        raise AssertionError(f"more than {CPU_MAX_S} s of the processor")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_MAX_S, CPU_AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
