"""A group mask selects what the trading servers' own matcher selects, but for its one mistake."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.masks import ALL, MASK_LENGTH_MAX, parse_mask
from ledger.refusals import ValidationError

PATTERNS = st.text("ab*", min_size=1, max_size=8)
GROUPS = st.text("ab", max_size=10)
ITEMS = st.builds(str.__add__, st.sampled_from(["", "!"]), PATTERNS)
ANY_TEXT = st.text(st.characters(exclude_characters="\0,!* \t", exclude_categories=["Cs"]), min_size=1)


@cache
def naive_match(pattern: str, group: str) -> bool:
    if not pattern:
        return not group
    if pattern[0] == "*":
        return naive_match(pattern[1:], group) or (group != "" and naive_match(pattern, group[1:]))
    return group[:1] == pattern[0] and naive_match(pattern[1:], group[1:])


def naive_selects(items: list[str], group: str) -> bool:
    included = [item for item in items if not item.startswith("!")]
    excluded = [item[1:] for item in items if item.startswith("!")]
    return any(naive_match(item, group) for item in included) and not any(
        naive_match(item, group) for item in excluded
    )


@pytest.mark.parametrize(
    ("mask", "group", "selected"),
    [
        ("STD-*", "STD-1", True), ("STD-*", "STD-", True), ("STD-*", "std-1", False),
        ("STD-1", "STD-10", False),
        ("*USD", "STD-USD-2", False), ("*USD", "STD-USD", True), ("STD-*VIP", "STD-1-VIP", True),
        ("STD-*VIP", "STD-1-VIPx", False), ("STD-* , VIP-*", "VIP-3", True),
        ("demo*,!demoforex", "demo1", True),
        ("demo*,!demoforex", "demoforex", False), ("!demoforex,demo*", "demo1", True),
        ("!demo*", "real-1", False),
        ("!demo*,*", "real-1", True), ("!demo*,*", "demo-1", False), ("", "real-1", False),
        (",,", "real-1", False),
        ("*,!", "real-1", False), ("*,!", "", False),
    ],
)  # fmt: skip
def test_masks_select_what_the_trading_servers_own_matcher_selects(
    mask: str, group: str, selected: bool
) -> None:
    assert parse_mask(mask).selects(group) is selected


@pytest.mark.parametrize(
    ("mask", "group", "selected"),
    [
        ("*aab", "aaab", True), ("*ab*ab", "abab", True), ("*ab*ab", "ab", False), ("a*a", "a", False),
        ("a*a", "aa", True), ("ab*ba", "aba", False), ("*a*", "bab", True), ("a**b", "ab", True),
        ("**", "", True),
        ("*x*y*z*", "axbyczd", True), ("*x*y*z*", "axbzcyd", False), ("a*b*c", "abbc", True),
        ("a*b*c", "ac", False),
        ("*aba*aba*", "ababa", False), ("*aba*aba*", "abaaba", True), ("*b", "abab", True),
    ],
)  # fmt: skip
def test_a_star_is_any_run_of_characters_at_any_place(mask: str, group: str, selected: bool) -> None:
    assert parse_mask(mask).selects(group) is selected


@pytest.mark.parametrize(
    ("mask", "group"),
    [
        ("STD-?", "STD-1"), ("STD%", "STD-1"), ("STD_1", "STD-1"), ("STD.1", "STD-1"), ("[A-Z]*", "STD"),
        ("STD+", "STDD"), ("a|b", "a"), ("\\*", "*"), ("(a)*", "a"), ("^a*$", "a"), ("{a,b}", "a"),
        ("*\\d", "1"),
    ],
)  # fmt: skip
def test_everything_but_the_star_is_literal(mask: str, group: str) -> None:
    assert not parse_mask(mask).selects(group)


@given(name=ANY_TEXT)
@example(name="real\\gold.%_?[x](y)")
def test_a_name_selects_itself_and_nothing_longer(name: str) -> None:
    assert parse_mask(name).selects(name)
    assert parse_mask(f"*{name}*").selects(name)
    assert not parse_mask(name).selects(name + "x")
    assert not parse_mask(f"*,!{name}").selects(name)


@pytest.mark.parametrize("mask", [" demo* ,\t!demoforex\t", "demo*,! demoforex", "demo*,!\tdemoforex,,"])
def test_blanks_around_items_and_patterns_do_not_count(mask: str) -> None:
    assert parse_mask(mask).selects("demo1")
    assert not parse_mask(mask).selects("demoforex")


def test_blanks_inside_an_item_count() -> None:
    assert parse_mask("real gold").selects("real gold")
    assert not parse_mask("real gold").selects("realgold")


@pytest.mark.parametrize("mask", ["*,!", "!,*", "*, ! ,", "a*,!,b*", "*,!*", "*,!**"])
def test_an_empty_exclusion_excludes_everything(mask: str) -> None:
    assert not any(parse_mask(mask).selects(group) for group in ("", "a", "b1", "real-1"))


@pytest.mark.parametrize("mask", ["", " ", ",", " , ,", "!", "!a", "!a,!b*", "!*"])
@given(group=st.text(max_size=5))
def test_an_empty_or_purely_excluding_mask_selects_nothing(mask: str, group: str) -> None:
    assert not parse_mask(mask).selects(group)


def test_only_the_first_exclamation_mark_excludes() -> None:
    assert not parse_mask("*,!!a").selects("!a")
    assert parse_mask("*,!!a").selects("a")
    assert parse_mask("a!*").selects("a!b")


@given(group=st.text())
def test_the_star_alone_selects_every_group(group: str) -> None:
    assert ALL.selects(group)


@given(pattern=PATTERNS, group=GROUPS)
def test_patterns_match_as_the_definition_says(pattern: str, group: str) -> None:
    assert parse_mask(pattern).selects(group) == naive_match(pattern, group)


@given(items=st.lists(ITEMS, max_size=5), group=GROUPS)
def test_masks_select_as_the_definition_says(items: list[str], group: str) -> None:
    assert parse_mask(",".join(items)).selects(group) == naive_selects(items, group)


@given(
    items=st.lists(ITEMS, max_size=5).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items)))
)
def test_the_order_of_items_does_not_matter(items: tuple[list[str], list[str]]) -> None:
    one, other = (parse_mask(",".join(order)) for order in items)
    assert (one.included.names, one.excluded.names) == (other.included.names, other.excluded.names)
    assert all(
        one.selects(group) == other.selects(group) for group in ("", "a", "b", "ab", "ba", "aab", "abab")
    )


def test_a_mask_made_to_be_slow_is_answered_at_once() -> None:
    assert not parse_mask("*a" * 2000 + "*b").selects("a" * 10_000)
    assert not parse_mask(",".join(["*a*a*a*a*b"] * 370)).selects("a" * 10_000)
    assert parse_mask("*" * 4096).selects("a" * 10_000)


def test_a_mask_keeps_its_text() -> None:
    assert parse_mask("demo* ,!demoforex").text == "demo* ,!demoforex"


def test_a_mask_beyond_the_limit_is_refused() -> None:
    assert parse_mask("a" * MASK_LENGTH_MAX).selects("a" * MASK_LENGTH_MAX)
    with pytest.raises(ValidationError) as caught:
        parse_mask("a" * (MASK_LENGTH_MAX + 1))
    assert (caught.value.code, caught.value.field) == ("bad_mask", "groupFilter")


@pytest.mark.parametrize("mask", ["real\0", "\0", "*,!\ud800", "\udfff*"])
def test_a_mask_that_the_database_could_not_keep_is_refused(mask: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_mask(mask, field="groups")
    assert (caught.value.code, caught.value.field) == ("bad_mask", "groups")
