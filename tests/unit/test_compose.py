"""The compose file and the image agree with the code, as far as that shows without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from api.embedded.cluster import INITDB_OPTIONS, SETTINGS

ROOT = Path(__file__).parents[2]

# These say how the embedded server is reached and where it logs.
EMBEDDED_ONLY = {"listen_addresses", "port", "unix_socket_permissions", "log_line_prefix"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = compose["services"]
    return services


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
    for name in ("postgres", "fundledger"):
        assert services[name]["restart"] == "unless-stopped"
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_the_data_outlives_the_container(services: dict[str, Any]) -> None:
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_the_compose_file_holds_no_password(services: dict[str, Any]) -> None:
    secrets = [services["postgres"]["environment"]["POSTGRES_PASSWORD"]]
    secrets += [services[name]["environment"]["PGPASSWORD"] for name in ("migrate", "fundledger")]
    assert all(secret.startswith("${POSTGRES_PASSWORD:?") for secret in secrets)


def test_the_port_is_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    assert services["fundledger"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "ports" not in services["postgres"]


def test_the_image_gets_all_that_it_copies_and_does_not_run_as_root() -> None:
    instructions = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines() if line]
    copied = {words[1] for words in instructions if words[0] == "COPY" and not words[1].startswith("--")}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert ["USER", "fundledger"] in instructions
