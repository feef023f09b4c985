"""The category bandit: exact chances, what it learns from the log, and what a category goes by."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from penchant.bandits.category import CategoryPolicy
from penchant.bandits.delayed import RewardRules
from penchant.data.events import Acted, AnyEvent, ItemPut, Served, ServedSlot
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.feed.category_arms import CategoryArms, Order
from penchant.feed.category_bandit import CategoryDealer, CategorySource
from penchant.feed.category_choice import newer_is_better
from penchant.feed.category_state import CATEGORIES, CategoryState
from penchant.feed.groups import Groups, NoGroups
from penchant.feed.live import Live
from penchant.feed.mixers import Blocks
from penchant.feed.types import Candidates, Mixer, Slot, Source
from penchant.kernel.arrays import Rows
from penchant.kernel.clock import DAY
from penchant.kernel.seeds import derive
from penchant.testing.data import random_snapshot
from penchant.testing.feed_contracts import MixerContract, SourceContract, ranked_of, request_for

NOW = 1_000_000_000.0
NEWS, SHOES, FOOD = "news", "shoes", "food"


def state(max_users: int = 1000, examined: int = 10) -> CategoryState:
    return CategoryState(
        "home",
        half_life=lambda name: DAY if name == NEWS else 7 * DAY,
        rules=RewardRules(examined=examined),
        max_users=max_users,
        settings="s",
    )


def shop() -> Snapshot:
    """Three categories of five items; of news the newest is taken, of shoes always 5, of food anything."""
    ids = [f"i{i:02}" for i in range(15)]
    made = [NOW - (10 - 2 * i) * DAY for i in range(5)] + [NOW - 100 * DAY - i for i in range(10)]
    items = pa.table(
        {"item_id": ids, "category": [NEWS] * 5 + [SHOES] * 5 + [FOOD] * 5, "creation_timestamp": made}
    )
    rng = np.random.default_rng(0)
    rows: list[tuple[str, str, float]] = []
    for n in range(300):
        time = NOW - 10 * DAY + n * 10 * DAY / 300
        newest = max(i for i in range(5) if made[i] <= time)
        taken = (newest, 5 if rng.random() < 0.8 else int(rng.integers(5, 10)), int(rng.integers(10, 15)))
        rows += [(f"u{n % 40:02}", ids[item], time + 1) for item in taken]
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    return build_snapshot(pa.table(columns), items=items)


def arms_over(live: Live, known: CategoryState, prefer: Mapping[str, Order] | None = None) -> CategoryArms:
    return CategoryArms(live, known.evidence, column="category", prefer=prefer)


def dealer_over(
    live: Live,
    known: CategoryState,
    policy: CategoryPolicy = "thompson",
    uniform: float = 0.1,
    groups: Groups | None = None,
) -> CategoryDealer:
    return CategoryDealer(
        arms=arms_over(live, known),
        groups=NoGroups() if groups is None else groups,
        policy=policy,
        uniform=uniform,
    )


class TestCategorySource(SourceContract):
    def make(self, live: Live) -> Source:
        return CategorySource(arms=CategoryArms(live, state().evidence, column="author"))


class TestBlocksWithADealer(MixerContract):
    def make(self) -> Mixer:
        live = Live(random_snapshot(1))
        arms = CategoryArms(live, state().evidence, column="no such column")
        dealer = CategoryDealer(arms=arms, groups=NoGroups())
        return Blocks(blocks=(("other", 2), ("for_you", 1)), backfill=("popular",), dealers={"other": dealer})


def candidates(rows: Sequence[int]) -> Candidates:
    return ranked_of({CATEGORIES: rows})[CATEGORIES]


def test_a_category_goes_by_what_would_have_predicted_it() -> None:
    live = Live(shop())
    known = state()
    arms = arms_over(live, known)
    standing = arms.standing(NOW)
    recency = dict(zip(standing.names, standing.recency.tolist(), strict=True))
    assert recency[NEWS]
    assert not recency[SHOES]
    first = [
        standing.order[standing.arm[standing.order] == known.evidence.arm(name)] for name in (NEWS, SHOES)
    ]
    assert first[0].tolist() == [4, 3, 2, 1, 0]
    assert first[1][0] == 5
    assert arms_over(live, state(), prefer={NEWS: "popularity"}).standing(NOW).recency.sum() == recency[FOOD]


def slow_gains(events: Interactions, arm: Rows, born: np.ndarray, window: float) -> np.ndarray:
    gains = np.zeros((int(arm.max()) + 1, 2))
    for e in range(len(events) // 2, len(events)):
        i, t = int(events.item[e]), float(events.timestamp[e])
        if born[i] >= t:
            continue
        before = events.item[:e][events.timestamp[:e] >= t - window]
        there = [j for j in range(len(arm)) if arm[j] == arm[i] and born[j] <= t]
        for side, value in enumerate((np.bincount(before, minlength=len(arm)), born)):
            ahead = sum(value[j] > value[i] for j in there)
            level = sum(value[j] == value[i] for j in there if j != i)
            gains[arm[i], side] += 1 / np.log2(2 + ahead + level / 2)
    return gains


def test_popularity_or_recency_agrees_with_the_slow_oracle() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 400
        times = np.sort(rng.uniform(0, 100, n))
        events = Interactions.of(user=np.zeros(n), item=rng.integers(0, 20, n) ** 2 // 20, timestamp=times)
        arm = rng.integers(0, 4, 20).astype(np.int32)
        born = rng.uniform(-50, 80, 20).round()
        slow = slow_gains(events, arm, born, 30.0)
        found = newer_is_better(events, arm, born, n_arms=4, window=30.0)
        assert found[: len(slow)].tolist() == (slow[:, 1] > slow[:, 0]).tolist()
    one = np.zeros(3, np.int32)
    assert not newer_is_better(Interactions.none(), one, np.zeros(3), n_arms=1, window=30.0).any()


def conditional(
    dealer: CategoryDealer, live: Live, rows: Sequence[int], above: Sequence[int]
) -> dict[int, float]:
    """Return P(item | above) by asking for each category and each of its items by hand."""
    request = request_for(live, "x", k=5)
    standing = dealer.arms.standing(request.now)
    a, b = dealer.beliefs(request)
    left: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row not in above:
            left[int(standing.arm[row])].append(row)
    rng = np.random.default_rng(3)
    n = 400_000
    arms = sorted(left)
    mean = np.array([a[arm] / (a[arm] + b[arm]) for arm in arms])
    if dealer.policy == "published":
        chosen = mean / mean.sum()
    else:
        best = rng.beta(a[arms], b[arms], (n, len(arms))).argmax(axis=1)
        chosen = np.bincount(best, minlength=len(arms)) / n
    found: dict[int, float] = {}
    for arm, p in zip(arms, (1 - dealer.uniform) * chosen + dealer.uniform / len(arms), strict=True):
        items = left[arm]
        if standing.recency[arm]:
            found[items[0]] = float(p)
            continue
        best = rng.beta(standing.a[items], standing.b[items], (n, len(items))).argmax(axis=1)
        share = np.bincount(best, minlength=len(items)) / n
        found |= dict(zip(items, (p * share).tolist(), strict=True))
    return found


@pytest.mark.parametrize("policy", ["published", "thompson"])
def test_propensities_are_the_equation_and_the_frequencies(policy: CategoryPolicy) -> None:
    live, known = Live(shop()), state()
    dealer = dealer_over(live, known, policy)
    mixer = Blocks(blocks=((CATEGORIES, 2), ("mine", 1)), dealers={CATEGORIES: dealer})
    rows = dealer.arms.standing(4_000_000.0).order.tolist()
    ranked = {CATEGORIES: candidates(rows), "mine": ranked_of({"mine": [7, 5, 4, 3, 12]})["mine"]}
    request = request_for(live, "x", k=6)
    rng = derive(1, policy)
    n = 6_000
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    said: dict[tuple[tuple[int, ...], int], float] = {}
    for _ in range(n):
        slots = mixer.mix(request, ranked, rng=rng)
        for place in (0, 1, 3):
            above = tuple(slot.item for slot in slots[:place])
            p = slots[place].propensity
            assert p is not None
            counts[above][slots[place].item] += 1
            assert said.setdefault((above, slots[place].item), p) == pytest.approx(p, abs=1e-12)
        assert slots[2].propensity == 1.0
    for above, found in counts.items():
        total = found.total()
        if total < 300:
            continue
        by_hand = conditional(dealer, live, rows, above)
        for item, p in by_hand.items():
            assert abs(found[item] / total - p) < 4.5 * np.sqrt(p * (1 - p) / total) + 0.003
            if (above, item) in said:
                assert said[above, item] == pytest.approx(p, abs=0.004)
    assert sum(said[(), item] for item in counts[()]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("policy", ["published", "thompson"])
def test_the_mean_inverse_propensity_is_the_number_of_candidates(policy: CategoryPolicy) -> None:
    items = pa.table({"item_id": [f"i{i}" for i in range(12)], "category": ["a", "b", "b", "c"] * 3})
    none = pa.table(
        {"user_id": pa.array([], pa.string()), "item_id": [], "timestamp": pa.array([], pa.float64())}
    )
    live, known = (
        Live(build_snapshot(none.cast(none.schema.set(1, pa.field("item_id", pa.string()))), items=items)),
        state(),
    )
    mixer = Blocks(blocks=((CATEGORIES, 1),), dealers={CATEGORIES: dealer_over(live, known, policy)})
    request = request_for(live, "x", k=1)
    rng = derive(5, policy)
    drawn = [
        mixer.mix(request, {CATEGORIES: candidates(range(12))}, rng=rng)[0].propensity for _ in range(4000)
    ]
    assert np.mean([1 / p for p in drawn if p]) == pytest.approx(12, rel=0.02)


def test_a_single_item_left_is_certain_and_nothing_left_is_nobodys() -> None:
    live, known = Live(shop()), state()
    mixer = Blocks(blocks=((CATEGORIES, 1),), dealers={CATEGORIES: dealer_over(live, known)})
    request = request_for(live, "x", k=5)
    slots = mixer.mix(request, {CATEGORIES: candidates([3])}, rng=derive(1))
    assert [(slot.item, slot.propensity) for slot in slots] == [(3, pytest.approx(1.0))]
    ranked = {CATEGORIES: candidates([3]), "fallback": ranked_of({"fallback": [3, 1]})["fallback"]}
    slots = mixer.mix(request, ranked, rng=derive(1))
    assert [(slot.item, slot.source) for slot in slots] == [(3, CATEGORIES), (1, "fallback")]


class World:
    """Serves a feed over and over and writes the log; a category pays its rate when it is looked at."""

    def __init__(self, rates: Mapping[str, float], groups: Groups | None = None, users: int = 30) -> None:
        self.live, self.known = Live(shop()), state()
        self.groups = NoGroups() if groups is None else groups
        self.dealer = dealer_over(self.live, self.known, groups=self.groups)
        self.mixer = Blocks(blocks=((CATEGORIES, 1),), dealers={CATEGORIES: self.dealer})
        self.rates = rates
        self.users = users
        self.events: list[tuple[int, AnyEvent]] = []
        self.time = NOW

    def fold_into(self, known: CategoryState, events: Sequence[tuple[int, AnyEvent]]) -> None:
        catalogue = self.live.catalogue
        known.fold(
            events,
            arm_of=lambda id_: self.dealer.arms.arm_of(catalogue.row(id_)),
            group_of=lambda id_: self.groups.of(id_, self.live.user(id_)),
        )

    def run(
        self, times: int, seed: int, rate_of_user: Mapping[str, Mapping[str, float]] | None = None
    ) -> Counter[str]:
        rng = derive(seed, "world")
        shown: Counter[str] = Counter()
        for _ in range(times):
            self.time += 20.0
            user = f"n{int(rng.integers(self.users))}"
            request = request_for(self.live, user, k=4)
            source = CategorySource(arms=self.dealer.arms)
            slots: tuple[Slot, ...] = self.mixer.mix(
                request, {CATEGORIES: source.fetch(request, 15)}, rng=rng
            )
            fresh: list[AnyEvent] = [
                Served(
                    event_id=f"r{self.time}",
                    timestamp=self.time,
                    user_id=user,
                    feed="home",
                    model_version="v",
                    slots=[
                        ServedSlot(item_id=s.item_id, position=i, source=s.source)
                        for i, s in enumerate(slots)
                    ],
                )
            ]
            rates = self.rates if rate_of_user is None else rate_of_user[user]
            for slot in slots:
                category = str(self.live.catalogue.property(slot.item, "category"))
                shown[category] += 1
                if rng.random() < rates[category]:
                    fresh.append(
                        Acted(
                            event_id=f"a{self.time}-{slot.item}",
                            timestamp=self.time + 5,
                            user_id=user,
                            item_id=slot.item_id,
                            recommendation_id=f"r{self.time}",
                        )
                    )
            numbered = list(enumerate(fresh, len(self.events) + 1))
            self.events += numbered
            self.fold_into(self.known, numbered)
        return shown


def beliefs_of(world: World, user: str) -> dict[str, float]:
    request = request_for(world.live, user, k=4)
    a, b = world.dealer.beliefs(request)
    return dict(zip(world.known.evidence.arms, (a / (a + b)).tolist(), strict=True))


def test_it_finds_what_pays_and_the_log_alone_gives_the_same_state() -> None:
    world = World({NEWS: 0.05, SHOES: 0.4, FOOD: 0.05})
    early, late = world.run(150, seed=1), world.run(250, seed=2)
    assert late[SHOES] / late.total() > early[SHOES] / early.total()
    assert max(beliefs_of(world, "somebody new").items(), key=lambda pair: pair[1])[0] == SHOES

    again = state()
    for name in world.known.evidence.arms:
        again.evidence.arm(name)
    world.fold_into(again, world.events)
    world.fold_into(again, world.events[:50])  # numbers already seen change nothing
    for node in ("all", "user:n3"):
        for mine, theirs in zip(
            again.evidence.of_node(node, world.time),
            world.known.evidence.of_node(node, world.time),
            strict=True,
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    restored = state()
    assert restored.restore(world.known.saved())
    assert restored.head == world.known.head
    assert restored.saved() == world.known.saved()
    assert not state().restore(b"damaged")
    other = CategoryState(
        "home", half_life=lambda _: DAY, rules=RewardRules(), max_users=9, settings="others"
    )
    assert not other.restore(world.known.saved())


class Tribes:
    """Two personas by the user's number."""

    labels: Rows | None = None

    def of(self, user_id: str, user: int) -> int:
        return int(user_id[1:]) % 2 if user_id[1:].isdecimal() else -1


