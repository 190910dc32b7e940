"""What docker-compose.yml starts, started by hand in its order: each command and setting as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import yaml

from tests.postgres_shell import PostgresShell
from tests.service import BOUND_S, FUNDLEDGER, ROOT, Ran, Service, end, free_port, scratch_directory, within

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PASSWORDS = {"POSTGRES_PASSWORD": "one", "MIGRATOR_PASSWORD": "it's two", "APP_PASSWORD": 'three "3" \\'}
"""What .env holds."""

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
INIT = "/docker-entrypoint-initdb.d/"


def environment(service: str) -> dict[str, str]:
    """Give a service's environment with the passwords of .env put in, as compose does."""
    given: dict[str, str] = SERVICES[service]["environment"]
    return {name: re.sub(r"\$\{(\w+):\?[^}]*\}", _password, text) for name, text in given.items()}


def _password(found: re.Match[str]) -> str:
    return PASSWORDS[found[1]]


class Stack:
    """The services of the file on this machine, without an engine: other ports, other paths, nothing else."""

    def __init__(self, scratch: Path) -> None:
        self.shell = PostgresShell(scratch)
        self.port, self.serving_port = free_port(), free_port()
        self.volume = scratch / "volume"
        self.volume.mkdir()
        self.service = Service((), scratch / "log")

    def start_postgres(self) -> None:
        """Do what the image does with a new volume, then what it does with its command."""
        given, seen = environment("postgres"), self.shell.seen
        (self.shell.home / "password").write_text(given["POSTGRES_PASSWORD"])
        (self.shell.home / "password").chmod(0o644)
        options = "--username=postgres --auth-local=trust --auth-host=scram-sha-256"
        initdb = f"initdb {options} --pwfile={seen}/password -D {seen}/data {given['POSTGRES_INITDB_ARGS']}"
        here = ["-p", str(self.port), "-k", str(seen), "-c", "listen_addresses=127.0.0.1"]
        words: list[str] = SERVICES["postgres"]["command"]
        assert words[0] == "postgres"
        flags = [*words[1:], *here]
        start = f"pg_ctl start -D {seen}/data -l {seen}/log -o {shlex.quote(shlex.join(flags))}"
        createdb = f"createdb -h {seen} -p {self.port} -U postgres $POSTGRES_DB"
        self.shell.run(f"{initdb}\n{start}\n{createdb}", given)
        self.run_init_scripts()

    def psql(self, statement: str) -> None:
        """Run a statement as the administrator."""
        with self.connect("postgres", PASSWORDS["POSTGRES_PASSWORD"]) as connection:
            connection.execute(statement.encode())

    def run_init_scripts(self, database: str = "$POSTGRES_DB") -> None:
        """Run what the file mounts for the image to run, as its entrypoint does."""
        mounts = [volume.split(":") for volume in SERVICES["postgres"]["volumes"] if INIT in volume]
        assert [Path(inside).suffix for _, inside, _ in mounts] == [".sql"]
        given = environment("postgres")
        for number, (outside, _, _) in enumerate(mounts):
            script = self.shell.home / f"{number}.sql"
            script.write_text((ROOT / outside).read_text())
            script.chmod(0o644)
            psql = f"psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -h {self.shell.seen} -p {self.port}"
            self.shell.run(f"{psql} -U postgres -d {database} -f {self.shell.seen}/{number}.sql", given)

    def healthy(self, service: str) -> str:
        """Run a service's health check."""
        kind, *words = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.shell.run(f"{shlex.join(words)} --port={self.port} && echo healthy", {})

    def variables(self, service: str) -> dict[str, str]:
        """Give a service's environment, with this machine's ports and paths."""
        there = environment(service)
        url = there["FUNDLEDGER_DATABASE_URL"].replace("@postgres/", f"@127.0.0.1:{self.port}/")
        here = {"FUNDLEDGER_DATABASE_URL": url}
        if "FUNDLEDGER_SEAL_KEY" in there:
            [mount] = SERVICES[service]["volumes"]
            inside = mount.split(":")[1]
            here["FUNDLEDGER_SEAL_KEY"] = there["FUNDLEDGER_SEAL_KEY"].replace(inside, str(self.volume))
            here |= {"FUNDLEDGER_PORT": str(self.serving_port), "FUNDLEDGER_HOST": "127.0.0.1"}
        return there | here

    def run(self, service: str, *words: str, variables: dict[str, str] | None = None) -> Ran:
        """Run a command as a container of the service does, with its command and environment unless given."""
        return Ran(
            subprocess.run(
                [*FUNDLEDGER, *(words or SERVICES[service]["command"])],
                check=False,
                cwd=ROOT,
                env=os.environ | (variables or self.variables(service)),
                capture_output=True,
                text=True,
                timeout=BOUND_S,
            )
        )

    def serve(self) -> None:
        """Start the service, and wait until it serves."""
        with self.service.log.open("ab") as log:
            process = subprocess.Popen(
                [*FUNDLEDGER, *SERVICES["fundledger"]["command"]],
                cwd=ROOT,
                env=os.environ | self.variables("fundledger"),
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        self.service.started(process)
        assert self.service.url, self.service.logged()

    def get(self, path: str) -> httpx.Response:
        """Read from the service, without a key."""
        return httpx.get(self.service.url + path, trust_env=False, timeout=BOUND_S)

    def connect(self, login: str, password: str) -> psycopg.Connection[Any]:
        """Connect over TCP, as containers do."""
        where = f"host=127.0.0.1 port={self.port} dbname=fundledger"
        return psycopg.connect(where, user=login, password=password, autocommit=True)

    def end(self) -> None:
        """End what runs."""
        end(self.service)
        if (self.shell.home / "data" / "postmaster.pid").exists():
            self.shell.run(f"pg_ctl stop -m immediate -D {self.shell.seen}/data", {})


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yield the stack with PostgreSQL running; the tests go on with it one after the other."""
    with scratch_directory() as scratch:
        made = Stack(scratch)
        try:
            made.start_postgres()
            yield made
        finally:
            made.end()


def test_postgres_takes_every_setting_and_says_that_it_is_healthy(stack: Stack) -> None:
    flags = SERVICES["postgres"]["command"][2::2]
    with stack.connect("postgres", PASSWORDS["POSTGRES_PASSWORD"]) as connection:
        for name, _, text in (flag.partition("=") for flag in flags):
            found = connection.execute(
                "SELECT source, current_setting(name) FROM pg_settings WHERE lower(name) = %s", [name]
            ).fetchone()
            assert found == ("command line", text), name
    assert stack.healthy("postgres") == "healthy"


def test_nothing_of_fundledger_s_logs_in_as_a_superuser(stack: Stack) -> None:
    with stack.connect("postgres", PASSWORDS["POSTGRES_PASSWORD"]) as connection:
        powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
        found = connection.execute(f"SELECT rolname, {powers} FROM pg_roles WHERE rolcanlogin").fetchall()
    assert dict(found) == {"postgres": True, "fundledger_migrator": False, "fundledger_app": False}
    for service in ("migrate", "fundledger"):
        assert "postgres@" not in environment(service)["FUNDLEDGER_DATABASE_URL"]
        assert environment(service)["PGPASSWORD"] != PASSWORDS["POSTGRES_PASSWORD"]


def test_a_login_needs_its_own_password(stack: Stack) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        stack.connect("fundledger_app", PASSWORDS["MIGRATOR_PASSWORD"])


def test_migrating_comes_first_and_a_second_time_changes_nothing(stack: Stack) -> None:
    early = stack.run("fundledger")
    assert (early.code, "fundledger migrate" in early.errors) == (1, True), early.errors
    done = [stack.run("migrate") for _ in range(2)]
    assert [ran.code for ran in done] == [0, 0], done[0].errors
    stack.run_init_scripts()


def test_it_serves_sealed_and_its_health_check_says_so(stack: Stack) -> None:
    asked = re.search(r"^curl .*/readyz$", OPERATIONS, re.MULTILINE)
    assert asked is not None
    words = shlex.split(asked[0].replace(":8080/", f":{stack.serving_port}/"))
    direct = os.environ | {"NO_PROXY": "*"}
    with subprocess.Popen(words, env=direct, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as early:
        stack.serve()  # under systemd its start is over before it listens, and the page asks at once
        answer, _ = early.communicate(timeout=BOUND_S)
    assert json.loads(answer or "{}").get("status") == "ready"
    assert stack.get("/readyz").json()["sealing"] == "current"
    assert (stack.volume / "seal-key.pem").exists()
    assert health_check(stack.serving_port).returncode == 0


def test_a_key_is_made_as_the_file_says_and_money_is_booked_with_it(stack: Stack) -> None:
    line = re.search(
        r"docker compose exec fundledger fundledger (.*)", (ROOT / "docker-compose.yml").read_text()
    )
    assert line is not None
    made = stack.run("fundledger", *shlex.split(line[1]))
    assert made.code == 0, made.errors
    headers = {"Authorization": f"Bearer {made.last_line}"}
    with httpx.Client(
        base_url=stack.service.url, headers=headers, trust_env=False, timeout=BOUND_S
    ) as client:
        client.put("/groups/standard", json={"currency": "USD"}).raise_for_status()
        client.post("/users", json={"login": 1001, "group": "standard"}).raise_for_status()
        money = {"login": 1001, "amount": 5}
        booked = client.post("/balances/deposit", json=money, headers={"x-request-id": "payment-1"})
        assert booked.status_code == 201, booked.text


def test_the_ledger_is_checked_and_made_anew_as_the_page_says_by_its_owner(stack: Stack) -> None:
    section = OPERATIONS.split("\n## Check and rebuild\n", 1)[1].split("\n## ", 1)[0]
    [block] = re.findall(r"^```sh\n(\. \./\.env.*?)^```", section, re.MULTILINE | re.DOTALL)
    _, password, verify, again = block.splitlines()
    assert password == "export PGPASSWORD=$MIGRATOR_PASSWORD"
    as_owner = "docker compose run --rm --no-deps -e PGPASSWORD fundledger "
    assert verify.startswith(as_owner)
    here = verify.removeprefix(as_owner).replace("@postgres/", f"@127.0.0.1:{stack.port}/")
    there = stack.variables("fundledger") | {"PGPASSWORD": PASSWORDS["MIGRATOR_PASSWORD"]}
    done = stack.run("fundledger", *shlex.split(here), variables=there)
    assert done.code == 0, done.errors
    assert "not checked" not in done.output + done.errors, "its signatures are"
    migrate = "docker compose run --rm --no-deps migrate "
    assert again == f"{migrate}rebuild"
    for words in ("verify", "rebuild"):
        assert stack.run("migrate", words).code == 0
        assert stack.run("fundledger", words).code == 1, "its login owns nothing"


def test_prometheus_finds_what_it_scrapes_where_the_service_serves(stack: Stack) -> None:
    mounted = {inside: outside for outside, inside, *_ in _mounts("prometheus")}
    scrape = yaml.safe_load((ROOT / mounted["/etc/prometheus/prometheus.yml"]).read_text())
    [job] = scrape["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    service, _, port = target.partition(":")
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    path = job.get("metrics_path", "/metrics")
    within(BOUND_S, lambda: "fundledger_ready 1.0" in stack.get(path).text)
    for rules in scrape["rule_files"]:
        assert f"/etc/prometheus/{rules}" in mounted


def test_it_drains_within_its_time_and_is_unhealthy_then(stack: Stack) -> None:
    stack.service.stop()
    assert health_check(stack.serving_port).returncode == 1


def test_a_volume_of_before_there_were_logins_gets_them(stack: Stack) -> None:
    stack.psql("CREATE DATABASE fundledger_before_logins")
    url = f"postgresql://postgres@127.0.0.1:{stack.port}/fundledger_before_logins"
    superuser = {"FUNDLEDGER_DATABASE_URL": url, "PGPASSWORD": PASSWORDS["POSTGRES_PASSWORD"]}
    assert stack.run("migrate", variables=superuser).code == 0
    stack.run_init_scripts("fundledger_before_logins")
    for service in ("migrate", "fundledger"):
        variables = stack.variables(service)
        variables["FUNDLEDGER_DATABASE_URL"] = f"{variables['FUNDLEDGER_DATABASE_URL']}_before_logins"
        words = [] if service == "migrate" else ["keys", "list"]
        done = stack.run(service, *words, variables=variables)
        assert done.code == 0, done.errors


def test_the_page_s_commands_make_the_logins_of_a_set_up_without_containers(stack: Stack) -> None:
    section = OPERATIONS.split("\n## Under systemd\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    [block] = [text for text in blocks if "logins.sql" in text]
    assert block.count("/fundledger\n") == 2
    here = block.replace("HOST/", f"127.0.0.1:{stack.port}/").replace("/fundledger\n", "/by_the_page\n")
    here = here.replace("/postgres fundledger\n", "/postgres by_the_page\n")
    script = f'{PROGRAMS_HERE}\n{here}echo "$APP_PASSWORD"'
    variables = os.environ | {
        "PATH": f"{stack.shell.programs}:{os.environ['PATH']}",
        "PGPASSWORD": PASSWORDS["POSTGRES_PASSWORD"],
    }
    words = ["bash", "-euc", script]
    done = Ran(
        subprocess.run(
            words, check=False, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=BOUND_S
        )
    )
    assert done.code == 0, done.errors
    there = {"FUNDLEDGER_DATABASE_URL": f"postgresql://fundledger_app@127.0.0.1:{stack.port}/by_the_page"}
    assert stack.run("fundledger", "keys", "list", variables=there | {"PGPASSWORD": done.last_line}).code == 0


def test_a_login_s_password_is_changed_as_the_page_says_and_only_the_service_is_made_anew(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = OPERATIONS.split("\n## Rotate keys\n", 1)[1].split("\n## ", 1)[0]
    [block] = re.findall(r"^```sh\n(docker compose .*?)^```", section, re.MULTILINE | re.DOTALL)
    change, start = block.splitlines()
    assert start == "docker compose up --detach --no-deps fundledger"
    run = "docker compose run --rm --no-deps postgres "
    assert change.startswith(run)
    monkeypatch.setitem(PASSWORDS, "APP_PASSWORD", "four")
    script = stack.shell.home / "changed.sql"
    script.write_text((ROOT / "docs" / "deploy" / "logins.sql").read_text())
    script.chmod(0o644)
    here = change.removeprefix(run).replace("-h postgres", f"-h 127.0.0.1 -p {stack.port}")
    stack.shell.run(
        here.replace(f"{INIT}logins.sql", f"{stack.shell.seen}/changed.sql"), environment("postgres")
    )
    done = stack.run("fundledger", "keys", "list")
    assert done.code == 0, done.errors
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        stack.connect("fundledger_app", 'three "3" \\')


RANDOM = "import secrets; print(secrets.token_hex(16))"
PROGRAMS_HERE = f"""
fundledger() {{ {shlex.join(FUNDLEDGER)} "$@"; }}
openssl() {{ {shlex.join([sys.executable, "-c", RANDOM])}; }}
"""
"""Not every machine that tests has openssl."""


def health_check(port: int) -> subprocess.CompletedProcess[bytes]:
    """Run the image's health check against a port."""
    [text] = re.findall(
        r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    program, *words = json.loads(text)
    assert (program, "127.0.0.1:8080" in words[-1]) == ("python", True)
    words[-1] = words[-1].replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    return subprocess.run([sys.executable, *words], check=False, capture_output=True, timeout=BOUND_S)


def _mounts(service: str) -> list[list[str]]:
    return [volume.split(":") for volume in SERVICES[service]["volumes"]]
