"""Levels that others published, under their own rules: what recipes reach there, from several seeds or folds.

- MovieLens 100K, 75% of each film's ratings train (Recommenders' benchmark), every rating counts, k = 10.
- HetRec 2011 LastFM, 8:1:1 of each user's artists at random, the 9 excluded from the answers, k = 10.
- MovieLens 100K by time, every rating counts: four cuts, each asking about the next tenth of the ratings,
  against the popularity of the last 30 days and every single recipe that knows taste.

Fields are chosen on a validation part inside the first seed's (first fold's) training part, as many trials
for each recipe; each seed or fold is then tested once. The published levels are on draws of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bench.paired import versions
from bench.quality_data import hetrec_lastfm, movielens_100k
from bench.quality_sides import OURS
from penchant.data.heldout import Held, keys, make_split, member, subset
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, random_split, time_split
from penchant.evaluation.intervals import Interval, interval, resampled_means
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import answers, checked
from penchant.evaluation.tuning import reached_by, search
from penchant.kernel.arrays import F64
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Recipe, Retriever
from penchant.models.blend import Blend
from penchant.models.measure import train_measured
from penchant.models.popularity import Popularity

K = 10
NDCG, RECALL, PRECISION = f"ndcg_at_{K}", f"recall_at_{K}", f"precision_at_{K}"
TRIALS = 12
POPULAR = "popularity, 30 days"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A set with a published level. Each part is (what tests, what is tuned on: of the first only)."""

    title: str
    parts: Sequence[tuple[Split, Split]]
    recipes: Sequence[str]
    protocol: str  # of the blend's weights
    asked: Mapping[str, float]


def main(*, quick: bool) -> dict[str, object]:
    """Run what data is here for."""
    films, artists = movielens_100k(least=0), hetrec_lastfm()
    seeds = 1 if quick else 5
    found: dict[str, Any] = {}
    if films is not None:
        found["ml-100k 75/25"] = reached(three_quarters(films, seeds), trials=1 if quick else TRIALS)
        found["ml-100k time"] = reached(rolling(films, 1 if quick else 4), trials=1 if quick else TRIALS)
    if artists is not None:
        found["lastfm 8:1:1"] = reached(eight_one_one(artists, seeds), trials=1 if quick else TRIALS)
    return {
        "bar": "ML-100K 75/25 NDCG@10 .482, precision@10 .420; LastFM NDCG@10 .211, recall@10 .216; ML-100K "
        "by time surely above 30-day popularity and every single recipe of taste",
        "met": bool(found) and all(level["met"] for level in found.values()),
        "data": list(found),
        "protocol": f"means of seeds or folds; {TRIALS} trials a recipe on the first one's validation part",
        "levels": found,
        "versions": versions("scipy"),
    }


def three_quarters(source: Snapshot, seeds: int) -> Level:
    """Return the splits of Recommenders: a quarter of each item's pairs hidden."""
    tests = [random_split(source, seed=seed, share=0.25, by="item") for seed in range(seeds)]
    return Level(
        title="MovieLens 100K, 75/25 of each film",
        parts=[(test, random_split(test.train, share=0.25, by="item")) for test in tests],
        recipes=("ials", "ease", "item_knn", "rp3beta"),
        protocol="random",
        asked={NDCG: 0.482, PRECISION: 0.420},
    )


def eight_one_one(source: Snapshot, seeds: int) -> Level:
    """Return test and validation of 8:1:1 a user: both train on the 8, the test excludes the 9."""
    parts: list[tuple[Split, Split]] = []
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
            exclude=nine.train.pairs(),
            now=source.cutoff,
        )
        parts.append((make_split(source, held), eight))
    return Level(
        title="HetRec 2011 LastFM, 8:1:1 of each user",
        parts=parts,
        recipes=("ials", "ease", "item_knn", "rp3beta"),
        protocol="random",
        asked={NDCG: 0.211, RECALL: 0.216},
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
        recipes=("ials", "ease", "recent", "item_knn", "rp3beta"),
        protocol="time",
        asked={},
    )


def reached(level: Level, *, trials: int) -> dict[str, Any]:
    """Tune on the first part, test everybody on every part and compare what was asked."""
    timed = level.protocol == "time"
    print(f"\n  {level.title}: {len(level.parts)} parts, first: {level.parts[0][0].description}", flush=True)
    recipes: dict[str, Recipe] = {}
    for name in level.recipes:
        side = OURS[name]
        best = search(
            reached_by(side.recipe, level.parts[0][1], metric=NDCG, seed=42),
            side.over(timed),
            trials=trials,
            rng=derive(42, "levels", name),
            first=[side.first(timed)],
        )[0]
        print(f"  {name}: {best.value:.4f} on validation with {best.fields}", flush=True)
        recipes[name] = side.with_(best.fields)
    recipes["blend"] = blend(recipes, level.protocol)
    recipes[POPULAR] = Popularity(window="30d")
    values = {name: tested(recipe, [test for test, _ in level.parts]) for name, recipe in recipes.items()}
    means = {name: {m: float(np.mean(list(map(np.mean, v[m])))) for m in v} for name, v in values.items()}
    for name, mean in means.items():
        print(
            f"  {name}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in mean.items()), flush=True
        )
    out: dict[str, Any] = {"parts": len(level.parts), "means": means, "asked": dict(level.asked)}
    ndcg = {name: np.concatenate(v[NDCG]) for name, v in values.items()}
    taste = max(level.recipes, key=lambda name: means[name][NDCG])
    rivals = (taste, POPULAR) if timed else (taste,)
    above = {name: difference(ndcg["blend"], ndcg[name]) for name in rivals}
    for name, sure in above.items():
        print(f"  blend - {name}: {sure.mean:+.4f} [{sure.low:+.4f}, {sure.high:+.4f}]", flush=True)
    best = max((n for n in means if n != POPULAR), key=lambda name: means[name][NDCG])
    asked = all(means[best][metric] >= value for metric, value in level.asked.items())
    out["best"], out["above"] = best, msgspec.to_builtins(above)
    out["met"] = asked and (not timed or all(sure.low > 0 for sure in above.values()))
    return out


def blend(recipes: Mapping[str, Recipe], protocol: str) -> Blend:
    """Return the blend of tuned recipes and, by time, of popularity over three windows."""
    parts: dict[str, dict[str, Any]] = {
        name: {"recipe": recipe.name, **msgspec.to_builtins(recipe)} for name, recipe in recipes.items()
    }
    timed = protocol == "time"
    for window in ("7d", "30d", "90d") if timed else ("all",):
        parts[f"popularity_{window}"] = {"recipe": "popularity", "window": window}
    return Blend(parts=parts, protocol=protocol, depth=K, mixing="log" if timed else "linear")


def tested(recipe: Recipe, splits: Sequence[Split]) -> dict[str, list[F64]]:
    """Return three metrics, an array of requests for each split."""
    out: dict[str, list[F64]] = {NDCG: [], RECALL: [], PRECISION: []}
    for split in splits:
        model = train_measured(recipe, split.train, seed=42, progress=Silent())
        assert isinstance(model, Retriever)
        lists = checked(recipe.name, answers(model, split, K), split, K)
        for metric, values in accuracy(lists, split.truth, [K]).items():
            if metric in out:
                out[metric].append(values)
    return out


def difference(ours: F64, theirs: F64) -> Interval:
    """Return the paired difference over the requests of all parts."""
    values = ours - theirs
    means = resampled_means(values[:, None], rng=derive(42, "levels", "bootstrap"))[:, 0]
    return interval(values, means)
