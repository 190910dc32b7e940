"""Settings: options win over variables, all that is wrong is told at once, and nothing secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import (
    DEFAULTS,
    SETTINGS,
    Settings,
    SettingsWrong,
    masked,
    option,
    settle,
    variable,
)

PASSWORD = "between-us"
WRONG = {
    "data": "",
    "database_url": f"postgresql://me:{PASSWORD} x@db/fundledger",
    "ledger": "Main",
    "host": "here there",
    "port": "80811",
    "base_path": "mt4 manager",
    "request_id": "perhaps",
    "seal_key": "",
    "simulate_from": "2026-11-20T09:30:00",
    "clock_tolerance": "1e3",
    "log_level": "loud",
    "log_format": "xml",
}
RIGHT = {
    "data": "/srv/ledger",
    "database_url": "postgresql://me@db/fundledger",
    "ledger": "second",
    "host": "::1",
    "port": "0",
    "base_path": "/mt4/manager",
    "request_id": "optional",
    "seal_key": "key.pem",
    "simulate_from": "2026-11-20T09:30:00+02:00",
    "clock_tolerance": "3600",
    "log_level": "debug",
    "log_format": "lines",
}


def problems(options: dict[str, str], **environment: str) -> list[str]:
    with pytest.raises(SettingsWrong) as told:
        settle(options, environment)
    return told.value.problems


def test_what_nobody_sets_has_its_default() -> None:
    settled = settle({}, {"PATH": "/bin", "PGPASSWORD": "x"})
    assert settled.settings == Settings()
    assert set(settled.origins.values()) == {"default"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_an_option_and_a_variable_and_the_option_wins(name: str) -> None:
    by_option = settle({name: RIGHT[name]}, {variable(name): WRONG[name]})
    by_variable = settle({}, {variable(name): RIGHT[name]})
    assert by_option.settings == by_variable.settings
    assert getattr(by_option.settings, name) != DEFAULTS[name]
    assert by_option.origins[name] == option(name)
    assert by_variable.origins[name] == variable(name)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_value_is_told_with_where_it_stands_and_what_is_right(name: str) -> None:
    for [problem], origin in (
        (problems({name: WRONG[name]}), option(name)),
        (problems({}, **{variable(name): WRONG[name]}), variable(name)),
    ):
        assert problem.startswith(f"{origin}: ")
        assert problem.endswith(f" is not {SETTINGS[name].form.right}")
        assert SETTINGS[name].secret or repr(WRONG[name]) in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = problems({"port": "x"}, FUNDLEDGER_LOG_LEVEL="loud", FUNDLEDGER_LEGER="main")
    assert [problem.split(" ")[0].rstrip(":") for problem in told] == [
        "FUNDLEDGER_LEGER",
        "FUNDLEDGER_LOG_LEVEL",
        "--port",
    ]


def test_a_mistyped_variable_is_told_with_the_one_that_was_meant() -> None:
    assert problems({}, FUNDLEDGER_PROT="1") == [
        "FUNDLEDGER_PROT is no setting: did you mean FUNDLEDGER_PORT?"
    ]
    assert "unset it" in problems({}, FUNDLEDGER_X="1")[0]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_value_is_no_value(name: str) -> None:
    assert len(problems({}, **{variable(name): ""})) == 1


def test_a_ledger_is_in_one_place() -> None:
    url = RIGHT["database_url"]
    assert "exclude each other" in problems({"data": "a", "database_url": url})[0]
    assert "exclude each other" in problems({}, FUNDLEDGER_DATA="a", FUNDLEDGER_DATABASE_URL=url)[0]
    assert settle({"data": "a"}, {"FUNDLEDGER_DATABASE_URL": url}).settings.database_url is None
    assert settle({"database_url": url}, {"FUNDLEDGER_DATA": "a"}).settings.data == Path("data")


@pytest.mark.parametrize(
    "text", [f"postgresql://me:{PASSWORD} x@db/x", f"password={PASSWORD} port=x", PASSWORD]
)
def test_a_complaint_about_a_url_does_not_repeat_it(text: str) -> None:
    assert PASSWORD not in " ".join(problems({"database_url": text}))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://me:{PASSWORD}@db/x", "postgresql://me:***@db/x"),
        (
            f"postgresql://me:a:{PASSWORD}%40@db:1/x?sslmode=require",
            "postgresql://me:***@db:1/x?sslmode=require",
        ),
        (f"postgresql://me@db/x?password={PASSWORD}&port=1", "postgresql://me@db/x?password=***&port=1"),
        (f"host=db password={PASSWORD} user=me", "host=db password=*** user=me"),
        (f"host=db password = '{PASSWORD} it\\'s' user=me", "host=db password = *** user=me"),
        (f"postgresql://me@db/x?sslpassword={PASSWORD}", "postgresql://me@db/x?sslpassword=***"),
        (
            f"postgresql://me@db/x?oauth_client_secret={PASSWORD}",
            "postgresql://me@db/x?oauth_client_secret=***",
        ),
        (f"host=db scram_client_key={PASSWORD}", "host=db scram_client_key=***"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("host=me password=me", "***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_settings_are_shown_with_where_each_comes_from() -> None:
    url = f"postgresql://me:{PASSWORD}@db/x"
    rows = settle({"port": "1"}, {"FUNDLEDGER_DATABASE_URL": url}).shown()
    assert [row[0] for row in rows] == [option(name) for name in SETTINGS]
    assert ("--port", "1", "--port") in rows
    assert ("--host", "127.0.0.1", "default") in rows
    assert ("--database-url", "postgresql://me:***@db/x", "FUNDLEDGER_DATABASE_URL") in rows