def test_personas_learn_apart_and_speak_for_their_new_members() -> None:
    world = World({}, groups=Tribes())
    taste = {0: {NEWS: 0.02, SHOES: 0.5, FOOD: 0.02}, 1: {NEWS: 0.02, SHOES: 0.02, FOOD: 0.5}}
    world.run(600, seed=3, rate_of_user={f"n{i}": taste[i % 2] for i in range(30)})
    even, odd = beliefs_of(world, "n1000"), beliefs_of(world, "n1001")
    assert even[SHOES] > 2 * even[FOOD]
    assert odd[FOOD] > 2 * odd[SHOES]


def test_history_speaks_before_anything_was_shown() -> None:
    live, known = Live(shop()), state()
    dealer = dealer_over(live, known)
    live.fold(
        [
            (n, Acted(event_id=str(n), timestamp=NOW, user_id="fan", item_id=f"i{5 + n % 5:02}"))
            for n in range(1, 61)
        ]
    )
    shoes = known.evidence.arm(SHOES)
    means = [a / (a + b) for a, b in (dealer.beliefs(request_for(live, user)) for user in ("fan", "nobody"))]
    assert means[0][shoes] > 1.3 * means[1][shoes]
    assert means[1][shoes] == pytest.approx(0.01, rel=0.1)  # a third of the actions are on shoes


