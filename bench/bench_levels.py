"""Levels that others published, under their own rules: what recipes reach there, from several seeds or folds.

- MovieLens 100K, 75% of each film's ratings train (Recommenders' benchmark), every rating counts, k = 10.
- MovieLens 100K, ratings of 4 and more, users never seen, against peers tuned alike, k = 100.
- MovieLens 100K by time, every rating counts: four cuts, each asking about the next tenth of the ratings,
  against the popularity of the last 30 days and every single recipe that knows taste.
- HetRec 2011 LastFM, 8:1:1 of each user's artists at random, the 9 excluded from the answers, k = 10.

Fields, and which recipe stands for Penchant, are chosen on the validation part of the first seed or fold,
with as many trials for everybody; each seed or fold is then tested once. Draws overlap: what one tests may
have been tuned on in another, for all sides alike. PENCHANT_LEVELS names some of the levels.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np

from bench.level_sets import Level, eight_one_one, new_users, rolling, three_quarters
from bench.paired import versions
from bench.quality_data import hetrec_lastfm, movielens_100k
from bench.quality_sides import OURS, THEIRS, Ours, Theirs
from penchant.data.splits import Split
from penchant.evaluation.intervals import Interval, interval, resampled_means
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import answers, checked
from penchant.evaluation.tuning import Choice, Space, search
from penchant.kernel.arrays import F64, Rows
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Recipe, Retriever
from penchant.models.blend import Blend
from penchant.models.measure import train_measured
from penchant.models.popularity import Popularity

SEEDS, FOLDS, TRIALS = 5, 4, 10
EXPONENTS = Choice((0.25, 0.5, 0.75, 1.0))
POPULAR = "popularity, 30 days"
LEVELS: dict[str, Callable[[int], Level | None]] = {
    "ml-100k 75/25": lambda n: None if (s := movielens_100k(least=0)) is None else three_quarters(s, n),
    "ml-100k user": lambda n: None if (s := movielens_100k()) is None else new_users(s, n),
    "ml-100k time": lambda n: None if (s := movielens_100k(least=0)) is None else rolling(s, min(n, FOLDS)),
    "lastfm 8:1:1": lambda n: None if (s := hetrec_lastfm()) is None else eight_one_one(s, n),
}
Answers = Callable[[Split, int], Rows]


def main(*, quick: bool) -> dict[str, object]:
    """Run the levels whose data is here."""
    found: dict[str, Any] = {}
    for name in os.environ.get("PENCHANT_LEVELS", ",".join(LEVELS)).split(","):
        level = LEVELS[name](1 if quick else SEEDS)
        if level is None:
            print(f"  {name}: the data is not here: skipped")
        else:
            found[name] = reached(level, trials=1 if quick else TRIALS)
    return {
        "bar": "the published level of each, by the recipe that validation chose; by time surely above "
        "30-day popularity and every single recipe of taste",
        "met": bool(found) and all(level["met"] for level in found.values()),
        "data": list(found),
        "protocol": f"means of {SEEDS} seeds or {FOLDS} folds; {TRIALS} trials a side on the first",
        "levels": found,
        "versions": versions("scipy"),
    }


def reached(level: Level, *, trials: int) -> dict[str, Any]:
    """Tune on the first part, test everybody on every part and compare."""
    tests, validation = [test for test, _ in level.parts], level.parts[0][1]
    print(f"\n  {level.title}: {len(tests)} parts, the first: {tests[0].description}", flush=True)
    sides, on_validation = tuned(level, validation, trials)
    values = {name: [per_request(side, test, level.k) for test in tests] for name, side in sides.items()}
    means = {name: _means(v) for name, v in values.items()}
    if level.hidden:
        means = {n: mean | against_all(values[n], tests, level) for n, mean in means.items()}
    for name, mean in sorted(means.items(), key=lambda pair: -pair[1][level.metric]):
        said = ", ".join(f"{m} {mean[m]:.4f}" for m in mean if m.endswith(f"_{level.k}"))
        print(f"  {name}: {said}", flush=True)
    ours = [name for name in on_validation if name not in level.peers]
    chosen = max(ours, key=lambda name: on_validation[name])
    whole = {name: np.concatenate([one[level.metric] for one in v]) for name, v in values.items()}
    above = {
        rival: difference(whole[chosen], whole[rival])
        for rival in _rivals(level, {name: mean[level.metric] for name, mean in means.items()}, chosen)
    }
    for rival, sure in above.items():
        print(f"  {chosen} - {rival}: {sure.mean:+.4f} [{sure.low:+.4f}, {sure.high:+.4f}]", flush=True)
    asked = all(means[chosen][metric] >= value for metric, value in level.asked.items())
    return {
        "means": means,
        "validation": on_validation,
        "chosen": chosen,
        "asked": dict(level.asked),
        "above": msgspec.to_builtins(above),
        "met": asked and (not level.timed or all(sure.low > 0 for sure in above.values())),
    }


def tuned(level: Level, validation: Split, trials: int) -> tuple[dict[str, Answers], dict[str, float]]:
    """Return everybody with the best fields found, and what each reached on validation."""
    sides: dict[str, Answers] = {}
    values: dict[str, float] = {}
    recipes: dict[str, Recipe] = {}

    def best(
        name: str, make: Callable[..., Answers], space: Space, first: Mapping[str, Any]
    ) -> dict[str, Any]:
        def value(fields: Mapping[str, Any]) -> float:
            return float(per_request(make(**fields), validation, level.k)[level.metric].mean())

        tried = [first, *([{**first, **level.starts[name]}] if name in level.starts else [])]
        trial = search(value, space, trials=trials, rng=derive(42, "levels", name), first=tried)[0]
        print(f"  {name}: {trial.value:.4f} on validation with {trial.fields}", flush=True)
        sides[name], values[name] = make(**trial.fields), trial.value
        return trial.fields

    for name in level.recipes:
        own = OURS[name]
        space = own.over(level.timed)
        if name == "ials":
            space = {**space, "frequency_exponent": EXPONENTS}
        found = best(name, partial(_ours, own), space, own.first(level.timed))
        recipes[name] = own.with_(found)
    sides["blend"] = _of(blend(recipes, level))
    values["blend"] = float(per_request(sides["blend"], validation, level.k)[level.metric].mean())
    print(f"  blend: {values['blend']:.4f} on validation", flush=True)
    for name in level.peers:
        peer = THEIRS[name]
        if peer.here():
            best(name, partial(_theirs, peer), peer.space, peer.first)
    sides[POPULAR] = _of(Popularity(window="30d"))
    return sides, values


def blend(recipes: Mapping[str, Recipe], level: Level) -> Blend:
    """Return the blend of tuned recipes and, by time, of popularity over three windows."""
    parts: dict[str, dict[str, Any]] = {
        name: {"recipe": recipe.name, **msgspec.to_builtins(recipe)} for name, recipe in recipes.items()
    }
    for window in ("7d", "30d", "90d") if level.timed else ("all",):
        parts[f"popularity_{window}"] = {"recipe": "popularity", "window": window}
    return Blend(parts=parts, protocol=level.protocol, depth=level.k)


def per_request(side: Answers, split: Split, k: int) -> Mapping[str, F64]:
    """Return the metrics of each request."""
    return accuracy(checked("a side", side(split, k), split, k), split.truth, [k])


def against_all(values: list[Mapping[str, F64]], tests: list[Split], level: Level) -> dict[str, float]:
    """Return mean NDCG and recall against all that was hidden: others count items nobody has in train too.

    A split asks for known items only, so its own metrics are higher where many items have a single user.
    """
    k = level.k
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))
    found: dict[str, list[float]] = {f"ndcg_at_{k}": [], f"recall_at_{k}": []}
    for one, split, hidden in zip(values, tests, level.hidden, strict=True):
        asked, everything = np.diff(split.truth.indptr), hidden[split.subjects]
        users = int((hidden > 0).sum())  # whose hidden items are all unknown gets nothing
        less = ideal[np.minimum(asked, k) - 1] / ideal[np.minimum(everything, k) - 1]
        found[f"ndcg_at_{k}"].append(float((one[f"ndcg_at_{k}"] * less).sum()) / users)
        found[f"recall_at_{k}"].append(float((one[f"recall_at_{k}"] * asked / everything).sum()) / users)
    return {metric: float(np.mean(seeds)) for metric, seeds in found.items()}


def difference(ours: F64, theirs: F64) -> Interval:
    """Return the paired difference over the requests of all parts, each taken as one of its own."""
    values = ours - theirs
    means = resampled_means(values[:, None], rng=derive(42, "levels", "bootstrap"))[:, 0]
    return interval(values, means)


def _ours(side: Ours, **fields: Any) -> Answers:
    return _of(side.with_(fields))


def _theirs(side: Theirs, **fields: Any) -> Answers:
    return side.make(**fields).top_many


def _of(recipe: Recipe) -> Answers:
    def top(split: Split, k: int) -> Rows:
        model = train_measured(recipe, split.train, seed=42, progress=Silent())
        assert isinstance(model, Retriever)
        return answers(model, split, k)

    return top


def _means(values: list[Mapping[str, F64]]) -> dict[str, float]:
    return {metric: float(np.mean([one[metric].mean() for one in values])) for metric in values[0]}


def _rivals(level: Level, means: Mapping[str, float], chosen: str) -> list[str]:
    """Return whom the chosen is compared with: by their own test, which can only favour them."""
    groups = [level.peers, [n for n in level.recipes if n != chosen], [POPULAR] if level.timed else []]
    present = [[name for name in group if name in means] for group in groups]
    return [max(group, key=lambda name: means[name]) for group in present if group]
