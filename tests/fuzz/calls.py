"""Calls that schemathesis makes up from our own OpenAPI document, held against it: all its phases."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import msgspec
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from tests.described import described, unlike

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.engine.recorder import Interaction, ScenarioRecorder

PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
LOGINS: Final = (1001, 1002, 2001)
FRESH_OF: Final = 8
"""Of so many calls with a usable request id all but one get a new one: a used one hides what comes after."""

UNTRUE: Final = (
    "positive_data_acceptance",  # what is well-formed may still be refused: no such account, no money, no day
    "use_after_free",
    "ensure_resource_availability",
    "missing_required_header",  # it takes the key's header for missing while the key is sent
)
"""Checks that hold services to what ours does not promise."""

TOLERANT: Final = ("/balances/batch", "/feed/quotes", "/feed/positions", "/feed/deals")
"""Routes that answer 200 with a refusal for each wrong item."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ids = count(1)


class Findings(msgspec.Struct):
    """How many calls were made, by phase and by status, and what was wrong with the answers."""

    phases: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    let_in: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: list[str] = []

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self.phases.total()


def fuzz(
    url: str,
    key: str | None,
    *,
    seed: int,
    examples: int,
    steps: int = 6,
    phases: tuple[str, ...] = PHASES,
    document: dict[str, Any] | None = None,
) -> Findings:
    """Call every route in every phase; with `examples` made-up calls of each kind to each."""
    config = SchemathesisConfig.from_dict(_config(url, key, seed, examples, steps, phases))
    schema = schemathesis.openapi.from_dict(document or _digestible(), config=config)
    findings = Findings()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _count(findings, event.phase.value, event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            findings.wrong.append(f"seed {seed}: {event}")
    return findings


def _config(
    url: str, key: str | None, seed: int, examples: int, steps: int, phases: tuple[str, ...]
) -> dict[str, Any]:
    login = {"dictionary": "logins", "probability": 0.8}
    return {
        "base-url": url,
        "seed": seed,
        "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
        "continue-on-failure": True,
        "max-stream-events": 1,
        "request-timeout": 60,
        "generation": {"max-examples": examples, "database": "none", "no-shrink": True, "mode": "all"},
        "dictionaries": {"logins": {"values": list(LOGINS)}},
        "parameters": {
            **dict.fromkeys(("path.login", "query.login", "body.login", "body.from", "body.to"), login),
        },
        "phases": {
            "examples": {"enabled": "examples" in phases, "operation-ordering": "none"},
            "coverage": {"enabled": "coverage" in phases, "operation-ordering": "none"},
            "fuzzing": {"enabled": "fuzzing" in phases, "operation-ordering": "none"},
            "stateful": {
                "enabled": "stateful" in phases,
                "inference": {"algorithms": []},
                "max-steps": steps,
            },
        },
        "checks": {
            **{name: {"enabled": False} for name in UNTRUE},
            **({"ignored_auth": {"enabled": False}} if key is None else {}),
        },
        "operations": [
            {"include-path": path, "checks": {"negative_data_rejection": {"enabled": False}}}
            for path in TOLERANT
        ],
    }


def _digestible() -> dict[str, Any]:
    """Give the document as schemathesis can take it: rows of 31 cells are held by `as_described` alone."""
    document: dict[str, Any] = json.loads(json.dumps(described()))
    for name in ("AccountsPage", "UsersExport"):
        rows = document["components"]["schemas"][name]["properties"]["rows"]
        rows["items"] = {"type": "array"}
    return document


@schemathesis.check
def as_described(context: object, response: schemathesis.Response, case: Any) -> None:
    """Hold an answer against the whole document."""
    if case.method == case.operation.method.upper():
        [kind] = response.headers.get("content-type", [""])
        wrong = unlike(case.method, case.operation.path, response.status_code, kind, response.text)
        assert wrong is None, wrong


@schemathesis.hook("before_call")
def _freshen(context: object, case: Any, kwargs: object) -> None:
    """Give most calls a request id that nobody has used, and not two different ones."""
    given = [name for name in ("x-request-id", "Idempotency-Key") if _usable(case.headers.get(name))]
    number = next(_ids)
    if not given or number % FRESH_OF == 0:
        return
    if len(given) == 2:
        del case.headers[given[number % 2]]
    case.headers[given[-1 if len(given) == 1 else 1 - number % 2]] = f"fuzz:{number}"


def _usable(request_id: object) -> bool:
    return isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id) is not None


def _count(findings: Findings, phase: str, recorder: ScenarioRecorder) -> None:
    findings.phases[phase] += len(recorder.interactions)
    for case_id, interaction in recorder.interactions.items():
        if interaction.response is None:
            findings.wrong.append(f"no answer: {_call(interaction)}")
            continue
        findings.statuses[interaction.response.status_code] += 1
        if interaction.response.status_code < 400:
            findings.let_in[recorder.cases[case_id].value.operation.label] += 1
    findings.wrong += _failures(recorder)


def _failures(recorder: ScenarioRecorder) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                call = _call(recorder.interactions[case_id])
                yield f"{check.name}: {failure.title}: {failure.message[:500]}: {call}"


def _call(interaction: Interaction) -> str:
    request, response = interaction.request, interaction.response
    answer = "" if response is None else f" -> {response.status_code} {response.content[:500]!r}"
    headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
    return f"{request.method} {request.uri[:500]} {headers} {request.body!r:.500}{answer}"
