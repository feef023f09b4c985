"""The leaderboard: every recipe of Penchant and its peers on real data, one protocol and one budget for all.

Each side of each set is tuned by the same search with the same number of trials on the same validation part,
its defaults tried first. The blend takes the tuned recipes and learns its weights inside the training part;
by time two stages do so with the three that validation puts first, and with what is said of items.
Nothing is chosen on the test part.

PENCHANT_SETS names some of the sets, comma between them; the picture shows these and what earlier runs stored
of the others. With PENCHANT_TRIALS, a folder, a run that was broken off goes on where it was.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.paired import ROOT, versions
from bench.quality_data import (
    complete_journey,
    globo_news,
    hetrec_lastfm,
    movielens_100k,
    movielens_small,
    online_retail,
)
from bench.quality_page import page
from bench.quality_picture import picture
from bench.quality_sides import OURS, THEIRS, Theirs
from bench.quality_trials import Kept
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split
from penchant.evaluation.leaderboard import Leaderboard, compare
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import answers, checked, split_for
from penchant.evaluation.tuning import Trial, reached_by, search
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Recipe
from penchant.models.blend import Blend
from penchant.models.measure import train_measured
from penchant.models.two_stage import TwoStage

SEED = 42
TRIALS = 8
STORED = ROOT / "bench" / "results" / "quality"

# Gradient steps take more time on the larger sets than all others together; one kNN is enough there.
SLOW = ("bpr", "mf_sgd", "implicit BPR", "LensKit kNN")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A set, a protocol, the list length that decides and, where one is asked, the level to reach."""

    title: str
    source: Callable[[], Snapshot | None]
    protocol: str
    k: int
    bar: float | None = None
    without: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """Return the metric that decides."""
        return f"ndcg_at_{self.k}"

    @property
    def timed(self) -> bool:
        """Return whether times may be learnt from."""
        return self.protocol == "time"


CONTESTS: dict[str, Contest] = {
    "journey": Contest(
        title="Complete Journey, products of 10+ households",
        source=complete_journey,
        protocol="time",
        k=10,
        bar=0.070,
        without=(*SLOW, "recent", "LensKit EASE"),  # ours is the same model; theirs takes minutes a trial
    ),
    "retail": Contest(title="Online Retail II", source=online_retail, protocol="time", k=10, without=SLOW),
    "ml-small": Contest(
        title="MovieLens latest small, ratings 4+", source=movielens_small, protocol="user", k=100
    ),
    "ml-100k": Contest(
        title="MovieLens 100K, ratings 4+", source=movielens_100k, protocol="user", k=100, bar=0.475
    ),
    "lastfm": Contest(title="HetRec 2011 LastFM", source=hetrec_lastfm, protocol="user", k=100, bar=0.405),
    "globo": Contest(
        title="Globo news, every fourth user",
        source=globo_news,
        protocol="time",
        k=10,
        without=(*SLOW, "ease", "recent", "LensKit SLIM", "LensKit ALS"),  # minutes a trial
    ),
}


def main(*, quick: bool) -> dict[str, object]:
    """Run the contests whose data is here."""
    wanted = os.environ.get("PENCHANT_SETS", ",".join(CONTESTS)).split(",")
    found: dict[str, dict[str, Any]] = {}
    for name in wanted[:1] if quick else wanted:
        contest = CONTESTS[name]
        source = contest.source()
        if source is None:
            print(f"  {contest.title} is not here: skipped")
            continue
        found[name] = msgspec.to_builtins(run(name, contest, source, trials=1 if quick else TRIALS))
        if not quick:
            STORED.mkdir(parents=True, exist_ok=True)
            (STORED / f"{name}.json").write_bytes(msgspec.json.encode(found[name]))
    if not quick:
        every = {**_stored(), **found}
        found = {n: every[n] for n in CONTESTS if n in every}
        boards = {CONTESTS[n].title: msgspec.convert(r["leaderboard"], Leaderboard) for n, r in found.items()}
        picture(boards, ROOT / "docs" / "quality.svg")
        page(found, {n: contest.title for n, contest in CONTESTS.items()}, ROOT / "docs" / "leaderboard.md")
    return {
        "bar": "on every set the best recipe above the best peer, surely so on at least half, and the levels "
        "set for three of them",
        "met": bool(found)
        and all(r["above_best_peer"] and r["level_reached"] is not False for r in found.values())
        and 2 * sum(r["surely_above"] for r in found.values()) >= len(found),
        "data": [CONTESTS[name].title for name in found],
        "protocol": f"{TRIALS} trials a side on the validation part, the best tested once",
        "penchant": {n: r["best"] for n, r in found.items()},
        "peer": {n: r["best_peer"] for n, r in found.items()},
        "sets": found,
        "versions": versions("implicit", "scipy"),
    }


def _stored() -> dict[str, dict[str, Any]]:
    files = {name: STORED / f"{name}.json" for name in CONTESTS}
    return {name: msgspec.json.decode(file.read_bytes()) for name, file in files.items() if file.exists()}


