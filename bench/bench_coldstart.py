"""Cold start on Complete Journey: what a household gets before anybody knows it, and after n baskets.

Time is cut at 1 July. In each split a fifth of the households with demographics are new: nothing of theirs is
in the training part, which is what all others bought before the cut. A new household's baskets after the cut
arrive one by one; after n of them the truth is every product it buys in a later basket and not in those n.
Products are those that at least 10 households of the training part bought. The tail is all but the tenth of
products that most households of the training part bought; tail NDCG is of a ranking without the head, with
the head taken out of the truth. Beside it stands the tail in the whole ranking, where the truth alone is
without the head. The same is asked of product types and of product categories in place of products. Weights,
k0 and how attributes place a household are chosen inside the training part. `bench.cold_ceilings` says what
the ceilings and the frontier are; nothing is chosen by them.
"""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from scipy.stats import t as student

from bench.audience_tasks import data_folder, whole_year
from bench.cold_ceilings import POWERS, frontier, future, own_taste, taught_by
from bench.paired import versions
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.metrics import accuracy
from penchant.kernel.arrays import F32, F64, Bools, Csr, Rows, readonly
from penchant.kernel.arrow import pc
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.lookalike_replay import Replay, without

CUT = float(np.datetime64("2017-07-01", "s").astype(np.int64))
BASKETS = (0, 1, 2, 3, 5, 10)
SPLITS = 5
K = 20
SEGMENT = ("age", "income")
LEVELS = ("product_type", "product_category")  # what is recommended, beside products
PARTS = ("all", "tail", "tail in the whole ranking")
CEILINGS = ("future popularity", "future within age and income", "future by attributes", "own history")
FRONTIER = tuple(f"ours x popularity^{power:g}" for power in POWERS)


def main(*, quick: bool) -> dict[str, object]:
    """Run the splits and compare."""
    year = whole_year()
    splits = 2 if quick else SPLITS
    recipes = {
        "ours": Lookalike(),
        # Only the priors of these are measured.
        "ridge": Lookalike(place="ridge", factors=8, epochs=1),
        "cluster": Lookalike(place="cluster", factors=8, epochs=1),
    }
    rows: list[dict[str, float]] = []
    chosen: list[dict[str, float]] = []
    for seed in range(splits):
        row, metrics = one_split(year, recipes, seed)
        rows.append(row)
        chosen.append(metrics)
        print(
            f"  split {seed + 1}/{splits}: " + ", ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True
        )
    names = list(rows[0])
    table = {name: np.array([row[name] for row in rows]) for name in names}
    cold = {
        f"{name} - {other}, {part}": interval(table[f"{name} {part}"] - table[f"{other} {part}"])
        for name in recipes
        for other in ("popularity", "recent", "segment")
        for part in PARTS
    }
    cold |= {
        f"{name} - popularity, {part}": interval(table[f"{name} {part}"] - table[f"popularity {part}"])
        for name in (*CEILINGS, *FRONTIER)
        for part in PARTS[:2]
    }
    for level in LEVELS:
        cold |= at_level(level, splits)
    for name, value in cold.items():
        print(f"  0 baskets, {name}: {value['mean']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]")
    warm: dict[str, Any] = {}
    for n in BASKETS:
        blend, prior, taste = (float(table[f"{side} {n}"].mean()) for side in ("blend", "prior", "taste"))
        warm[str(n)] = {"blend": blend, "prior": prior, "taste": taste, "gap": blend - max(prior, taste)}
        print(f"  {n} baskets: blend {blend:.4f}, prior {prior:.4f}, taste alone {taste:.4f}")
    worst = min(entry["gap"] for entry in warm.values())
    met = {
        "never below popularity": cold["ours - popularity, all"]["low"] >= 0,
        "tail at least +.03": cold["ours - popularity, tail"]["mean"] >= 0.03,
        "blend >= max(prior, taste) - .002": worst >= -0.002,
    }
    print("  " + ", ".join(f"{name}: {'met' if ok else 'NOT met'}" for name, ok in met.items()))
    return {
        "bar": "0 baskets: never below popularity (interval), tail +.03; blend >= max(prior, CF) - .002",
        "met": all(met.values()),
        "bars": met,
        "data": "Complete Journey, products of at least 10 households before the cut",
        "protocol": (__doc__ or "").replace("\n", " "),
        "cold": cold,
        "warm": warm,
        "means": {name: float(values.mean()) for name, values in table.items()},
        "chosen": chosen,
        "versions": versions("scipy"),
    }


def interval(differences: F64) -> dict[str, float]:
    """Return the mean and its 95% interval over splits by Nadeau and Bengio (2003).

    The splits share households, so the variance of the mean is (1/n + test/train) s², not s²/n.
    """
    n = len(differences)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    half = float(student.ppf(0.975, n - 1)) * sd * float(np.sqrt(1 / n + 0.2 / 0.8))
    return {"mean": mean, "low": mean - half, "high": mean + half, "wins": float((differences > 0).sum())}


