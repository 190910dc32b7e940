"""The compose file and the image agree with the code, as far as that shows without an engine.

tests/compose_spec holds the JSON schema of the Compose specification, and its licence.
tests/acceptance/test_compose_by_hand.py runs what stands in the file.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from api.cli.serve import DRAIN_S
from api.embedded.cluster import INITDB_OPTIONS, SETTINGS
from api.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "compose_spec" / "compose-spec.json").read_text(encoding="utf-8"))
OWN = ("migrate", "fundledger")
"""The services that run our image."""

# These say how the embedded server is reached and where it logs.
EMBEDDED_ONLY = {"listen_addresses", "port", "unix_socket_permissions", "log_line_prefix"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def test_the_file_is_one_by_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = jsonschema_rs.validator_for(SCHEMA)
    assert [error.message for error in schema.iter_errors(compose)] == []
    mistyped = compose["services"]["fundledger"] | {"read_onyl": True}
    assert not schema.is_valid(compose | {"services": {"fundledger": mistyped}})


def test_every_volume_is_declared_and_every_mounted_file_is_there(compose: dict[str, Any]) -> None:
    mounts = [
        volume.split(":") for service in compose["services"].values() for volume in service.get("volumes", [])
    ]
    named = {outside for outside, *_ in mounts if not outside.startswith(".")}
    assert named == set(compose["volumes"])
    for outside, _, *mode in mounts:
        if outside.startswith("."):
            assert (ROOT / outside).is_file(), outside
            assert mode == ["ro"], outside


def test_postgres_runs_with_the_settings_of_the_embedded_server(services: dict[str, Any]) -> None:
    program, *flags = services["postgres"]["command"]
    settings = dict(flag.split("=", 1) for flag in flags[1::2])
    shared = {name: value for name, value in SETTINGS.items() if name not in EMBEDDED_ONLY}
    assert program == "postgres"
    assert set(flags[::2]) == {"-c"}
    assert settings == shared | {"shared_buffers": "1GB"}


def test_postgres_is_made_like_the_embedded_server(services: dict[str, Any]) -> None:
    postgres = services["postgres"]
    assert postgres["image"] == "postgres:18"
    made_by_the_image = {"--username=postgres", "--auth-local=trust", "--auth-host=reject"}
    assert (
        set(postgres["environment"]["POSTGRES_INITDB_ARGS"].split())
        == set(INITDB_OPTIONS) - made_by_the_image
    )


def test_the_service_starts_after_the_migrations_and_those_after_postgres(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["fundledger"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["command"][0] == "migrate"
    assert services["fundledger"]["command"][0] == "serve"


def test_what_stays_up_is_watched(services: dict[str, Any]) -> None:
    for name in services.keys() - {"migrate"}:
        assert services[name]["restart"] == "unless-stopped"
    for name in ("postgres", "prometheus"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert "healthcheck" not in services["fundledger"], "the image has one"


def test_the_service_has_time_to_drain(services: dict[str, Any]) -> None:
    assert services["fundledger"]["stop_grace_period"] == "1m"
    assert 2 * DRAIN_S < 60


def test_the_service_can_change_nothing_but_its_volume(services: dict[str, Any]) -> None:
    for name in OWN:
        assert services[name]["read_only"] is True
        assert services[name]["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's own
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert services["fundledger"]["volumes"] == ["seal-key:/var/lib/fundledger"]


def test_the_seal_key_does_not_lie_with_the_database(services: dict[str, Any]) -> None:
    key = Path(services["fundledger"]["environment"]["FUNDLEDGER_SEAL_KEY"])
    [mount] = services["fundledger"]["volumes"]
    assert key.parent == Path(mount.split(":")[1])
    assert not [volume for volume in services["postgres"]["volumes"] if volume.startswith("seal-key")]


def test_the_settings_of_the_file_are_settings(services: dict[str, Any]) -> None:
    for name in OWN:
        ours = {key for key in services[name]["environment"] if key.startswith("FUNDLEDGER_")}
        assert {key.removeprefix("FUNDLEDGER_").lower() for key in ours} <= set(Settings.__struct_fields__)


def test_the_dashboard_is_only_there_when_asked_for(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "profiles" in service] == ["grafana"]
    assert services["grafana"]["profiles"] == ["grafana"]


def test_the_data_outlives_the_container(services: dict[str, Any]) -> None:
    assert services["postgres"]["volumes"][0] == "postgres:/var/lib/postgresql"


def test_the_compose_file_holds_no_password(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, text in service.get("environment", {}).items():
            if name.endswith("PASSWORD"):
                assert re.fullmatch(r"\$\{[A-Z]+_PASSWORD:\?[^}]+\}", text), name
    assert services["migrate"]["environment"]["PGPASSWORD"].startswith("${MIGRATOR_PASSWORD:?")
    assert services["fundledger"]["environment"]["PGPASSWORD"].startswith("${APP_PASSWORD:?")


def test_every_password_that_the_file_wants_is_made_as_its_first_lines_say(services: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    said = re.search(r"for name in ([A-Z ]+); do", text)
    assert said is not None
    assert {f"{name}_PASSWORD" for name in said[1].split()} == set(re.findall(r"\$\{(\w+):\?", text))


def test_the_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert "127.0.0.1:8080:8080" in services["fundledger"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in services["postgres"]


# The image.

STEPS = [
    line.split()
    for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
    if line and not line.startswith("#")
]


def ignored(path: str) -> bool:
    """Tell whether .dockerignore leaves a path out: its last line that fits decides."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    fitting = [rule for rule in rules if fnmatch(path, rule.removeprefix("!").removeprefix("**/"))]
    return bool(fitting) and not fitting[-1].startswith("!")


def test_the_image_gets_all_that_it_copies_and_nothing_else_is_sent() -> None:
    copied = {words[1] for words in STEPS if words[0] == "COPY" and not words[1].startswith("--")}
    assert copied == {path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert ignored("tests")
    assert ignored("data")
    assert ignored(".env")


def test_the_image_holds_all_that_the_packages_need() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"^include = \[(.*)\]$", project, flags=re.MULTILINE)
    assert packages is not None
    named = {name.strip('"').partition(".")[0] for name in packages[1].split(", ")}
    assert named <= {words[1] for words in STEPS if words[0] == "COPY"}


def test_the_image_does_not_run_as_root_and_says_whether_it_is_healthy() -> None:
    names = [words[0] for words in STEPS]
    assert ["USER", "fundledger"] in STEPS
    assert names.index("USER") > max(number for number, name in enumerate(names) if name == "RUN")
    assert names.count("HEALTHCHECK") == 1
    assert ["ENTRYPOINT", '["fundledger"]'] in STEPS
