"""What docs/deploy holds agrees with what the service tells, takes and does, and with docs/operations.md."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from api.cli import main
from api.cli.serve import DRAIN_S
from api.metrics import Metrics
from api.sealer import Sealing
from api.settings import settle
from tests.telling import PRESENT, everything, sample_names, told

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
FROM_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus itself tells of what it scrapes."""

ITS_LABELS = {"job", "instance"}


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading of docs/operations.md, its head and rule left out."""
    text = OPERATIONS.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


# Metrics.


def test_every_metric_is_documented_with_its_type_and_labels_and_no_other() -> None:
    documented = {row[0].strip("`"): (row[1], quoted(row[2])) for row in rows("Metrics")}
    assert documented == {name: (family.kind, family.labels) for name, family in everything().items()}


def test_every_metric_says_its_unit_and_its_meaning() -> None:
    for name, kind, _, unit, meaning in rows("Metrics"):
        assert unit, name
        assert len(meaning) > 10, name
        if name.strip("`").endswith(("_seconds", "_seconds_total")) and kind != "histogram":
            assert unit == "seconds", name


def test_a_value_at_a_bound_falls_into_the_bucket_of_that_bound() -> None:
    metrics = Metrics()
    for value in (1, 2, 3, 5_000):
        metrics.batch_requests.add(value)
    reached = dict(metrics.batch_requests.buckets())
    assert [reached[bound] for bound in ("1.0", "2.0", "4.0", "1024.0", "+Inf")] == [1, 2, 3, 3, 4]
    assert metrics.batch_requests.sum == 5_006


def test_a_log_that_is_not_sealed_any_more_is_told_and_where_nothing_seals_nothing_is() -> None:
    halted = told(replace(PRESENT, sealing=Sealing("halted", 7, 12.5)))
    assert halted[("fundledger_seal_halted", frozenset())] == 1
    assert halted[("fundledger_sealed_position", frozenset())] == 7
    assert halted[("fundledger_seal_lag_seconds", frozenset())] == 12.5
    assert not [name for name, _ in told(replace(PRESENT, sealing=None)) if "seal" in name]


# Expressions.

_WORDS = {"by", "on", "and", "or", "unless", "without", "ignoring", "bool", "offset"}
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def series_of(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Name the series that an expression of PromQL reads, each with its matchers."""
    found = re.finditer(r"\b([a-z_]\w*)\b(\{[^}]*\})?(?!\s*\()", _without_groupings(expression))
    return [(name[1], dict(_MATCHER.findall(name[2] or ""))) for name in found if name[1] not in _WORDS]


def _without_groupings(expression: str) -> str:
    return re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)|\[[^]]*\]", "", expression)


def groupings_of(expression: str) -> set[str]:
    """Name the labels that an expression groups by."""
    found = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for group in found for label in group.split(",")}


def check(expression: str) -> None:
    """Hold an expression to what the service tells: series and labels."""
    known = sample_names() | FROM_PROMETHEUS
    series = series_of(expression)
    assert series, expression
    labels = set(ITS_LABELS)
    for name, matchers in series:
        assert name in known, f"nobody tells {name}: {expression}"
        assert set(matchers) <= known[name] | ITS_LABELS, expression
        labels |= known[name]
    assert groupings_of(expression) <= labels, expression


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("a_b > 0", ["a_b"]),
        ('sum by (instance, code) (increase(a_total{code=~"x|y"}[5m])) > 0', ["a_total"]),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m]))) > 0.5", ["a_bucket"]),
        ("a unless on (instance) b", ["a", "b"]),
        ("a - on (instance) b / 2e9", ["a", "b"]),
        ('up{job="fundledger"} == 0 or b == 1', ["up", "b"]),
    ],
)
def test_the_series_of_an_expression_are_found(expression: str, names: list[str]) -> None:
    assert [name for name, _ in series_of(expression)] == names


# Alerts.

ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PARAMETERS = [pytest.param(alert, id=alert["alert"]) for alert in ALERTS]


@pytest.mark.parametrize("alert", PARAMETERS)
def test_an_alert_asks_for_what_there_is_and_says_why_and_what_to_do(alert: dict[str, Any]) -> None:
    check(alert["expr"])
    assert set(alert["annotations"]) == {"summary", "reason", "action"}
    assert all(len(text) > 15 for text in alert["annotations"].values())
    in_text = set(re.findall(r"\bfundledger_\w+", " ".join(alert["annotations"].values())))
    assert in_text <= set(everything()), in_text


