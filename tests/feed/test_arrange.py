"""Caps, near-duplicates, places, diversity and decay: by hand, against slow oracles, and always."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.feed.arrange import Arranged, Decay, Diversity
from penchant.feed.bridge import Bridge
from penchant.feed.explore import EXPLORE, Explore
from penchant.feed.filter_rule import Filtered, Promotion, run_promoted
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.likeness import LabelSpace, VectorSpace, raise_to_cosine
from penchant.feed.limits import Cap, Duplicates, TextGroups
from penchant.feed.live import Live, as_rows
from penchant.feed.live_columns import LiveColumns
from penchant.feed.mixers import Blocks
from penchant.feed.places import PINNED, PinnedSource, Place
from penchant.feed.plan import Plan
from penchant.feed.rules import Exclude
from penchant.feed.run import run
from penchant.feed.sources import Everything, by_place
from penchant.feed.types import Candidates, Mixer, Request, Slot, Source
from penchant.kernel.arrays import readonly
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.ials import Ials
from penchant.testing.data import item_id, random_snapshot
from penchant.testing.feed_contracts import (
    CANDIDATES,
    MixerContract,
    put,
    ranked_of,
    request_for,
)

N = 40
BLOCKS = (("for_you", 3), ("trending", 1), ("popular", 1))
CATEGORIES = ["news", "sport", "art|news", "food", None]
LIVE = Live(random_snapshot(1))
LIVE.fold(
    [
        put(i + 1, item_id(i), category=CATEGORIES[i % 5], author=f"a{i % 7}", title=f"T {i % 13}!")
        for i in range(N)
    ]
)
COLUMNS = LiveColumns(LIVE)
MODEL = Ials(factors=6, epochs=3).train(LIVE.snapshot, rng=derive(3), progress=Silent())
BRIDGE = Bridge.of("for_you", MODEL, LIVE.snapshot)


def labels(row: int, column: str = "category") -> list[str]:
    value = LIVE.catalogue.property(row, column)
    return [] if value is None else value.split("|")


def cap(column: str = "category", most: int = 1, within: int | None = None) -> Cap:
    return Cap(column=column, most=most, within=within, columns=COLUMNS)


def mixed(mixer: Mixer, sources: Mapping[str, Sequence[int]], k: int) -> tuple[Slot, ...]:
    return mixer.mix(request_for(LIVE, "nobody", k=k), ranked_of(sources), rng=derive(1, "mix"))


def rows(slots: Sequence[Slot]) -> list[int]:
    return [slot.item for slot in slots]


class TestArranged(MixerContract):
    def make(self) -> Mixer:
        return Arranged(blocks=BLOCKS, backfill=("popular",))


class TestEverythingAtOnce(MixerContract):
    def make(self) -> Mixer:
        return Arranged(
            blocks=BLOCKS,
            limits=(
                Duplicates(
                    groups=TextGroups(LIVE, ["title"]), space=VectorSpace(bridge=BRIDGE), at_least=0.9
                ),
                cap(most=2, within=4),
                cap("author", most=3),
            ),
            places=(Place(at=1, every=3, column="category", any_of=frozenset({"sport"})),),
            diversity=Diversity(weight=0.6, space=VectorSpace(bridge=BRIDGE)),
            decay=Decay(column="author", decay=0.5, floor=0.25, columns=COLUMNS),
        )


class TestExploringUnderLimits(MixerContract):
    """Exploration promises no more: the pool's items are no source of the contract's, so nothing changes."""

    def make(self) -> Mixer:
        return Explore(inner=Arranged(blocks=BLOCKS, limits=(cap(most=2),)))


@given(CANDIDATES, st.integers(1, 40))
def test_without_limits_it_is_blocks(sources: dict[str, list[int]], k: int) -> None:
    plain = Blocks(blocks=BLOCKS, backfill=("popular", "other"))
    assert mixed(Arranged(blocks=BLOCKS, backfill=("popular", "other")), sources, k) == mixed(
        plain, sources, k
    )


def violations(found: Sequence[int], column: str, most: int, within: int | None) -> list[int]:
    """Return the places whose item has a label that so many of the places before it (that count) have."""
    bad = []
    for at, row in enumerate(found):
        before = found[:at] if within is None else found[max(at - within + 1, 0) : at]
        if any(
            sum(label in labels(other, column) for other in before) >= most for label in labels(row, column)
        ):
            bad.append(at)
    return bad


@given(
    CANDIDATES,
    st.integers(1, 40),
    st.integers(1, 3),
    st.none() | st.integers(2, 6),
    st.sampled_from(["category", "author"]),
)
def test_a_cap_is_broken_only_when_nothing_left_would_hold_it(
    sources: dict[str, list[int]], k: int, most: int, within: int | None, column: str
) -> None:
    mixer = Arranged(blocks=BLOCKS, limits=(cap(column, most, within),))
    slots = mixed(mixer, sources, k)
    found = rows(slots)
    everything = sorted(set().union(*sources.values()))
    bad = violations(found, column, most, within)
    for at in bad:
        left = [row for row in everything if row not in found[:at]]
        assert all(violations([*found[:at], row], column, most, within)[-1:] == [at] for row in left)
    request = request_for(LIVE, "nobody", k=k)
    assert sum(mixer.broken(request, slots).values()) == len(bad)
    short = len(found) < k
    assert mixer.wants_more(request, ranked_of(sources)) == (bool(bad) or short)


def test_the_last_limit_goes_first() -> None:
    one, two = cap("category", 1), cap("author", 1)
    # rows 0 and 35 share category and author, 5 only the category, 21 only the author
    assert rows(mixed(Arranged(blocks=(("a", 1),), limits=(one, two)), {"a": [0, 35, 5, 21]}, 2)) == [0, 21]
    assert rows(mixed(Arranged(blocks=(("a", 1),), limits=(two, one)), {"a": [0, 35, 5, 21]}, 2)) == [0, 5]
    assert rows(mixed(Arranged(blocks=(("a", 1),), limits=(one, two)), {"a": [0, 35]}, 2)) == [0, 35]


def test_a_cap_leaves_the_turns_of_sources_as_they_are() -> None:
    mixer = Arranged(blocks=(("a", 1), ("b", 1)), limits=(cap(most=1, within=2),))
    slots = mixed(mixer, {"a": [0, 5, 1, 6], "b": [10, 3, 15]}, 4)
    assert [(slot.source, slot.item) for slot in slots] == [("a", 0), ("b", 3), ("a", 5), ("a", 1)]
    assert {slot.propensity for slot in slots} == {1.0}


def test_one_of_what_says_the_same() -> None:
    live = Live(random_snapshot(1))
    titles = ["Red shoes", "red  SHOES!", "Blue shoes", "", None, "...", "rot", "red, shoes"]
    live.fold([put(i + 1, item_id(i), title=title) for i, title in enumerate(titles)])
    fresh = Live(live.snapshot)
    groups = TextGroups(live, ["title", "nothing"])
    assert len({groups.key(row) for row in (0, 1, 7)}) == 1
    assert len({groups.key(row) for row in (0, 2, 6)}) == 3
    assert [groups.key(row) for row in (3, 4, 5, 20)] == [0, 0, 0, 0]
    assert TextGroups(fresh, ["title"]).key(0) == 0
    mixer = Arranged(blocks=(("a", 1),), limits=(Duplicates(groups=groups, space=None),))
    request = request_for(live, "nobody", k=6)
    slots = mixer.mix(request, ranked_of({"a": [0, 1, 7, 3, 4, 2, 5]}), rng=derive(1))
    assert rows(slots) == [0, 3, 4, 2, 5, 1]
    assert mixer.broken(request, slots) == {"no near-duplicates": 1}


@given(st.permutations(range(N)), st.floats(-0.2, 0.99))
def test_no_two_items_as_near_as_that_while_others_are_left(order: list[int], at_least: float) -> None:
    vectors = BRIDGE.directions(as_rows(range(N)))
    cosine = vectors @ vectors.T
    space = VectorSpace(bridge=BRIDGE)
    mixer = Arranged(blocks=(("a", 1),), limits=(Duplicates(groups=None, space=space, at_least=at_least),))
    expected: list[int] = []
    for row in order:
        if all(cosine[row, other] < at_least for other in expected):
            expected.append(row)
    found = rows(mixed(mixer, {"a": order}, 10))
    head = expected[:10]
    assert found[: len(head)] == head


def test_places_have_their_wishes() -> None:
    mixer = Arranged(
        blocks=(("a", 1),),
        places=(
            Place(at=0, item=item_id(9)),
            Place(at=3, item=item_id(2)),
            Place(at=1, every=4, column="category", any_of=frozenset({"sport", "food"})),
            Place(at=2, source="b"),
        ),
    )
    sources = {"a": [2, 0, 4, 5, 6, 1, 10], "b": [20, 9, 25], PINNED: [9, 2]}
    slots = mixed(mixer, sources, 7)
    told = [(slot.source, slot.item) for slot in slots]
    assert told == [(PINNED, 9), ("a", 6), ("b", 20), (PINNED, 2), ("a", 0), ("a", 1), ("a", 4)]
    assert mixer.broken(request_for(LIVE, "nobody", k=7), slots) == {}
    without = mixed(mixer, {"a": [2, 0, 4], PINNED: [2]}, 7)  # 9 was removed by a rule
    assert rows(without) == [0, 4, 2]  # rather at another place than not at all
    assert mixer.broken(request_for(LIVE, "nobody", k=7), without) == {
        f"place 1: the item {item_id(9)}": 1,
        "place 2: category food or sport": 1,
        "place 3: b": 1,
    }


def test_a_pinned_item_beyond_the_feed_is_like_any_other() -> None:
    mixer = Arranged(blocks=(("a", 1),), places=(Place(at=5, item=item_id(2)),))
    assert rows(mixed(mixer, {"a": [2, 0, 1], PINNED: [2]}, 3)) == [2, 0, 1]


def test_pinned_items_pass_the_rules() -> None:
    source = PinnedSource(items=(item_id(3), "unknown", item_id(1)))
    request = request_for(LIVE, "nobody", k=2)
    assert source.fetch(request, 1).items.tolist() == [3, 1]


def greedy(
    order: Sequence[int], scores: Sequence[float], k: int, *, weight: float, decay: tuple[float, float] | None
) -> list[int]:
    """The equations of the module, term by term."""
    vectors = BRIDGE.directions(as_rows(range(N))).astype(np.float64)
    least, most = min(scores), max(scores)
    base = {
        row: (s - least) / (most - least) if most > least else 1.0
        for row, s in zip(order, scores, strict=True)
    }
    chosen: list[int] = []
    while len(chosen) < min(k, len(order)):
        best, value = -1, -np.inf
        for row in order:
            if row in chosen:
                continue
            worth = base[row]
            if decay is not None:
                above = sum(labels(other, "author") == labels(row, "author") for other in chosen)
                worth *= (1 - decay[1]) * decay[0] ** above + decay[1]
            near = max((float(vectors[row] @ vectors[other]) for other in chosen), default=0.0)
            if weight * worth - (1 - weight) * near > value + 1e-6:
                best, value = row, weight * worth - (1 - weight) * near
        chosen.append(best)
    return chosen


@given(
    st.permutations(range(N)),
    st.lists(st.floats(-5, 5), min_size=N, max_size=N),
    st.integers(1, 12),
    st.floats(0, 1),
    st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_diversity_and_decay_do_what_the_equations_say(
    order: list[int], scores: list[float], k: int, weight: float, decay: tuple[float, float] | None
) -> None:
    scores = sorted((round(score, 2) for score in scores), reverse=True)
    discount = None
    if decay is not None:
        discount = Decay(column="author", decay=decay[0], floor=decay[1], columns=COLUMNS)
    mixer = Arranged(
        blocks=(("a", 1),),
        diversity=Diversity(weight=weight, space=VectorSpace(bridge=BRIDGE)),
        decay=discount,
    )
    ranked = {
        "a": Candidates(source="a", items=as_rows(order), scores=readonly(np.array(scores, np.float32)))
    }
    found = rows(mixer.mix(request_for(LIVE, "nobody", k=k), ranked, rng=derive(1)))
    expected = greedy(order, np.array(scores, np.float32).tolist(), k, weight=weight, decay=decay)
    if found != expected:  # equal to the last bits: then either order is right
        at = next(i for i in range(k) if found[i] != expected[i])
        values = worths(order, scores, found[:at], weight, decay)
        assert values[found[at]] == pytest.approx(values[expected[at]], abs=1e-5)


def worths(
    order: Sequence[int],
    scores: Sequence[float],
    above: Sequence[int],
    weight: float,
    decay: tuple[float, float] | None,
) -> dict[int, float]:
    vectors = BRIDGE.directions(as_rows(range(N))).astype(np.float64)
    least, most = min(scores), max(scores)
    out = {}
    for row, score in zip(order, scores, strict=True):
        worth = (score - least) / (most - least) if most > least else 1.0
        if decay is not None:
            n = sum(labels(other, "author") == labels(row, "author") for other in above)
            worth *= (1 - decay[1]) * decay[0] ** n + decay[1]
        near = max((float(vectors[row] @ vectors[other]) for other in above), default=0.0)
        out[row] = weight * worth - (1 - weight) * near
    return out


def test_decay_counts_the_whole_feed() -> None:
    decay = Decay(column="author", decay=0.0, floor=0.0, columns=COLUMNS)
    mixer = Arranged(blocks=(("a", 1), ("b", 1)), decay=decay)
    # 7 and 14 are by the author of 0, 8 by that of 1
    slots = mixed(mixer, {"a": [0, 8, 2, 3], "b": [7, 1, 14, 4, 5]}, 4)
    assert rows(slots) == [0, 1, 2, 4]


def test_the_overlap_of_labels_is_jaccards() -> None:
    space = LabelSpace(column="category", columns=COLUMNS)
    request = request_for(LIVE, "nobody")
    everything = as_rows(range(10))
    near = space.open(request, everything)
    near.put(2)  # art and news
    near.put(1)  # sport
    assert near.best.tolist() == [0.5, 1.0, 1.0, 0.0, 0.0] * 2
    assert space.similarities(request, 0, as_rows([2, 0, 4, 39])).tolist() == [0.5, 1.0, 0.0, 0.0]
    assert (
        LabelSpace(column="no", columns=COLUMNS).similarities(request, 0, everything).tolist() == [0.0] * 10
    )


def test_the_kernel_takes_the_larger_cosine() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(9, 5)).astype(np.float32)
    best = rng.normal(size=9)
    expected = np.maximum(best, vectors @ vectors[3])
    raise_to_cosine(readonly(vectors), readonly(vectors[3].copy()), best)
    np.testing.assert_allclose(best, expected, rtol=1e-5)


class Gives:
    """A source of rows in order."""

    def __init__(self, name: str, given_: Sequence[int]) -> None:
        self.name = name
        self.given = list(given_)

    def fetch(self, request: Request, k: int) -> Candidates:
        return by_place(self.name, as_rows(self.given[:k]))


def plan(mixer: Mixer, *sources: Source, **more: object) -> Plan:
    fields = {"name": "home", "sources": sources, "mixer": mixer, "fallback": Everything.of("fallback", N)}
    return Plan(**(fields | more))  # pyright: ignore[reportArgumentType] # fields of Plan by name


def test_more_is_fetched_before_a_cap_is_broken_and_the_trace_tells_when_it_is() -> None:
    by_category = sorted(range(N), key=lambda row: row % 5)  # eight of each in a row
    limited = Arranged(blocks=(("a", 1),), limits=(cap(most=1, within=2),))
    feed = run(plan(limited, Gives("a", by_category)), request_for(LIVE, "nobody", k=8), derive(1))
    assert violations(rows(feed.slots), "category", 1, 2) == []
    (step,) = [step for step in feed.trace if step.stage == "mixer arranged"]
    assert dict(step.broken) == {}
    strict = Arranged(blocks=(("a", 1),), limits=(cap(most=1),))
    feed = run(plan(strict, Gives("a", by_category)), request_for(LIVE, "nobody", k=20), derive(1))
    assert len(set(rows(feed.slots))) == 20
    (step,) = [step for step in feed.trace if step.stage == "mixer arranged"]
    # three categories without a common label, and the eight items without one
    assert dict(step.broken) == {"at most 1 of a category": 20 - 3 - 8}


@given(st.integers(0, 10_000), st.integers(1, 15))
def test_exploration_keeps_to_the_limits(seed: int, k: int) -> None:
    mixer = Explore(inner=Arranged(blocks=(("a", 1),), limits=(cap("author", 1, 3),)), weight=1.0)
    ranked = ranked_of({"a": list(range(N)), EXPLORE: [7, 14, 21, 28, 35, 8, 9]})
    request = request_for(LIVE, "nobody", k=k)
    slots = mixer.mix(request, ranked, rng=derive(seed))
    assert len(set(rows(slots))) == len(slots) == k
    assert violations(rows(slots), "author", 1, 3) == []
    assert all(slot.propensity is not None and 0 < slot.propensity <= 1 for slot in slots)
    assert mixer.broken(request, slots) == {}


def test_the_chances_under_a_limit_are_what_happens() -> None:
    """The first two places, drawn often: each comes as often as its propensity says."""
    mixer = Explore(inner=Arranged(blocks=(("a", 1),), limits=(cap("author", 1),)), weight=1.0)
    ranked = ranked_of({"a": [0, 1, 2, 3, 4, 5], EXPLORE: [7, 1, 16]})
    request = request_for(LIVE, "nobody", k=10)
    rng = derive(5)
    seen: dict[tuple[int, str] | None, dict[int, list[float]]] = {}
    for _ in range(8000):
        first, second = mixer.mix(request, ranked, rng=rng)[:2]
        assert first.propensity is not None
        assert second.propensity is not None
        seen.setdefault(None, {}).setdefault(first.item, []).append(first.propensity)
        above = seen.setdefault((first.item, first.source), {})
        above.setdefault(second.item, []).append(second.propensity)
    assert len(seen) == 1 + 4  # nothing; 0 as usual; 7, 1 and 16 explored
    for found in seen.values():
        n = sum(map(len, found.values()))
        assert sum(chances[0] for chances in found.values()) == pytest.approx(1.0)
        for chances in found.values():
            chance = chances[0]
            assert set(chances) == {chance}
            assert abs(len(chances) / n - chance) < 4.5 * np.sqrt(chance * (1 - chance) / n) + 1e-12


def test_promotions_keep_what_is_pinned_for_the_rest() -> None:
    columns = COLUMNS.current(4_000_000.0)
    facts = Facts(history=request_for(LIVE, "nobody").history, user={}, parameters={}, now=0.0)
    rule = Filtered(
        name="sport",
        filter=compile_filter('INCLUDE ItemID WHERE Items.CATEGORY = "sport"', columns),
        columns=columns,
        facts=facts,
    )
    mixer = Arranged(blocks=(("a", 1),), limits=(cap(most=2),), places=(Place(at=0, item=item_id(1)),))
    pinned = PinnedSource(items=(item_id(1),))
    whole = plan(mixer, Gives("a", range(N)), pinned, unranked=frozenset({PINNED}), rules=(Exclude(),))
    request = request_for(LIVE, "nobody", k=10)
    promotion = Promotion(name="sport", percent=20, rule=rule)
    feed = run_promoted(whole, request, derive(2), promotions=[promotion])
    assert len(set(rows(feed.slots))) == 10
    assert [slot.source for slot in feed.slots].count("promotion:sport") == 2
    assert [slot.item for slot in feed.slots if slot.source == PINNED] == [1]
    (step,) = [step for step in feed.trace if step.stage == "promotions"]
    assert dict(step.broken) == mixer.broken(request, feed.slots)
