"""Quality on Complete Journey: who finds the products a household will buy for the first time.

Protocol ``time``: one global cut before the last tenth of the interactions; warm households; products new to
the household and known before the cut; products that at least ten households bought. Penchant's ``ials`` and
the ALS of the package implicit are tuned by the same search with the same number of trials on the same
validation part, cut the same way from the end of the training part. Nothing is chosen on the test part.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from bench.paired import versions
from bench.peers import ImplicitAls
from bench.quality_data import complete_journey, hetrec_lastfm, movielens_small
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split
from penchant.evaluation.leaderboard import Leaderboard, compare
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import checked, split_for
from penchant.evaluation.tuning import Choice, Range, Space, Trial, search, tune
from penchant.kernel.seeds import derive
from penchant.models.ials import Ials

SEED = 42
TRIALS = 20
INFORMATION_TRIALS = 10
SEEDS = (42, 43, 44)
FACTORS = Choice((16, 32, 48, 64, 96))
EPOCHS = Choice((6, 9, 12, 15))

# Both sides may choose size, length, weights and regularisation over wide ranges. On Complete Journey both
# begin at the best setting that earlier searches on its validation part had found.
OURS: Space = {
    "factors": FACTORS,
    "epochs": EPOCHS,
    "alpha": Range(0.05, 1.0),
    "unobserved_weight": Range(0.03, 10.0),
    "regularization": Range(0.01, 1.0),
    "frequency_exponent": Choice((0.25, 0.5, 0.75)),
}
PEER: Space = {
    "factors": FACTORS,
    "iterations": EPOCHS,
    "alpha": Range(0.1, 20.0),
    "regularization": Range(0.01, 300.0),
    "weights": Choice(("binary", "log", "count")),
}
# The defaults of implicit 0.7.3 (96 factors for its 100), and counts as its documentation takes them.
PEER_DEFAULTS: Mapping[str, Any] = {
    "factors": 96,
    "iterations": 15,
    "alpha": 1.0,
    "regularization": 0.01,
    "weights": "count",
}
# Where there are times, ours may let old purchases fade; the peer may too, in a row of its own.
OURS_TIMED: Space = {**OURS, "half_life": Choice(("", "360d", "180d", "90d", "60d", "45d", "30d"))}
PEER_TIMED: Space = {**PEER, "half_life_days": Choice((0.0, 360.0, 180.0, 90.0, 60.0, 45.0, 30.0))}
OURS_FIRST: Mapping[str, Any] = {
    "factors": 96,
    "epochs": 9,
    "alpha": 0.45,
    "unobserved_weight": 3.0,
    "regularization": 0.11,
    "frequency_exponent": 0.5,
    "half_life": "60d",
}
PEER_FIRST: Mapping[str, Any] = {
    "factors": 64,
    "iterations": 15,
    "alpha": 1.0,
    "regularization": 30.0,
    "weights": "log",
}


def main(*, quick: bool) -> dict[str, object]:
    """Run the contest on Complete Journey and, for information, smaller sets where they are at hand."""
    trials, few = (3, 2) if quick else (TRIALS, INFORMATION_TRIALS)
    bar = contest(
        complete_journey(households=200 if quick else 10),
        "time",
        trials=trials,
        at=(10,),
        timed=True,
        known=True,
    )
    board = bar["leaderboard"]
    told: dict[str, Any] = {}
    for name, source, protocol, at, timed in (
        ("MovieLens latest small, ratings of 4 and more", movielens_small(), "user", (100, 20, 50), False),
        ("MovieLens latest small, ratings of 4 and more", movielens_small(), "time", (10,), True),
        ("HetRec 2011 LastFM", hetrec_lastfm(), "user", (100, 20, 50), False),
    ):
        if source is None:
            print(f"  {name} is not here: skipped")
            continue
        print(f"\n  For information: {name}, {protocol}")
        told[f"{name}, {protocol}"] = plain(contest(source, protocol, trials=few, at=at, timed=timed))
    return {
        "bar": "ials above both popularity baselines and above implicit's ALS, tuned with the same budget",
        "met": all(above(board, other) for other in ("popularity (all time)", "popularity (30 days)"))
        and value(board, "ials") > value(board, "implicit ALS"),
        "certain": {
            other: above(board, other)
            for other in ("popularity (all time)", "popularity (30 days)", "implicit ALS")
        },
        "data": "Complete Journey: every transaction line of products bought by at least "
        f"{200 if quick else 10} households",
        "penchant": {"ndcg_at_10": value(board, "ials")},
        "peer": {"ndcg_at_10": value(board, "implicit ALS")},
        "ratio": {"ndcg_at_10": {"median": value(board, "implicit ALS") / value(board, "ials")}},
        **plain(bar),
        "information": told,
        "versions": versions("implicit", "scipy"),
    }


def contest(
    source: Snapshot,
    protocol: str,
    *,
    trials: int,
    at: tuple[int, ...],
    timed: bool,
    known: bool = False,
) -> dict[str, Any]:
    """Tune both sides on the validation part, then compare them on the test part.

    Where a good setting is ``known`` for both, each begins with its own; else with its defaults.
    """
    test = split_for(source, protocol, seed=SEED)
    validation = split_for(source, protocol, seed=SEED, part="validation")
    metric = f"ndcg_at_{at[0]}"
    print(f"  {test.description}\n  tuning, {trials} trials each, {len(validation)} validation requests")
    own, theirs = (OURS_FIRST, PEER_FIRST) if known else (_defaults(Ials(), timed), PEER_DEFAULTS)
    ours = tune(
        Ials(),
        OURS_TIMED if timed else OURS,
        validation,
        trials=trials,
        rng=derive(SEED, "tune", "ials"),
        metric=metric,
        seed=SEED,
        first=[own],
    )
    _say("ials", ours)
    peers: dict[str, list[Trial]] = {"implicit ALS": _tune_peer(validation, PEER, theirs, trials, metric)}
    if timed:
        fading = {**theirs, "half_life_days": 0.0}
        peers["implicit ALS, fading counts"] = _tune_peer(validation, PEER_TIMED, fading, trials, metric)
    for name, found in peers.items():
        _say(name, found)
    best = msgspec.structs.replace(Ials(), **ours[0].fields)
    board = compare(
        {"ials": best, "ials (defaults)": Ials()},
        test,
        at=at,
        seed=SEED,
        peers=[ImplicitAls(name=name, **found[0].fields) for name, found in peers.items()],
    )
    print("\n" + "\n".join(f"  {line}" for line in board.text().splitlines()))
    seeds = {
        "ials": [value(compare({"ials": best}, test, at=at, seed=seed), "ials") for seed in SEEDS],
        "implicit ALS": [
            peer_value(test, {**peers["implicit ALS"][0].fields, "seed": seed}, metric) for seed in SEEDS
        ],
    }
    for name, values in seeds.items():
        print(f"  {metric} of {name} from {len(SEEDS)} starts: {_list(values)}, mean {np.mean(values):.4f}")
    return {
        "protocol": test.description,
        "trials": trials,
        "tuned": {name: msgspec.to_builtins(found[:5]) for name, found in {"ials": ours, **peers}.items()},
        "seeds": seeds,
        "leaderboard": board,
    }


def _defaults(recipe: Ials, timed: bool) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in (OURS_TIMED if timed else OURS)}


def _tune_peer(
    validation: Split, space: Space, first: Mapping[str, Any], trials: int, metric: str
) -> list[Trial]:
    return search(
        lambda fields: peer_value(validation, fields, metric),
        space,
        trials=trials,
        rng=derive(SEED, "tune", "implicit"),
        first=[first],
    )


def peer_value(split: Split, fields: Mapping[str, Any], metric: str) -> float:
    """Train implicit's ALS and return its mean ``metric``."""
    k = int(metric.rpartition("_")[2])
    lists = checked("implicit ALS", ImplicitAls(**fields).top_many(split, k), split, k)
    return float(accuracy(lists, split.truth, [k])[metric].mean())


def value(board: Leaderboard, name: str) -> float:
    """Return an entry's value of the table's metric."""
    return next(entry.metrics[board.metric] for entry in board.entries if entry.name == name)


def above(board: Leaderboard, other: str) -> bool:
    """Return whether ``ials`` is better than ``other`` beyond chance, after Holm's correction."""
    found = [d for d in board.differences if (d.first, d.second) == ("ials", other)]
    return any(d.low > 0 and d.p_holm < 1 - board.level for d in found)


def plain(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its leaderboard as plain values."""
    return {**result, "leaderboard": msgspec.to_builtins(result["leaderboard"])}


def _say(name: str, found: list[Trial]) -> None:
    fields = {k: round(v, 4) if isinstance(v, float) else v for k, v in found[0].fields.items()}
    print(f"  {name}: {found[0].value:.4f} on validation with {fields}", flush=True)


def _list(values: list[float]) -> str:
    return ", ".join(f"{v:.4f}" for v in values)
