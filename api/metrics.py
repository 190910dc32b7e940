"""What the service counts of itself, in the form that Prometheus reads; no login, no key, nothing private.

Requests only count up a plain number; the exposition is made when it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from litestar.types import Message, Scope
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.middleware import method_of, route_of
from api.sealer import Sealing
from ledger.events import Event, MoneyMoved
from ledger.writer import Committed

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What is so at the moment of a scrape; what only the database knows is left out while it is away."""

    ready: bool
    queue_depth: int
    busy_s: float
    clock_behind_s: float
    followers: int
    refusals_waiting: int
    refusals_dropped: int
    log_head: int | None
    feed_ages_s: Mapping[str, float]
    sealing: Sealing | None


class Metrics:
    """The counts of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._batch_requests = self._histogram(
            "batch_requests", "Requests carried out by one commit", REQUESTS
        )
        self._commit_seconds = self._histogram("commit_seconds", "What a commit took, whole", SECONDS)

    async def count_answer(self, message: Message, scope: Scope) -> None:
        """Count an answer as it begins."""
        if message["type"] == "http.response.start":
            self.answers[(method_of(scope), route_of(scope), message["status"])] += 1

    def count_commit(self, committed: Committed) -> None:
        """Count a batch and what it booked."""
        self._batch_requests.observe(committed.requests)
        self._commit_seconds.observe(committed.seconds)
        for event in committed.booked:
            if event.position == event.operation:
                self.operations[_kind(event)] += 1

    def exposition(self, present: Present) -> bytes:
        """Give everything as text."""
        moment = CollectorRegistry(auto_describe=False)
        moment.register(_Moment(self, present))
        return generate_latest(self._registry) + generate_latest(moment)

    def _histogram(self, name: str, says: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"fundledger_{name}", says, buckets=tuple(buckets), registry=self._registry)


class _Moment(Collector):
    """Everything but the histograms, as one scrape sees it."""

    def __init__(self, metrics: Metrics, present: Present) -> None:
        self._metrics = metrics
        self._present = present

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        metrics, present = self._metrics, self._present
        yield _counter("operations", "Operations booked here", ("kind",), _singly(metrics.operations))
        yield _counter(
            "refusals", "Refusals, also those of batch items", ("code",), _singly(metrics.refusals)
        )
        answers = {(method, route, str(status)): n for (method, route, status), n in metrics.answers.items()}
        yield _counter("http_answers", "Answers over HTTP", ("method", "route", "status"), answers)
        dropped = {(): present.refusals_dropped}
        yield _counter("refusals_dropped", "Refused attempts that could not be kept", (), dropped)
        yield _gauge("refusals_waiting", "Refused attempts not stored yet", present.refusals_waiting)
        yield _gauge("ready", "1 when the service is ready", int(present.ready))
        yield _gauge("queue_depth", "Requests that wait for a commit or are in it", present.queue_depth)
        yield _gauge("commit_running_seconds", "How long the present commit has run", present.busy_s)
        behind = present.clock_behind_s
        yield _gauge("clock_behind_seconds", "How far the clock is behind the last event", behind)
        yield _gauge("followers", "Callers that follow the log now", present.followers)
        yield _gauge("database_up", "1 when the database answers", int(present.log_head is not None))
        if present.log_head is not None:
            yield _gauge("log_head", "The last position of the log", present.log_head)
        yield _by_stream("feed_age_seconds", "Since the stream last said something", present.feed_ages_s)
        if present.sealing is not None:
            yield from _of_sealing(present.sealing)


def _of_sealing(sealing: Sealing) -> Iterator[Metric]:
    yield _gauge("sealed_position", "The last position of the log that is sealed", sealing.position)
    yield _gauge("seal_lag_seconds", "How long the oldest event has waited for its seal", sealing.lag_s)
    yield _gauge("seal_halted", "1 when the log is not what was sealed", int(sealing.state == "halted"))


def _kind(event: Event) -> str:
    return event.kind if isinstance(event, MoneyMoved) else event.TOPIC


def _singly(counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(name,): number for name, number in counts.items()}


def _counter(name: str, says: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(f"fundledger_{name}", says, labels=labels)
    for values, number in counts.items():
        family.add_metric(values, number)
    return family


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fundledger_{name}", says, value=value)


def _by_stream(name: str, says: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"fundledger_{name}", says, labels=("stream",))
    for stream, value in values.items():
        family.add_metric((stream,), value)
    return family
