"""Everything that a service may tell Prometheus, with a sample of each metric, without a service."""

from __future__ import annotations

from datetime import UTC, datetime

from api.database import PoolUse
from api.metrics import Metrics
from api.present import Present, Stored
from api.sealer import Sealing
from projections.feed import Stream
from tests import exposition
from tests.exposition import Family

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
_QUOTES = Stream(stream="quotes", epoch=1, seq=7, gaps=2, received_at=NOW, as_of=None)
PRESENT = Present(
    at=NOW,
    ready=True,
    writer_connected=True,
    queue_depth=3,
    busy_s=0.25,
    clock_behind_s=0.0,
    followers=1,
    feed_waiting=2,
    refusals_waiting=4,
    refusals_dropped=0,
    pools={"readers": PoolUse(size=4, size_max=4, in_use=2, waiting=0)},
    stored=Stored(log_head=1902, streams=[_QUOTES], valuations_waiting=5),
    sealing=Sealing("current", 1900, 0.5),
)


def told(present: Present) -> dict[tuple[str, exposition.Labels], float]:
    """Give the samples of a service that has counted nothing."""
    return exposition.values(Metrics().exposition(present).decode())


def everything() -> dict[str, Family]:
    """Give every metric by its name."""
    metrics = Metrics()
    metrics.operations["deposit"] = metrics.commands[("deposit", "booked")] = 1
    metrics.answers[("POST", "/balances/deposit", 201)] = 1
    return exposition.families(metrics.exposition(PRESENT).decode())


def sample_names() -> dict[str, set[str]]:
    """Give the labels of every series by its name, such as a histogram's buckets."""
    return {
        name: {label for label, _ in labels}
        for family in everything().values()
        for name, labels in family.samples
    }
