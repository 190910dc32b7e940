"""Reads what Prometheus reads, and takes nothing that its text format does not allow."""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

Labels = frozenset[tuple[str, str]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_HELP = re.compile(rf"# HELP ({_NAME}) (\S.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? ([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)")
_SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Family(msgspec.Struct):
    """One metric: its kind, and its samples by name and labels."""

    name: str
    kind: str
    samples: dict[tuple[str, Labels], float] = {}

    @property
    def labels(self) -> set[str]:
        """The names of its labels, but for a histogram's bounds."""
        return {name for _, labels in self.samples for name, _ in labels} - {"le"}

    def add(self, name: str, labels: Labels, value: float) -> None:
        """Take a sample that belongs here and is not told yet."""
        assert name.removeprefix(self.name) in _SUFFIXES[self.kind], f"{name} stands under {self.name}"
        assert (name, labels) not in self.samples, f"{name} {set(labels)} is told twice"
        self.samples[(name, labels)] = value


def families(text: str) -> dict[str, Family]:
    """Read a whole exposition: for each metric its HELP, its TYPE and its samples, all in one place."""
    assert text.endswith("\n"), "the last line does not end"
    found: dict[str, Family] = {}
    helped = current = None
    for line in text.splitlines():
        if said := _HELP.fullmatch(line):
            helped = said[1]
        elif typed := _TYPE.fullmatch(line):
            assert typed[1] == helped, f"{typed[1]} has no HELP before its TYPE"
            assert typed[1] not in found, f"{typed[1]} is told twice"
            current = found[typed[1]] = Family(typed[1], typed[2])
        else:
            assert current is not None, line
            _take(current, line)
    for family in found.values():
        _check(family)
    return found


def values(text: str) -> dict[tuple[str, Labels], float]:
    """Give all samples of an exposition."""
    return {sample: value for family in families(text).values() for sample, value in family.samples.items()}


def _take(family: Family, line: str) -> None:
    sample = _SAMPLE.fullmatch(line)
    assert sample is not None, f"this is no sample: {line}"
    pairs = [pair.partition("=") for pair in re.findall(_LABEL, sample[2] or "")]
    labels = frozenset((name, value[1:-1]) for name, _, value in pairs)
    assert len(labels) == len({name for name, _ in labels}) == len(pairs), f"a label stands twice: {line}"
    family.add(sample[1], labels, float(sample[3]))


def _check(family: Family) -> None:
    if family.kind == "counter":
        assert family.name.endswith("_total"), family.name
    if family.kind != "gauge":
        assert min(family.samples.values(), default=0) >= 0, family.name
    if family.kind == "histogram":
        _check_buckets(family)


def _check_buckets(family: Family) -> None:
    """Hold a histogram without labels to its form: counts that only grow, up to the count of all."""
    bounds = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in family.samples.items()
        if name.endswith("_bucket")
    ]
    assert all(low < high and few <= many for (low, few), (high, many) in pairwise(bounds)), family.name
    assert bounds[-1] == (float("inf"), family.samples[(f"{family.name}_count", frozenset())])
