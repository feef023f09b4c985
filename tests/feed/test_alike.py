"""Near-duplicates of what a rule hides are hidden too: by text and by vectors, as a slow look says."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.feed.bridge import Bridge
from penchant.feed.likeness import VectorSpace
from penchant.feed.limits import TextGroups
from penchant.feed.live import Live, as_rows
from penchant.feed.rules import Alike, Seen, Shown
from penchant.feed.types import Candidates, Impressions, Request, Rule
from penchant.kernel.arrays import readonly
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.ials import Ials
from penchant.testing.data import item_id, random_snapshot
from penchant.testing.feed_contracts import RuleContract, put, request_for, sample_live

N = 40
LIVE = Live(random_snapshot(1))
LIVE.fold([put(i + 1, item_id(i), title=f"T {i % 13}!" if i % 5 else "") for i in range(N)])
LIVE.fold([put(N + 1, "new", title="t 1")])
MODEL = Ials(factors=3, epochs=3).train(LIVE.snapshot, rng=derive(3), progress=Silent())
SPACE = VectorSpace(bridge=Bridge.of("for_you", MODEL, LIVE.snapshot))
GROUPS = TextGroups(LIVE, ["title"])


class TestAlike(RuleContract):
    """What every rule promises."""

    def make(self) -> Rule:
        live = sample_live()
        return Alike(name="like seen", to=Seen(), groups=TextGroups(live, ["title"]), space=None)


def everything() -> Candidates:
    rows = readonly(np.arange(N + 1, dtype=np.int32))
    return Candidates(source="all", items=rows, scores=readonly(np.zeros(N + 1, np.float32)))


def asked(seen: list[int]) -> Request:
    history = Interactions.of(user=[0] * len(seen), item=seen, timestamp=list(range(len(seen))))
    return request_with(history=history)


def request_with(**more: Any) -> Request:
    return replace(request_for(LIVE, "nobody", k=5), **more)


def said(row: int) -> str:
    words = str(LIVE.catalogue.property(row, "title") or "").casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in words).split())


@given(st.lists(st.integers(0, N - 1), max_size=12))
def test_what_says_the_same_goes_and_nothing_else(seen: list[int]) -> None:
    keep = Alike(name="x", to=Seen(), groups=GROUPS, space=None).judge(asked(seen), everything()).keep
    texts = {said(row) for row in seen} - {""}
    assert keep.tolist() == [said(row) not in texts for row in range(N + 1)]


@given(st.lists(st.integers(0, N - 1), max_size=12), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_what_is_near_goes_and_nothing_else(seen: list[int], at_least: float) -> None:
    rule = Alike(name="x", to=Seen(), groups=None, space=SPACE, at_least=at_least)
    keep = rule.judge(asked(seen), everything()).keep.tolist()
    near = np.full(N + 1, -1.0)
    for row, other in product(range(N + 1), seen):
        near[row] = max(near[row], SPACE.similarities(request_with(), other, as_rows([row]))[0])
    for row in range(N + 1):
        if abs(near[row] - at_least) > 1e-5:
            assert keep[row] == (near[row] < at_least)


def test_only_what_the_rule_hides_counts() -> None:
    history = Interactions.of(
        user=[0, 0], item=[1, 2], timestamp=[1.0, 2.0], event_type=[0, 1], event_types=("click", "buy")
    )
    request = request_with(history=history)
    bought = Alike(name="like seen", to=Seen(event_types=("buy",)), groups=GROUPS, space=None)
    verdict = bought.judge(request, everything())
    assert verdict.reason == "like seen"
    assert [row for row in range(N + 1) if not verdict.keep[row]] == [2, 28]  # 15 has no title
    twice = Impressions(items=as_rows([3, 3, 4]), timestamps=readonly(np.array([1.0, 2.0, 3.0])))
    shown = Alike(name="like shown", to=Shown(hide_after=2, again_after=1e9), groups=GROUPS, space=None)
    keep = shown.judge(request_with(shown=twice, now=10.0), everything()).keep
    assert [row for row in range(N + 1) if not keep[row]] == [3, 16, 29]


@pytest.mark.parametrize("space", [None, SPACE])
def test_nothing_hidden_nothing_alike(space: VectorSpace | None) -> None:
    rule = Alike(name="x", to=Seen(), groups=GROUPS, space=space, at_least=0.1)
    assert rule.judge(asked([]), everything()).keep.all()
