"""Exploration: exact propensities, fading with impressions, and what it costs in a simulated day."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from penchant.data.events import Acted, AnyEvent, ItemPut, Served, ServedSlot
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.feed.explore import EXPLORE, Explore, Pool
from penchant.feed.live import Live, as_rows
from penchant.feed.mixers import Blocks
from penchant.feed.types import Candidates, Mixer, Slot, Source
from penchant.kernel.arrays import readonly
from penchant.kernel.clock import DAY
from penchant.kernel.seeds import derive
from penchant.testing.feed_contracts import MixerContract, SourceContract, request_for

START = 1_000_000_000.0


def blocks() -> Blocks:
    return Blocks(blocks=(("for_you", 3), ("trending", 1), ("popular", 1)))


class TestExploreWithoutPool(MixerContract):
    def make(self) -> Mixer:
        return Explore(inner=blocks(), weight=1.0)


class TestExploreWithPool(MixerContract):
    def make(self) -> Mixer:
        return Explore(inner=blocks(), weight=1.0)

    def mixed(self, sources: Mapping[str, Sequence[int]], k: int) -> tuple[Slot, ...]:
        slots = super().mixed({EXPLORE if n == "other" else n: rows for n, rows in sources.items()}, k)
        return tuple(replace(s, source="other") if s.source == EXPLORE else s for s in slots)


class TestPool(SourceContract):
    def make(self, live: Live) -> Source:
        return Pool(live, None, age_cut_off=1e9)


def shop(n_old: int, n_new: int) -> Snapshot:
    """Old items made 100 days ago, new ones on the last day; one user acted on every old item."""
    n = n_old + n_new
    made = [START - 100 * DAY] * n_old + [START - DAY / 2] * n_new
    items = pa.table({"item_id": [f"i{i:03d}" for i in range(n)], "creation_timestamp": made})
    events = pa.table(
        {
            "user_id": ["u"] * n_old,
            "item_id": [f"i{i:03d}" for i in range(n_old)],
            "timestamp": [START - n_old + i for i in range(n_old)],
        }
    )
    return build_snapshot(events, items=items)


def candidates(source: str, rows: Sequence[int], scores: Sequence[float]) -> Candidates:
    return Candidates(source=source, items=as_rows(rows), scores=readonly(np.array(scores, np.float32)))


def test_only_young_items_are_explored_and_those_put_since_join() -> None:
    live = Live(shop(5, 3))
    pool = Pool(live, None, age_cut_off=30 * DAY)
    assert sorted(pool.fetch(request_for(live, "x", k=5), 10).items.tolist()) == [5, 6, 7]
    puts: list[AnyEvent] = [
        ItemPut(event_id="a", timestamp=START, item_id="new", properties={"creation_timestamp": START}),
        ItemPut(event_id="b", timestamp=START, item_id="old", properties={"creation_timestamp": 1.0}),
        ItemPut(event_id="c", timestamp=START, item_id="unsaid"),
    ]
    live.fold(enumerate(puts, 1))
    assert sorted(pool.fetch(request_for(live, "x", k=5), 10).items.tolist()) == [5, 6, 7, 8, 10]


def test_the_more_an_item_was_shown_the_less_it_is_explored() -> None:
    live = Live(shop(5, 3))
    pool = Pool(live, None, age_cut_off=30 * DAY, enough=50)

    def serve(item: str, times: int) -> None:
        slots = [ServedSlot(item_id=item, position=0, source="x")]
        head = live.head
        live.fold(
            (
                head + 1 + i,
                Served(
                    event_id=f"{head}-{i}",
                    timestamp=START,
                    user_id="u",
                    feed="f",
                    model_version="v",
                    slots=slots,
                ),
            )
            for i in range(times)
        )

    serve("i005", 20)
    found = pool.fetch(request_for(live, "x", k=5), 10)
    assert found.items.tolist() == [6, 7, 5]
    assert np.exp(found.scores[2] - found.scores[0]) == pytest.approx(0.5)  # m0 / (m0 + 20)
    assert pool.why(request_for(live, "x", k=5), 5) == "new: shown 20 times so far"
    serve("i005", 30)
    assert pool.fetch(request_for(live, "x", k=5), 10).items.tolist() == [6, 7]


def test_a_clearly_poor_item_leaves_early() -> None:
    live = Live(shop(5, 3))
    shown = live.shown
    for row in (0, 1, 2):
        for _ in range(100):
            shown.served(as_rows([row]), 8)
        for _ in range(30):
            shown.acted(row, 8)
    for _ in range(40):
        shown.served(as_rows([5]), 8)
        shown.served(as_rows([6]), 8)
    for _ in range(10):
        shown.acted(6, 8)
    pool = Pool(live, None, age_cut_off=30 * DAY)
    assert sorted(pool.fetch(request_for(live, "x", k=5), 10).items.tolist()) == [6, 7]


def test_propensities_are_the_frequencies() -> None:
    live = Live(shop(8, 4))
    mixer = Explore(inner=Blocks(blocks=(("a", 1),)), weight=0.6)
    ranked = {
        "a": candidates("a", [0, 1, 8, 2, 3], [5, 4, 3, 2, 1]),
        EXPLORE: candidates(EXPLORE, [8, 9, 10], np.log([4.0, 2.0, 1.0]).tolist()),
    }
    request = request_for(live, "x", k=5)
    rng = derive(1, "propensity")
    n = 40_000
    counts: dict[tuple[tuple[int, str], ...], Counter[int]] = defaultdict(Counter)
    said: dict[tuple[tuple[tuple[int, str], ...], int], float] = {}
    inverse = 0.0
    for _ in range(n):
        above: tuple[tuple[int, str], ...] = ()
        for place, slot in enumerate(mixer.mix(request, ranked, rng=rng)):
            assert slot.propensity is not None
            if place < 3:
                counts[above][slot.item] += 1
                assert said.setdefault((above, slot.item), slot.propensity) == slot.propensity
            inverse += 1 / slot.propensity if place == 0 else 0.0
            above += ((slot.item, slot.source),)
    for above, found in counts.items():
        total = found.total()
        assert sum(said[above, item] for item in found) == pytest.approx(1.0) or total < 500
        for item, count in found.items():
            p = said[above, item]
            assert abs(count / total - p) < 4.5 * np.sqrt(p * (1 - p) / total) + 1e-9
    assert inverse / n == pytest.approx(4, rel=0.02)  # item 0 or one of the pool's three


def test_new_items_are_shown_enough_at_little_cost() -> None:
    """30 new items beside 300, feeds of 10, 250 requests an hour for 48 hours; new ones pay less."""
    n_old, n_new, k = 300, 30, 10
    live = Live(shop(n_old, n_new))
    pool = Pool(live, None, age_cut_off=30 * DAY)
    mixer = Explore(inner=Blocks(blocks=(("a", 1),)))
    rng = derive(7, "simulated")
    rate = np.concatenate([np.full(n_old, 0.09), rng.uniform(0.02, 0.1, n_new)])
    paid = base = 0.0
    number = live.head
    for step in range(250 * 48):
        order = rng.permutation(n_old)[: 2 * k].tolist()
        request = request_for(live, f"s{step % 1000}", k=k)
        ranked = {"a": candidates("a", order, list(range(2 * k, 0, -1)))}
        explored = pool.fetch(request, 2 * k)
        if len(explored):
            ranked[EXPLORE] = explored
        slots = mixer.mix(request, ranked, rng=rng)
        rows = [slot.item for slot in slots]
        paid += float(rate[rows].sum())
        base += float(rate[order[:k]].sum())
        number += 1
        served = Served(
            event_id=f"r{step}",
            timestamp=START + step,
            user_id="nobody",
            feed="f",
            model_version="v",
            slots=[ServedSlot(item_id=s.item_id, position=i, source=s.source) for i, s in enumerate(slots)],
        )
        live.fold([(number, served)])
    shown = live.shown.impressions(np.arange(n_old, n_old + n_new, dtype=np.int32))
    assert (shown >= 50).mean() >= 0.95
    assert paid / base >= 0.97


def test_explicit_impressions_are_counted_once() -> None:
    live = Live(shop(5, 2))
    acted = Acted(event_id="e", timestamp=START, user_id="u", item_id="i005", impression=["i005", "i006"])
    live.fold([(1, acted)])
    assert live.shown.impressions(as_rows([5, 6, 0])).tolist() == [1.0, 1.0, 0.0]