def test_a_new_item_and_a_new_category_are_there_at_once() -> None:
    live, known = Live(shop()), state()
    arms = arms_over(live, known)
    assert arms.standing(NOW).names == tuple(sorted((NEWS, SHOES, FOOD), key=known.evidence.arm))
    puts = [("i90", NEWS), ("i91", "cars")]
    live.fold(
        (n, ItemPut(event_id=f"p{n}", timestamp=NOW, item_id=id_, properties={"category": name}))
        for n, (id_, name) in enumerate(puts, 1)
    )
    standing = arms.standing(NOW + 2)
    assert "cars" in standing.names
    news = standing.order[standing.arm[standing.order] == known.evidence.arm(NEWS)]
    assert news[0] == live.catalogue.row("i90")
    assert CategorySource(arms=arms).why(request_for(live, "x"), int(news[0])) == "new in news"


def test_what_was_shown_and_not_taken_falls_behind() -> None:
    live, known = Live(shop()), state()
    dealer = dealer_over(live, known)
    shoes = known.evidence.arm(SHOES)
    served = [
        Served(
            event_id=f"r{n}",
            timestamp=NOW + n,
            user_id="u",
            feed="home",
            model_version="v",
            slots=[ServedSlot(item_id="i05", position=0, source=CATEGORIES)],
        )
        for n in range(300)
    ]
    other = Served(
        event_id="x", timestamp=NOW + 4000, user_id="u", feed="other feed", model_version="v", slots=[]
    )
    late = Served(event_id="y", timestamp=NOW + 4000, user_id="u", feed="home", model_version="v", slots=[])
    known.fold(
        enumerate([*served, other, late], 1),
        arm_of=lambda id_: dealer.arms.arm_of(live.catalogue.row(id_)),
        group_of=lambda _: -1,
    )
    assert known.evidence.of_node("all", NOW)[1][shoes] == pytest.approx(300, rel=0.01)
    standing = dealer.arms.standing(NOW + 4000)
    a, b = 100 * 41 / 140, 100 * 99 / 140 + 300 * 2 ** (-4000 / (7 * DAY))  # all 40 users took it
    assert standing.a[5] == pytest.approx(a)
    assert standing.b[5] == pytest.approx(b, rel=0.001)


def test_evidence_of_many_users_is_bounded() -> None:
    known = state(max_users=5)
    events = [
        Served(
            event_id=f"r{n}",
            timestamp=NOW + n,
            user_id=f"u{n}",
            feed="home",
            model_version="v",
            slots=[ServedSlot(item_id="i", position=0, source=CATEGORIES)],
        )
        for n in range(50)
    ]
    known.evidence.arm(NEWS)
    known.fold(enumerate(events, 1), arm_of=lambda _: 0, group_of=lambda _: -1)
    assert len(known.evidence.state().passing) <= 5
