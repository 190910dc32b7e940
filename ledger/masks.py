"""Group masks: which groups a comma list such as `demo*,!demoforex` selects."""

from __future__ import annotations

import re

import msgspec

from ledger.refusals import ValidationError

MASK_LENGTH_MAX = 4096
KNOWN_MAX = 16_384
KNOWN_LENGTH_MAX = 256


class Mask(msgspec.Struct, frozen=True):
    """A parsed mask: a group is selected when a positive item matches and no excluding one does."""

    text: str
    included: Patterns
    excluded: Patterns

    def selects(self, group: str) -> bool:
        """Tell whether the group is selected. Asked for each operation, so known answers are kept."""
        known = _known.get((self.text, group))
        return self._look(group) if known is None else known

    def _look(self, group: str) -> bool:
        found = self.included.match(group) and not self.excluded.match(group)
        if len(_known) >= KNOWN_MAX:
            _known.clear()
        if len(self.text) <= KNOWN_LENGTH_MAX:  # callers' masks must not fill the memory
            _known[(self.text, group)] = found
        return found


class Patterns(msgspec.Struct, frozen=True):
    """Names to be met exactly, and globs as the literals between their stars."""

    names: frozenset[str]
    globs: tuple[tuple[str, ...], ...]

    def match(self, group: str) -> bool:
        return group in self.names or any(_glob_matches(literals, group) for literals in self.globs)


def parse_mask(text: str, *, field: str = "groupFilter") -> Mask:
    """Read a mask; only its length and text that no group name can hold are refused."""
    _check_text(text, field)
    items = [item.strip(_BLANKS) for item in text.split(",")]
    included = [item for item in items if item and not item.startswith("!")]
    excluded = [item[1:].lstrip(_BLANKS) for item in items if item.startswith("!")]
    # A lone "!" excludes everything, as on the trading servers; nothing is the safe reading of a slip.
    return Mask(text, _patterns(included), _patterns([pattern or "*" for pattern in excluded]))


_known: dict[tuple[str, str], bool] = {}
_BLANKS = " \t"
_STARS = re.compile(r"\*+")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _check_text(text: str, field: str) -> None:
    if len(text) > MASK_LENGTH_MAX:
        raise ValidationError("bad_mask", f"{field} is longer than {MASK_LENGTH_MAX} characters", field=field)
    if _UNSTORABLE.search(text):
        raise ValidationError("bad_mask", f"{field} holds a NUL or a lone surrogate", field=field)


def _patterns(patterns: list[str]) -> Patterns:
    names = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = dict.fromkeys(tuple(_STARS.split(pattern)) for pattern in patterns if "*" in pattern)
    return Patterns(names, tuple(globs))


def _glob_matches(literals: tuple[str, ...], group: str) -> bool:
    # Taking each middle literal at its first place leaves the most room for the rest: no need to go back.
    first, *middle, last = literals
    end = len(group) - len(last)
    if end < len(first) or not (group.startswith(first) and group.endswith(last)):
        return False
    at = len(first)
    for literal in middle:
        found = group.find(literal, at, end)
        if found < 0:
            return False
        at = found + len(literal)
    return True


ALL = parse_mask("*")
