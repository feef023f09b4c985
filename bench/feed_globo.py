"""Globo's news replayed hour by hour: does the trending place of a 3:1:1 feed hold what really rises?"""

from typing import Any

import numpy as np

from bench import globo
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.feed.bridge import Bridge
from penchant.feed.live import LiveCatalogue
from penchant.feed.mixers import Blocks
from penchant.feed.plan import Plan
from penchant.feed.rules import Exclude, Seen
from penchant.feed.run import run
from penchant.feed.sources import Everything, ModelSource
from penchant.feed.types import Request
from penchant.kernel.clock import DAY, HOUR
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.ials import Ials
from penchant.models.popularity import Popularity
from penchant.models.trending import Trending

FREQUENCIES = ("30m", "1h", "3h", "1d")
K = 10  # two trending and two popular places a feed
READERS = 2  # readers of the hour that begins, whose feeds are looked at: these places differ little


def replay(*, quick: bool) -> dict[str, Any]:
    """Return, by discovery frequency, how often each kind of place held an item with more clicks in the next
    hour than in the last, averaged over hours, and the difference with an interval over days.

    Each hour's feeds are made from what was clicked before it. ``for_you`` is trained once, before the first
    hour; trending and popularity learn as they go.
    """
    table = globo.clicks().select(["user_id", "item_id", "timestamp"])
    whole = build_snapshot(table)
    events = whole.interactions
    start = float(np.ceil(events.timestamp[0] / HOUR) * HOUR) + 2 * DAY
    end = start + (12 * HOUR if quick else float("inf"))
    hours = np.arange(start, min(end, events.timestamp[-1] - HOUR), HOUR)
    taste = Ials(factors=32, epochs=2 if quick else 5).train(
        whole.before(start), rng=derive(1), progress=Silent()
    )
    rises = _hourly(whole, hours, Bridge.of("for_you", taste, whole.before(start)))
    result = {frequency: _summary(found, hours) for frequency, found in rises.items()}
    for frequency, told in result.items():
        print(f"  trending {frequency}: {told}", flush=True)
    return result


def _hourly(whole: Snapshot, hours: np.ndarray, for_you: Bridge) -> dict[str, np.ndarray]:
    """Return by frequency the shares (hours, 2) of trending and popular places whose item rose.

    NaN where no feed of the hour has such a place.
    """
    events = whole.interactions
    before = whole.before(float(hours[0]))
    catalogue = LiveCatalogue(whole)

    def bridge(name: str, recipe: Trending | Popularity) -> Bridge:
        model = recipe.train(before, rng=derive(1), progress=Silent())
        return Bridge.of(name, model, before, personal=False)

    popular = bridge("popular", Popularity(window="all"))
    trending = {name: bridge("trending", Trending(discovery_frequency=name)) for name in FREQUENCIES}
    rng = derive(2)
    rises = {name: np.full((len(hours), 2), np.nan) for name in FREQUENCIES}
    for at, now in enumerate(hours.tolist()):
        lo, mid, hi = np.searchsorted(events.timestamp, [now - HOUR, now, now + HOUR])
        past = np.bincount(events.item[lo:mid], minlength=whole.n_items)
        rose = np.bincount(events.item[mid:hi], minlength=whole.n_items) > past
        if at:
            learnt = events.select(slice(int(lo), int(mid)))
            for_you, popular = for_you.fold(learnt), popular.fold(learnt)
            trending = {name: one.fold(learnt) for name, one in trending.items()}
        readers = np.unique(events.user[mid:hi])
        readers = rng.choice(readers, min(READERS, len(readers)), replace=False)
        asked = [_request(whole, catalogue, user, now) for user in readers.tolist()]
        for name, one in trending.items():
            plan = _plan((for_you, one, popular), whole.n_items)
            held: dict[str, list[bool]] = {"trending": [], "popular": []}
            for slot in (slot for request in asked for slot in run(plan, request, rng).slots):
                if slot.source in held:
                    held[slot.source].append(bool(rose[slot.item]))
            rises[name][at] = [np.mean(found) if found else np.nan for found in held.values()]
    return rises


def _plan(bridges: tuple[Bridge, ...], n_items: int) -> Plan:
    return Plan(
        name="home",
        sources=tuple(ModelSource(name=bridge.name, bridge=bridge) for bridge in bridges),
        rules=(Exclude(), Seen()),
        mixer=Blocks(blocks=(("for_you", 3), ("trending", 1), ("popular", 1))),
        fallback=Everything.of("fallback", n_items),
        budget_ms=1e6,
        draws=False,
    )


def _request(whole: Snapshot, catalogue: LiveCatalogue, user: int, now: float) -> Request:
    history = whole.history(user)
    history = history.select(history.timestamp < now)
    return Request(
        request_id="r",
        feed="home",
        user_id=whole.users.id(user),
        user=user,
        k=K,
        now=now,
        history=history,
        fresh=True,
        catalogue=catalogue,
    )


def _summary(rises: np.ndarray, hours: np.ndarray) -> dict[str, Any]:
    """Return both shares, and the paired difference with a 95% interval by resampling days."""
    kept = ~np.isnan(rises).any(axis=1)
    trending, popular = rises[kept].T
    days = ((hours[kept] - hours[0]) // DAY).astype(int)
    difference = trending - popular
    sums = np.bincount(days, difference)
    counts = np.bincount(days)
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, len(sums), (2000, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "hours": int(kept.sum()),
        "trending": round(float(trending.mean()), 4),
        "popular": round(float(popular.mean()), 4),
        "difference": [round(float(v), 4) for v in (difference.mean(), low, high)],
        "hours_better": round(float((difference > 0).mean()), 4),
        "hours_equal": round(float((difference == 0).mean()), 4),
    }
