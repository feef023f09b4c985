"""The sets and rules on which others published levels: MovieLens 100K three times, HetRec LastFM once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penchant.data.heldout import Held, keys, make_split, member, subset
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, random_split, time_split, user_split
from penchant.kernel.arrays import Rows

TASTE = ("ials", "ease", "item_knn", "rp3beta")


@dataclass(frozen=True, kw_only=True)
class Level:
    """What to test on and what to tune on, by seed or fold; the first part's is what is tuned on."""

    title: str
    parts: Sequence[tuple[Split, Split]]
    recipes: Sequence[str]
    protocol: str  # of the blend's weights
    peers: Sequence[str] = ()
    k: int = 10
    asked: Mapping[str, float] = field(default_factory=dict[str, float])  # metric -> level
    hidden: Sequence[Rows] = ()  # of each part, how many items of each user were hidden, cold ones too
    starts: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict[str, Any]
    )  # tried after the defaults

    @property
    def metric(self) -> str:
        """Return the metric that decides."""
        return f"ndcg_at_{self.k}"

    @property
    def timed(self) -> bool:
        """Return whether times may be learnt from."""
        return self.protocol == "time"


def three_quarters(source: Snapshot, seeds: int) -> Level:
    """Return the splits of Recommenders: a quarter of each item's pairs hidden."""
    tests = [random_split(source, seed=seed, share=0.25, by="item") for seed in range(seeds)]
    return Level(
        title="MovieLens 100K, 75/25 of each film",
        parts=[(test, random_split(test.train, share=0.25, by="item")) for test in tests],
        recipes=TASTE,
        protocol="random",
        asked={"ndcg_at_10": 0.482, "precision_at_10": 0.420},
        starts={"ials": {"regularization": 0.015, "unobserved_weight": 0.3, "frequency_exponent": 1.0}},
    )


def eight_one_one(source: Snapshot, seeds: int) -> Level:
    """Return test and validation of 8:1:1 a user: both train on the 8, the test excludes the 9."""
    parts: list[tuple[Split, Split]] = []
    hidden: list[Rows] = []
    every = source.pairs()
    for seed in range(seeds):
        nine = random_split(source, seed=seed, share=0.1)
        eight = random_split(nine.train, seed=seed, share=1 / 9)
        held = Held(
            protocol="random 8:1:1",
            parameters={"seed": seed},
            description=f"8:1:1 of each user's items at random, the 9 excluded; seed {seed}",
            train=eight.train,
            truth=subset(every, ~member(keys(every), keys(nine.train.pairs()))),
            exclude=(told := nine.train.pairs()),
            now=source.cutoff,
        )
        parts.append((make_split(source, held), eight))
        hidden.append((np.diff(every.indptr) - np.diff(told.indptr)).astype(np.int32))
    return Level(
        title="HetRec 2011 LastFM, 8:1:1 of each user",
        parts=parts,
        hidden=hidden,
        recipes=TASTE,
        protocol="random",
        asked={"ndcg_at_10": 0.211, "recall_at_10": 0.216},
        starts={
            "ials": {"regularization": 0.02, "unobserved_weight": 0.04, "frequency_exponent": 1.0},
            "ease": {"regularization": 100.0},
        },
    )


def rolling(source: Snapshot, folds: int) -> Level:
    """Return cuts at .9, .8 ... of the interactions, each asking about the next tenth; earliest first."""
    at = source.interactions.timestamp
    cuts = [float(at[int(len(at) * share)]) for share in (0.6, 0.7, 0.8, 0.9)][-folds:]
    ends = [*cuts[1:], source.cutoff + 1]
    tests = [time_split(source.before(end), at=cut) for cut, end in zip(cuts, ends, strict=True)]
    return Level(
        title="MovieLens 100K by time",
        parts=[(test, time_split(test.train)) for test in tests],
        recipes=(*TASTE, "recent"),
        protocol="time",
    )


def new_users(source: Snapshot, seeds: int) -> Level:
    """Return draws of whole hidden users: with some 93 of them a level depends on the draw."""
    parts = [
        (user_split(source, seed=seed), user_split(source, seed=seed, part="validation"))
        for seed in range(seeds)
    ]
    return Level(
        title="MovieLens 100K, ratings of 4 and more, users never seen",
        parts=parts,
        recipes=TASTE,
        peers=("implicit ALS", "RecTools EASE", "LensKit SLIM"),
        protocol="user",
        k=100,
        asked={"ndcg_at_100": 0.475},
    )
