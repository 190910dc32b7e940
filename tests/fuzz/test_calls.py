"""Whatever a route is sent: its answer is as described, never a fault, and nothing goes without a key."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from tests.described import METHODS, described
from tests.fuzz.calls import Findings, fuzz
from tests.fuzz.examples import make
from tests.fuzz.exercise import books_differ
from tests.service import Service, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20_261_120
EXAMPLES = 10
EXAMPLES_WITHOUT_KEY = 3
CALLS_MIN = 5_000
OPEN = {"GET /healthz", "GET /readyz", "GET /metrics"}
REPEAT = f"again: python -m tests.fuzz --seed {SEED} --examples {EXAMPLES}"


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service whose ledger holds what the examples tell of."""
    scratch = tmp_path_factory.mktemp("fuzz")
    with service_on(database_url, scratch / "log", "--seal-key", str(scratch / "seal-key.pem")) as service:
        make(service.url, service.key())
        yield service
        service.stop()


@pytest.fixture(scope="module")
def signed_in(service: Service) -> Findings:
    return fuzz(service.url, service.key(), seed=SEED, examples=EXAMPLES)


@pytest.fixture(scope="module")
def without_key(service: Service) -> Findings:
    phases = ("examples", "fuzzing")
    return fuzz(service.url, None, seed=SEED, examples=EXAMPLES_WITHOUT_KEY, phases=phases)


def test_every_answer_is_as_described(signed_in: Findings) -> None:
    assert not signed_in.wrong, "\n\n".join([*signed_in.wrong, REPEAT])


def test_no_call_meets_a_fault(service: Service, signed_in: Findings, without_key: Findings) -> None:
    assert max(signed_in.statuses | without_key.statuses) < 500, REPEAT
    assert "fault" not in service.logged()


def test_every_route_was_met_where_it_does_its_work(signed_in: Findings) -> None:
    routes = {
        f"{method.upper()} {path}"
        for path, item in described()["paths"].items()
        for method in METHODS
        if method in item
    }
    assert set(signed_in.let_in) == routes


def test_nobody_gets_in_without_a_key(without_key: Findings) -> None:
    assert not without_key.wrong, "\n\n".join([*without_key.wrong, REPEAT])
    assert set(without_key.let_in) == OPEN
    assert set(without_key.statuses) <= {200, 401, 404}  # a slash in a name is another route


def test_there_were_calls_enough(signed_in: Findings, without_key: Findings) -> None:
    print(f"{signed_in.phases}, without a key {without_key.phases}, seed {SEED}")
    assert signed_in.calls + without_key.calls >= CALLS_MIN
    assert set(signed_in.phases) == {"examples", "coverage", "fuzzing", "stateful"}
    assert min(signed_in.phases.values()) > 0


def test_the_books_add_up_after_all_of_it(service: Service, signed_in: Findings) -> None:
    assert books_differ(service) == []


class TestTheControl:
    """What the calls must be able to see."""

    def test_an_answer_with_a_field_more_than_described_is_seen(self, service: Service) -> None:
        document = copy.deepcopy(described())
        document["components"]["schemas"]["Groups"] |= {"properties": {}, "required": []}
        assert self._seen(service, document, "/groups", "response_schema_conformance")

    def test_an_answer_that_is_not_described_is_seen(self, service: Service) -> None:
        document = copy.deepcopy(described())
        document["paths"]["/groups"]["get"]["responses"].pop("200")
        assert self._seen(service, document, "/groups", "status_code_conformance")

    def test_a_route_that_lets_everybody_in_is_seen(self, service: Service) -> None:
        document = copy.deepcopy(described())
        document["paths"]["/healthz"]["get"]["security"] = [{"key": []}]
        assert self._seen(service, document, "/healthz", "ignored_auth")

    def _seen(self, service: Service, document: dict[str, object], path: str, check: str) -> bool:
        paths = document["paths"]
        assert isinstance(paths, dict)
        alone = document | {"paths": {path: paths[path]}}
        findings = fuzz(
            service.url, service.key(), seed=SEED, examples=1, phases=("fuzzing",), document=alone
        )
        return any(wrong.startswith(check) for wrong in findings.wrong)