def one_split(
    year: Snapshot, recipes: dict[str, Lookalike], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each number of one split by name, and what the replay of the ridge chose."""
    replay = new_households(year, seed)
    train = replay.train
    head = head_of(train)
    truth = replay.after(0)[2]
    models = {
        name: recipe.train(train, rng=derive(seed, name), progress=Silent())
        for name, recipe in recipes.items()
    }
    row: dict[str, float] = {}
    shared = {"popularity": popularity(train), "recent": popularity(train, days=30)}
    for name, scores in shared.items():
        tell(row, name, np.repeat(scores[None], len(replay.new), axis=0), truth, head)
    tell(row, "segment", segment(train, replay.new), truth, head)
    for name, model in models.items():
        tell(row, name, scores_of(model, replay), truth, head)
    for name, scores in beyond(year, replay, models["ours"], seed).items():
        tell(row, name, scores, truth, head)
    for n in BASKETS:
        row |= warm(models["ours"], replay, n)
    return row, {**models["ours"].card.metrics, "k0": models["ours"].k0}


def beyond(year: Snapshot, replay: Replay, ours: LookalikeModel, seed: int) -> dict[str, F64]:
    """Return the scores of each ceiling and of each point of the frontier, (n_new, n_items)."""
    others = future(year, replay)
    ceilings = (
        np.repeat(popularity(others)[None], len(replay.new), axis=0),
        segment(others, replay.new),
        scores_of(taught_by(others, seed), replay),
        own_taste(ours, year, replay),
    )
    traded = frontier(scores_of(ours, replay), popularity(replay.train))
    return dict(zip((*CEILINGS, *FRONTIER), (*ceilings, *traded), strict=True))


def at_level(level: str, splits: int) -> dict[str, dict[str, float]]:
    """Return ours minus popularity with no basket known where ``level`` is recommended, not products."""
    year, rows = year_of(level), list[dict[str, float]]()
    for seed in range(splits):
        replay = new_households(year, seed)
        model = Lookalike(factors=8).train(replay.train, rng=derive(seed, "ours"), progress=Silent())
        head, truth, row = head_of(replay.train), replay.after(0)[2], dict[str, float]()
        shared = np.repeat(popularity(replay.train)[None], len(replay.new), axis=0)
        tell(row, "popularity", shared, truth, head)
        tell(row, "ours", scores_of(model, replay), truth, head)
        rows.append(row)
    return {
        f"ours - popularity, {level}, {part}": interval(
            np.array([row[f"ours {part}"] - row[f"popularity {part}"] for row in rows])
        )
        for part in PARTS
    }


def year_of(level: str) -> Snapshot:
    """Return the year with the values of a column of the products in place of products."""
    folder = data_folder()
    with duckdb.connect() as connection:
        interactions = connection.sql(
            f"SELECT household_id::VARCHAR AS user_id, {level} AS item_id, 'purchase' AS event_type,"
            " epoch(transaction_timestamp)::DOUBLE AS timestamp"
            f" FROM '{folder}/transactions.parquet' JOIN '{folder}/products.parquet' USING (product_id)"
            f" WHERE {level} IS NOT NULL"
        ).to_arrow_table()
        users = connection.sql(
            "SELECT household_id::VARCHAR AS user_id, * EXCLUDE (household_id)"
            f" FROM '{folder}/demographics.parquet'"
        ).to_arrow_table()
    return build_snapshot(interactions, users=users)


def scores_of(model: LookalikeModel, replay: Replay) -> F64:
    """Return the scores of all items (n, n_items) for the new households, of whom nothing else is known."""
    everything = np.arange(replay.train.n_items, dtype=np.int32)
    vectors = model.vectors(Queries(users=replay.new, now=replay.train.cutoff))
    scores = np.stack([model.blend.index.score(v, everything) for v in vectors]).astype(np.float64)
    return np.nan_to_num(scores, nan=-np.inf)


def warm(model: LookalikeModel, replay: Replay, n: int) -> dict[str, float]:
    """Return NDCG after n baskets of the blend, the prior alone and the own taste alone.

    Without a history the own taste knows nobody and falls back to popularity, as a feed would.
    """
    history, shown, truth = replay.after(n)
    queries = Queries(users=replay.new, histories=history, now=replay.train.cutoff)
    prior, own = model.prior[replay.new], model.taste.vectors(queries)
    nobody = np.zeros_like(prior)
    nobody[:, 0] = ~own.any(axis=1)
    n_items = np.diff(shown.indptr)
    sides: dict[str, F32] = {
        "blend": model.vectors(queries),
        "prior": model.blend.vectors(np.zeros_like(own), prior, n_items, np.inf),
        "taste": model.blend.vectors(own, nobody, n_items, 0.0),
    }
    return {
        f"{name} {n}": ndcg(model.blend.index.top_many(vectors, K, exclude=shown).items, truth)
        for name, vectors in sides.items()
    }


def new_households(year: Snapshot, seed: int) -> Replay:
    """Make a fifth of the households with demographics new, in a catalogue that the training part knows."""
    described = np.asarray(year.user_table["age"].combine_chunks().is_valid())
    rng = derive(seed, "bench", "coldstart")
    new = np.sort(rng.choice(np.flatnonzero(described), int(0.2 * described.sum()), replace=False))
    cold = np.zeros(year.n_users, np.bool_)
    cold[new] = True
    events = year.interactions
    train = events.select((events.timestamp < CUT) & ~cold[events.user])
    pairs = year.with_interactions(train).pairs()
    kept = np.bincount(pairs.indices, minlength=year.n_items) >= 10
    known = in_catalogue(year, train.select(kept[train.item]), kept)
    later = events.select((events.timestamp >= CUT) & cold[events.user] & kept[events.item])
    place = np.full(year.n_users, -1, np.int32)
    place[new] = np.arange(len(new), dtype=np.int32)
    later = later.mapped(users=place, items=known.items.rows(year.items.to_arrow()))
    later = later.select(np.lexsort((later.timestamp, later.user)))
    return Replay(
        train=known,
        new=known.users.rows(year.users.to_arrow())[new],
        later=later,
        session=readonly(baskets(later)),
    )


def in_catalogue(year: Snapshot, events: Interactions, kept: Bools) -> Snapshot:
    """Return these interactions of the year in a catalogue of the ``kept`` products alone."""
    table = pa.table(
        {
            "user_id": year.users.to_arrow().take(pa.array(events.user)),
            "item_id": year.items.to_arrow().take(pa.array(events.item)),
            "timestamp": events.timestamp,
        }
    )
    items = year.item_table.filter(pa.array(kept))
    built = build_snapshot(table, users=year.user_table, items=items)
    return built.with_interactions(built.interactions, cutoff=CUT)


def baskets(events: Interactions) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number each household's different times from 0."""
    out = np.zeros(len(events), np.int64)
    for user in np.unique(events.user):
        own = events.user == user
        out[own] = np.unique(events.timestamp[own], return_inverse=True)[1]
    return out


def head_of(train: Snapshot) -> Bools:
    """Return the tenth of the products bought in training that most households bought."""
    count = np.bincount(train.pairs().indices, minlength=train.n_items)
    head = np.zeros(train.n_items, np.bool_)
    head[np.argsort(-count, kind="stable")[: int((count > 0).sum()) // 10]] = True
    return head


def popularity(train: Snapshot, *, days: float | None = None, users: Bools | None = None) -> F64:
    """Return how many households bought each product, in the last days or ever, of all or of some users."""
    events = train.interactions
    keep = np.ones(len(events), np.bool_) if days is None else events.timestamp >= train.cutoff - days * DAY
    if users is not None:
        keep &= users[events.user]
    pairs = train.with_interactions(events.select(keep)).pairs()
    return np.bincount(pairs.indices, minlength=train.n_items).astype(np.float64)


def segment(train: Snapshot, new: Rows) -> F64:
    """Return the popularity among households of the same age and income, plus a little of everybody's."""
    parts = [pc.fill_null(train.user_table[name].combine_chunks().cast(pa.string()), "") for name in SEGMENT]
    label = np.array(["/".join(map(str, row)) for row in zip(*(p.to_pylist() for p in parts), strict=True)])
    usual = popularity(train) / train.n_users
    counts = {name: popularity(train, users=label == name) for name in np.unique(label[new])}
    return np.stack([counts[name] + usual for name in label[new]])


def tell(row: dict[str, float], name: str, scores: F64, truth: Csr, head: Bools) -> None:
    """Add NDCG@20 over all products and over the tail."""
    rare = without(truth, head)
    row[f"{name} all"] = ndcg(best(scores), truth)
    row[f"{name} tail"] = ndcg(best(np.where(head, -np.inf, scores)), rare)
    row[f"{name} {PARTS[2]}"] = ndcg(best(scores), rare)


def best(scores: F64) -> Rows:
    """Return the K best rows of each request, ties in row order."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)


def ndcg(lists: Rows, truth: Csr) -> float:
    """Return the mean NDCG@20 over households with something to find."""
    some = np.flatnonzero(np.diff(truth.indptr)).astype(np.int32)
    return float(accuracy(lists[some], truth.take(some), [K])[f"ndcg_at_{K}"].mean())
