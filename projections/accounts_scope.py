"""What a filter of the accounts list stands for: groups, flags, and conditions of SQL.

A rule on a group's name or currency is settled on the definitions, one on `enable` on its two values: what
is asked of groups and flags alone needs no look at accounts. Every other rule becomes a condition on the
columns of figures_of_accounts.sql, which bear the fields' names. No text of a caller's gets into SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

import msgspec
from psycopg.types.numeric import Int8

from ledger.definitions import Definitions, Group
from projections.accounts_filter import FIELDS, Filter, Order, Rule

Params = dict[str, Any]


class Scope(msgspec.Struct, frozen=True):
    """A filter looked up: the groups and flags that may match, and what else must hold, as SQL."""

    groups: dict[str, Group]
    flags: tuple[int, ...]
    conditions: tuple[str, ...]
    params: Params
    all_groups: bool

    @property
    def empty(self) -> bool:
        """Whether nothing can match, so that nobody needs to look."""
        return not self.groups or not self.flags

    @property
    def simple(self) -> bool:
        """Whether only groups and flags decide."""
        return not self.conditions

    @property
    def everything(self) -> bool:
        """Whether every account matches."""
        return self.simple and self.all_groups and len(self.flags) > 1

    @property
    def where(self) -> str:
        """All that must hold, as one condition on `v`."""
        groups = () if self.all_groups else ('v."group" = ANY(%(groups)s)',)
        flags = () if len(self.flags) > 1 else ("v.enabled" if self.flags == (1,) else "NOT v.enabled",)
        return " AND ".join(("true", *groups, *flags, *self.conditions))


def resolve(wanted: Filter, definitions: Definitions) -> Scope:
    """Settle what the definitions can settle; put the rest into SQL."""
    masks = (wanted.group_mask, wanted.access.mask)
    groups = {
        name: group
        for name, group in definitions.groups.items()
        if all(mask.selects(name) for mask in masks) and _passes(group, wanted.rules)
    }
    flags = tuple(flag for flag in (1, 0) if all(r.holds(flag) for r in wanted.rules if r.field == "enable"))
    params: Params = {"groups": list(groups), "flags": list(flags)}
    digits = sorted({group.digits for group in groups.values()})
    conditions = [_condition(rule, digits, params) for rule in wanted.rules if not _settled(rule)]
    if wanted.access.logins is not None:
        params["logins"] = [Int8(login) for login in wanted.access.logins]
        conditions.append("v.login = ANY(%(logins)s::bigint[])")
    return Scope(groups, flags, tuple(conditions), params, len(groups) == len(definitions.groups))


def order_by(order: Order, scope: Scope) -> str:
    """Put an order into SQL. Money is in the order of what is written, whatever its currency's digits."""
    column, kind = f'v."{order.field}"', FIELDS[order.field]
    if kind == "text":
        column += ' COLLATE "C"'
    if kind == "money" and len({group.digits for group in scope.groups.values()}) > 1:
        column += f" * {_SCALES}"
    direction = "DESC" if order.descending else "ASC"
    return f"{column} {direction}" + ("" if order.field == "login" else ", v.login")


_INT8: Final = 2**63 - 1
_SCALES: Final = "('{100000000,10000000,1000000,100000,10000,1000,100,10,1}'::numeric[])[v.digits + 1]"
"""What brings minor units of any currency to those of eight digits."""


def _settled(rule: Rule) -> bool:
    return rule.field == "enable" or FIELDS[rule.field] == "group"


def _passes(group: Group, rules: Sequence[Rule]) -> bool:
    known = {"group": group.group, "currency": group.currency}
    return all(rule.holds(known[rule.field]) for rule in rules if rule.field in known)


def _condition(rule: Rule, digits: Sequence[int], params: Params) -> str:
    """Put a rule into SQL; without any NULL among the columns, NOT makes the exact complement."""
    column = f'v."{rule.field}"'
    kind = FIELDS[rule.field]
    if kind == "text":
        condition = _of_text(column, rule, params)
    elif kind == "money" and len(digits) != 1:
        cases = [f"WHEN {n} THEN {_of_number(column, rule, n, params)}" for n in digits]
        condition = f"CASE v.digits {' '.join(cases)} END" if cases else "false"
    elif kind == "percent":
        condition = _of_number(f"{column}::numeric", rule, 2, params, wide=True)
    else:
        condition = _of_number(column, rule, digits[0] if kind == "money" else 0, params)
    return f"NOT ({condition})" if rule.negated else condition


def _of_text(column: str, rule: Rule, params: Params) -> str:
    texts = [str(value) for value in rule.values]
    match rule.test:
        case "like":
            # Of the pattern's characters only % is special to a caller; the database knows two more.
            pattern = texts[0].replace("\\", "\\\\").replace("_", "\\_")
            return f"{column} LIKE {_bind(params, pattern)}"
        case "in":
            return f"{column} = ANY({_bind(params, texts)}::text[])"
        case _:
            return f"{column} = {_bind(params, texts[0])}"


def _of_number(column: str, rule: Rule, digits: int, params: Params, *, wide: bool = False) -> str:
    """Compare whole units with what lies between them, whatever decimals were written: exactly.

    A wide column may hold what is beyond a bigint.
    """
    scaled = [Fraction(value) * 10**digits for value in rule.values]
    first, last = scaled[0], scaled[-1]
    match rule.test:
        case "=" | "between":
            return f"{column} BETWEEN {_bind(params, ceil(first))} AND {_bind(params, floor(last))}"
        case "in":
            whole = [int(value) for value in scaled if value.denominator == 1]
            return _is_one_of(column, whole, params, wide=wide)
        case ">" | "<=":
            return f"{column} {rule.test} {_bind(params, floor(first))}"
        case _:
            return f"{column} {rule.test} {_bind(params, ceil(first))}"


def _is_one_of(column: str, whole: Sequence[int], params: Params, *, wide: bool) -> str:
    if wide:
        return f"{column} = ANY({_bind(params, [Decimal(value) for value in whole])}::numeric[])"
    known = [Int8(value) for value in whole if abs(value) <= _INT8]
    return f"{column} = ANY({_bind(params, known)}::bigint[])"


def _bind(params: Params, value: str | int | list[Any]) -> str:
    name = f"p{len(params)}"
    params[name] = _number(value) if isinstance(value, int) else value
    return f"%({name})s"


def _number(value: int) -> Int8 | Decimal:
    """Give the value as PostgreSQL's bigint, or beyond that as its numeric."""
    return Int8(value) if abs(value) <= _INT8 else Decimal(value)
