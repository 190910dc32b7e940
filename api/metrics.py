"""What the service counts of itself, in the form that Prometheus reads; no login, no key, nothing private.

Whoever is counted only moves plain numbers; the exposition is made when it is asked for. docs/operations.md
lists every metric with its unit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from litestar.types import Message, Scope
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.middleware import method_of, route_of
from api.sealer import Sealing
from ledger.commands import Adjust, Request
from ledger.events import Event, MoneyMoved
from ledger.figures import STALE_AFTER
from ledger.refusals import AlreadyApplied, Fault, ManagerOffline, Refusal
from ledger.tickets import Outcome
from ledger.writer import Committed

if TYPE_CHECKING:
    from api.database import PoolUse
    from api.present import Present, Stored

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
WATCHED: Final = (
    *("batch_failed", "database_away", "fault", "feed_failed", "outcome_unknown", "queue_full"),
    *("key_day_limit", "key_expired", "key_limit", "key_malformed", "key_revoked", "key_unknown"),
    *("outside_mask", "scope_missing"),
)
"""Codes that are told as 0 from the start: an alert sees no increase where a number only appears."""

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Distribution:
    """How many values fell at or below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Give each bound, as text, with how many values there are up to it."""
        reached = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            reached += count
            yield "+Inf" if bound == float("inf") else str(float(bound)), reached


class Metrics:
    """The counts of one service."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.commands: Counter[tuple[str, str]] = Counter()
        self.refusals: Counter[str] = Counter(dict.fromkeys(WATCHED, 0))
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.batch_requests = Distribution(REQUESTS)
        self.commit_seconds = Distribution(SECONDS)
        self.process: Final = ProcessCollector(registry=None)

    async def count_answer(self, message: Message, scope: Scope) -> None:
        """Count an answer as it begins."""
        if message["type"] == "http.response.start":
            self.answers[(method_of(scope), route_of(scope), message["status"])] += 1

    def count_commit(self, committed: Committed) -> None:
        """Count a batch and what it booked."""
        self.batch_requests.add(committed.requests)
        self.commit_seconds.add(committed.seconds)
        for event in committed.booked:
            if event.position == event.operation:
                self.operations[_kind(event)] += 1

    def count_outcome(self, request: Request, outcome: Outcome) -> None:
        """Count what became of a caller's command."""
        command = request.command
        kind = command.kind if isinstance(command, Adjust) else command.NAME
        self.commands[(kind, _outcome(outcome, dry_run=request.dry_run))] += 1

    def count_outcomes(self, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
        """Do so for each of a call's commands."""
        for request, outcome in zip(requests, outcomes, strict=True):
            self.count_outcome(request, outcome)

    def exposition(self, present: Present) -> bytes:
        """Give everything as text."""
        return generate_latest(_Scrape(self, present))


class _Scrape(Collector):
    """Everything, as one scrape sees it."""

    def __init__(self, metrics: Metrics, present: Present) -> None:
        self._metrics = metrics
        self._present = present

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from _of_counts(self._metrics)
        yield from _of_present(self._present)
        if self._present.stored is not None:
            yield from _of_stored(self._present.stored, self._present)
        yield from _of_pools(self._present.pools)
        if self._present.sealing is not None:
            yield from _of_sealing(self._present.sealing)
        yield from self._metrics.process.collect()


def _of_counts(metrics: Metrics) -> Iterator[Metric]:
    answers = {(method, route, str(status)): n for (method, route, status), n in metrics.answers.items()}
    refusals, operations = _singly(metrics.refusals), _singly(metrics.operations)
    yield _counter("operations", "Operations booked here", ("kind",), operations)
    yield _counter("commands", "What came of callers' commands", ("kind", "outcome"), metrics.commands)
    yield _counter("refusals", "Refusals, also those of batch items", ("code",), refusals)
    yield _counter("http_answers", "Answers over HTTP", ("method", "route", "status"), answers)
    yield _histogram("batch_requests", "Requests carried out by one commit", metrics.batch_requests)
    yield _histogram("commit_seconds", "What a commit took, whole", metrics.commit_seconds)


def _of_present(present: Present) -> Iterator[Metric]:
    dropped = {(): present.refusals_dropped}
    yield _gauge("ready", "1 when money can be booked", int(present.ready))
    yield _gauge("database_up", "1 when the database answers", int(present.stored is not None))
    yield _gauge("writer_connected", "1 when the writer has its connection", int(present.writer_connected))
    yield _gauge("queue_depth", "Requests that wait for a commit or are in it", present.queue_depth)
    yield _gauge("commit_running_seconds", "How long the present commit has run", present.busy_s)
    yield _gauge("clock_behind_seconds", "How far the clock is behind the last event", present.clock_behind_s)
    yield _gauge("followers", "Callers that follow the log now", present.followers)
    yield _gauge("feed_waiting", "Messages of the feed that wait to be taken", present.feed_waiting)
    yield _gauge("refusals_waiting", "Refused attempts not stored yet", present.refusals_waiting)
    yield _counter("refusals_dropped", "Refused attempts that could not be kept", (), dropped)


def _of_stored(stored: Stored, present: Present) -> Iterator[Metric]:
    heard = {s.stream: (present.at - s.received_at) for s in stored.streams if s.received_at is not None}
    ages = {stream: max(0.0, age.total_seconds()) for stream, age in heard.items()}
    stale = {stream: int(age > STALE_AFTER) for stream, age in heard.items()}
    gaps = {(stream.stream,): stream.gaps for stream in stored.streams if stream.received_at is not None}
    yield _gauge("log_head", "The last position of the log", stored.log_head)
    yield _by("feed_age_seconds", "Since the stream last said something", "stream", ages)
    yield _by("feed_stale", "1 when that is too long ago to rely on", "stream", stale)
    yield _counter("feed_gaps", "Messages of the stream that never came", ("stream",), gaps)
    waiting = stored.valuations_waiting
    yield _gauge("valuations_waiting", "Accounts whose figures are to be placed anew", waiting)


def _of_pools(pools: Mapping[str, PoolUse]) -> Iterator[Metric]:
    def each(field: str) -> dict[str, int]:
        return {name: getattr(use, field) for name, use in pools.items()}

    yield _by("pool_connections", "Connections that the pool has", "pool", each("size"))
    yield _by("pool_connections_max", "Connections that it may have", "pool", each("size_max"))
    yield _by("pool_in_use", "Connections that are lent now", "pool", each("in_use"))
    yield _by("pool_waiting", "Callers that wait for one", "pool", each("waiting"))


def _of_sealing(sealing: Sealing) -> Iterator[Metric]:
    yield _gauge("sealed_position", "The last position of the log that is sealed", sealing.position)
    yield _gauge("seal_lag_seconds", "How long the oldest event has waited for its seal", sealing.lag_s)
    yield _gauge("seal_halted", "1 when the log is not what was sealed", int(sealing.state == "halted"))


def _kind(event: Event) -> str:
    return event.kind if isinstance(event, MoneyMoved) else event.TOPIC


def _outcome(outcome: Outcome, *, dry_run: bool) -> str:
    if not isinstance(outcome, Refusal):
        return "rehearsed" if dry_run else "booked"
    match outcome:
        case AlreadyApplied():
            return "repeated"
        case ManagerOffline() | Fault():
            return "failed"
        case _:
            return "refused"


def _singly(counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(name,): number for name, number in counts.items()}


def _counter(name: str, says: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(f"fundledger_{name}", says, labels=labels)
    for values, number in counts.items():
        family.add_metric(values, number)
    return family


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fundledger_{name}", says, value=value)


def _by(name: str, says: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"fundledger_{name}", says, labels=(label,))
    for named, value in values.items():
        family.add_metric((named,), value)
    return family


def _histogram(name: str, says: str, values: Distribution) -> Metric:
    buckets = list(values.buckets())
    return HistogramMetricFamily(f"fundledger_{name}", says, buckets=buckets, sum_value=values.sum)