def run(name: str, contest: Contest, source: Snapshot, *, trials: int) -> dict[str, Any]:
    """Tune everybody on the validation part, compare on the test part."""
    test = split_for(source, contest.protocol, seed=SEED)
    validation = split_for(source, contest.protocol, seed=SEED, part="validation")
    print(
        f"\n  {contest.title}: {test.description}\n"
        f"  {len(validation)} validation requests, {trials} trials each\n"
        f"  audit: {'; '.join(test.audit)}"
    )
    kept = Kept.of(name, validation)
    ours = {n: _tune(n, contest, validation, trials, kept) for n in OURS if n not in contest.without}
    ours = {n: tried for n, tried in ours.items() if tried}
    recipes = {n: OURS[n].with_(tried[0].fields) for n, tried in ours.items()}
    reached = {n: tried[0].value for n, tried in ours.items()}
    best = sorted(recipes, key=lambda n: -reached[n])[:3]
    made: dict[str, Recipe] = {"blend": _blend(contest, recipes)}
    if contest.timed:
        made["two_stage"] = TwoStage(parts=_parts({n: recipes[n] for n in best}, ("14d",)))
    for n, recipe in made.items():
        reached[n] = kept.remembered(n, lambda _, recipe=recipe: _value(recipe, validation, contest))(
            msgspec.to_builtins(recipe)
        )
        print(f"  {n}: {reached[n]:.4f} on validation", flush=True)
    peers = {
        n: _tune_peer(n, side, contest, validation, trials, kept)
        for n, side in THEIRS.items()
        if _takes_part(n, side, contest, source)
    }
    board = compare(
        {**recipes, **made},
        test,
        at=(contest.k,),
        seed=SEED,
        peers=[THEIRS[n].make(**tried[0].fields) for n, tried in peers.items()],
    )
    print("\n" + "\n".join(f"  {line}" for line in board.text().splitlines()), flush=True)
    return {
        "leaderboard": board,
        "validation": reached | {n: tried[0].value for n, tried in peers.items()},
        "trials": trials,
        "versions": versions("implicit", "scipy"),
        "tuned": {n: tried[0].fields for n, tried in {**ours, **peers}.items()},
        **verdict(board, contest, max(reached, key=lambda n: reached[n])),
    }


def verdict(board: Leaderboard, contest: Contest, chosen: str) -> dict[str, Any]:
    """Say how our recipe that validation chose stands against the best peer."""
    values = {entry.name: entry.metrics[board.metric] for entry in board.entries}
    best_peer = next(entry.name for entry in board.entries if entry.kind == "peer")
    pair = next(d for d in board.differences if {d.first, d.second} == {chosen, best_peer})
    sign = 1 if pair.first == chosen else -1
    low, high = sorted((sign * pair.low, sign * pair.high))
    level = None if contest.bar is None else values[chosen] >= contest.bar
    print(
        f"  chosen on validation: {chosen} {values[chosen]:.4f}; "
        f"best peer {best_peer} {values[best_peer]:.4f}; "
        f"difference {sign * pair.mean:+.4f} [{low:+.4f}, {high:+.4f}], p {pair.p_holm:.3f} after Holm"
    )
    return {
        "best": {"name": chosen, "value": values[chosen]},
        "best_peer": {"name": best_peer, "value": values[best_peer]},
        "difference": {"mean": sign * pair.mean, "low": low, "high": high, "p_holm": pair.p_holm},
        "above_best_peer": values[chosen] > values[best_peer],
        "surely_above": low > 0,
        "level_reached": level,
    }


def _tune(name: str, contest: Contest, validation: Split, trials: int, kept: Kept) -> list[Trial]:
    side = OURS[name]
    space = side.over(contest.timed)
    if not space or (name == "recent" and not contest.timed):
        return []
    reached = reached_by(side.recipe, validation, metric=contest.metric, seed=SEED)
    first = side.first(contest.timed)
    found = search(
        kept.remembered(name, reached), space, trials=trials, rng=derive(SEED, "tune", name), first=[first]
    )
    _say(name, found)
    return found


def _tune_peer(
    name: str, side: Theirs, contest: Contest, validation: Split, trials: int, kept: Kept
) -> list[Trial]:
    def reached(fields: Mapping[str, Any]) -> float:
        lists = checked(name, side.make(**fields).top_many(validation, contest.k), validation, contest.k)
        return float(accuracy(lists, validation.truth, [contest.k])[contest.metric].mean())

    rng = derive(SEED, "tune", "peer", name)
    found = search(kept.remembered(name, reached), side.space, trials=trials, rng=rng, first=[side.first])
    _say(name, found)
    return found


def _takes_part(name: str, side: Theirs, contest: Contest, source: Snapshot) -> bool:
    fits = contest.protocol in side.protocols and source.n_items <= side.most_items
    return side.here() and fits and name not in contest.without


def _blend(contest: Contest, recipes: Mapping[str, Recipe]) -> Blend:
    """Return the blend of all tuned recipes, its weights to be learnt for the metric that decides."""
    parts = _parts(recipes, ("3d", "14d", "30d") if contest.timed else ("all",))
    # On the validation parts of Complete Journey powers of popularity held better from one month to the next.
    mixing = "log" if contest.timed else "linear"
    return Blend(parts=parts, protocol=contest.protocol, depth=contest.k, mixing=mixing)


def _parts(recipes: Mapping[str, Recipe], windows: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return recipes and popularity of some windows as the parts of another recipe."""
    parts = {n.replace(" ", "_"): {"recipe": r.name, **msgspec.to_builtins(r)} for n, r in recipes.items()}
    return parts | {f"popularity_{w}": {"recipe": "popularity", "window": w} for w in windows}


def _value(recipe: Recipe, split: Split, contest: Contest) -> float:
    model = train_measured(recipe, split.train, seed=SEED, progress=Silent())
    lists = answers(model, split, contest.k)  # pyright: ignore[reportArgumentType]  they give items
    return float(accuracy(lists, split.truth, [contest.k])[contest.metric].mean())


def _say(name: str, found: list[Trial]) -> None:
    fields = {k: round(v, 4) if isinstance(v, float) else v for k, v in found[0].fields.items()}
    print(f"  {name}: {found[0].value:.4f} on validation with {fields}", flush=True)