@pytest.mark.parametrize("alert", PARAMETERS)
def test_an_alert_names_labels_that_its_expression_keeps(alert: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    kept = groupings_of(alert["expr"]) if "sum by" in alert["expr"] else ITS_LABELS | _labels(alert["expr"])
    assert named <= kept


def _labels(expression: str) -> set[str]:
    return {label for name, _ in series_of(expression) for label in (sample_names() | FROM_PROMETHEUS)[name]}


def test_every_alert_is_documented_with_its_severity_and_no_other() -> None:
    documented = [(row[0].strip("`"), row[1]) for row in rows("Alerts")]
    assert documented == [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]
    assert {severity for _, severity in documented} == {"page", "ticket"}


def codes_of(expression: str) -> set[str]:
    """Name the codes that an expression asks for."""
    asked = [matchers["code"] for _, matchers in series_of(expression) if "code" in matchers]
    return {code for text in asked for code in text.split("|")}


def test_the_codes_of_alerts_are_codes_of_refusals() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \| \d{3} \|", text, flags=re.MULTILINE))
    asked = set().union(*(codes_of(alert["expr"]) for alert in ALERTS))
    assert len(asked) > 10
    assert asked <= documented


def test_what_an_alert_wants_to_see_grow_is_told_as_nothing_from_the_start() -> None:
    asked = set().union(*(codes_of(alert["expr"]) for alert in ALERTS))
    assert dict(Metrics().refusals) == dict.fromkeys(asked, 0)


# The dashboard.

DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))


def test_every_panel_of_the_dashboard_shows_what_there_is() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(expressions) >= len(DASHBOARD["panels"]) > 10
    for expression in expressions:
        check(expression)


def test_the_legends_of_the_dashboard_name_labels_that_are_kept() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.search(r"\b(?:by|sum)\b", target["expr"])
            kept = groupings_of(target["expr"]) if grouped else _labels(target["expr"]) | ITS_LABELS
            assert named <= kept, target


def test_no_panel_of_the_dashboard_lies_on_another() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_reads_from_the_source_that_is_provisioned() -> None:
    [source] = yaml.safe_load((DEPLOY / "grafana-datasource.yml").read_text())["datasources"]
    asked = {
        (part["datasource"]["type"], part["datasource"]["uid"])
        for panel in DASHBOARD["panels"]
        for part in (panel, *panel["targets"])
    }
    assert asked == {(source["type"], source["uid"])}


# systemd.


def unit() -> ConfigParser:
    """Read the unit; of a key that stands twice the last value counts here."""
    found = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(DEPLOY / "fundledger.service")
    return found


ENVIRONMENT = (DEPLOY / "environment").read_text(encoding="utf-8").splitlines()


def given() -> dict[str, str]:
    """Give the settings that stand in the environment file."""
    return dict(line.split("=", 1) for line in ENVIRONMENT if line and not line.startswith("#"))


def test_under_systemd_the_service_alone_is_told_to_stop_and_has_time_to_drain() -> None:
    service = unit()["Service"]
    assert service["ExecStart"].endswith("/fundledger serve")
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    assert int(service["TimeoutStopSec"]) > 2 * DRAIN_S
    assert service["Restart"] == "on-failure"


def test_under_systemd_wrong_settings_are_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "x"]) == int(unit()["Service"]["RestartPreventExitStatus"])
    assert "'x' is not a whole number" in capsys.readouterr().err


def test_under_systemd_the_service_writes_where_it_may_and_gains_no_power() -> None:
    service = unit()["Service"]
    assert given()["FUNDLEDGER_SEAL_KEY"] == f"/var/lib/{service['StateDirectory']}/seal-key.pem"
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "yes")
    assert (service["User"], service["CapabilityBoundingSet"]) == ("fundledger", "")


def test_the_page_looks_for_the_witness_where_the_unit_keeps_it() -> None:
    assert f"\nKEYS=/var/lib/{unit()['Service']['StateDirectory']}\n" in OPERATIONS


def test_commands_that_read_the_unit_s_settings_have_all_that_the_service_has() -> None:
    assert "Environment" not in unit()["Service"]
    settled = settle({}, given()).settings
    assert settled.seal_key is not None
    assert settled.database_url is not None
    assert settled.database_url.startswith("postgresql://fundledger_app@")
    offered = {line[2:].partition("=")[0] for line in ENVIRONMENT if line.startswith("# FUNDLEDGER_")}
    assert offered == {"FUNDLEDGER_DATA"}


# The folder.


def test_every_file_of_the_folder_is_named_in_the_page() -> None:
    for path in DEPLOY.iterdir():
        assert path.name in OPERATIONS, path.name
