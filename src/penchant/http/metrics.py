"""The numbers of the service in the Prometheus format.

With several workers prometheus-client keeps its values in files that all workers share (``serve`` names the
folder), so that whichever worker is asked answers for all of them.
"""

import os
from collections import Counter as Tally
from collections.abc import Sequence
from typing import final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from penchant.data.events import AnyEvent
from penchant.feed.types import Feed

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@final
class Metrics:
    """Counts requests, stages, events and failures; the hot path pays for look-ups and additions only."""

    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each one, of no use here
        own = self._registry = CollectorRegistry()
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=own)
            GCCollector(registry=own)
        self._requests = Histogram(
            "penchant_request_seconds",
            "Time from the request's head to the end of its answer.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=own,
        )
        self._stage_seconds = Counter(
            "penchant_feed_stage_seconds", "Time spent in a stage of feeds.", ("feed", "stage"), registry=own
        )
        self._stages = Counter(
            "penchant_feed_stages", "How often a stage of feeds ran.", ("feed", "stage"), registry=own
        )
        self._failures = Counter(
            "penchant_feed_failures",
            "Stages that failed; the feed answered without them.",
            ("feed", "stage"),
            registry=own,
        )
        self._events = Counter("penchant_events", "Events acknowledged.", ("kind",), registry=own)
        self._waiting = Gauge(
            "penchant_waiting_events", "Events not on disk yet.", registry=own, multiprocess_mode="livesum"
        )
        self._refused = Gauge(
            "penchant_refused_feeds",
            "Feeds refused since the start because too many waited for the log.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self._request_children: dict[tuple[str, str, int], Histogram] = {}
        self._stage_children: dict[tuple[str, str], tuple[Counter, Counter]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is the template of its path, never the path."""
        child = self._request_children.get((method, route, status))
        if child is None:
            child = self._requests.labels(method, route, status)
            self._request_children[method, route, status] = child
        child.observe(seconds)

    def feed(self, feed: Feed) -> None:
        """Count what the stages of a feed did."""
        name = feed.feed
        for step in feed.trace:
            key = (name, step.stage)
            children = self._stage_children.get(key)
            if children is None:
                children = self._stage_seconds.labels(*key), self._stages.labels(*key)
                self._stage_children[key] = children
            children[0].inc(step.ms / 1e3)
            children[1].inc()
            if step.failure is not None:
                self._failures.labels(*key).inc()

    def events(self, events: Sequence[AnyEvent]) -> None:
        """Count acknowledged events by kind."""
        for kind, n in Tally(str(event.__struct_config__.tag) for event in events).items():
            self._events.labels(kind).inc(n)

    def text(self, *, waiting: int, refused: int) -> bytes:
        """Return all numbers, of all workers when they share a folder."""
        self._waiting.set(waiting)
        self._refused.set(refused)
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)
        return generate_latest(merged)
