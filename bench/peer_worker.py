"""Runs in the Python of RecTools and LensKit, whose pins (numpy 1) the environment of Penchant cannot hold.

A request is 8 bytes of length and an .npz: the name of a function below, its settings, what to train on, the
histories to answer and what each must not get. So is the answer: lists, and the CPU seconds and memory of
training and answering, without those of loading the libraries.
"""

import io
import json
import os
import resource
import struct
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

BLOCK = 64
Scores = Callable[[csr_matrix], Any]  # of some histories, (rows, n_items), NaN = cannot


def main() -> None:
    own, sys.stdout = sys.stdout.buffer, sys.stderr  # what libraries print must not stand among the answers
    warnings.simplefilter("ignore")
    while head := sys.stdin.buffer.read(8):
        with np.load(io.BytesIO(sys.stdin.buffer.read(*struct.unpack("<q", head)))) as given:
            told = dict(given)
        scorer, settings = SCORERS[str(told["kind"])], json.loads(str(told["settings"]))
        begun = time.process_time()
        lists = best(scorer(matrix(told, "train"), **settings), told)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out = io.BytesIO()
        np.savez(out, lists=lists, cpu_seconds=time.process_time() - begun, peak_mb=peak / 1024)
        own.write(struct.pack("<q", out.tell()) + out.getvalue())
        own.flush()


def matrix(told: dict[str, Any], name: str) -> csr_matrix:
    parts = told[f"{name}_data"], told[f"{name}_indices"], told[f"{name}_indptr"]
    return csr_matrix(parts, shape=(len(parts[2]) - 1, int(told["n_items"])))


def best(scores: Scores, told: dict[str, Any]) -> Any:
    """Return the best k of each history, -1 = nothing."""
    histories, exclude, k = matrix(told, "histories"), matrix(told, "exclude"), int(told["k"])
    lists = np.full((histories.shape[0], k), -1, np.int32)
    for start in range(0, histories.shape[0], BLOCK):
        found = scores(histories[start : start + BLOCK])
        found = np.where(np.isnan(found), -np.inf, found)
        found[exclude[start : start + BLOCK].nonzero()] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        good = np.isfinite(np.take_along_axis(found, order, axis=1))
        lists[start : start + BLOCK] = np.where(good, order, -1)
    return lists


def rectools_ease(train: csr_matrix, regularization: float) -> Scores:
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    pairs = train.tocoo()
    frame = pd.DataFrame(
        {
            Columns.User: pairs.row,
            Columns.Item: pairs.col,
            Columns.Weight: pairs.data,
            Columns.Datetime: pd.Timestamp("2020-01-01"),
        }
    )
    data = Dataset.construct(frame)
    model = EASEModel(regularization=regularization)
    model.fit(data)
    items = data.item_id_map.external_ids.astype(np.int64)  # its own numbers are in order of first appearance

    def scores(histories: csr_matrix) -> Any:
        out = np.full(histories.shape, np.nan)
        out[:, items] = histories[:, items] @ model.weight
        return out

    return scores


def lenskit_als(train: csr_matrix, **settings: Any) -> Scores:
    from lenskit.als import ImplicitMFScorer

    return lenskit(ImplicitMFScorer(use_ratings=True, **settings), train)


def lenskit_ease(train: csr_matrix, **settings: Any) -> Scores:
    from lenskit.knn.ease import EASEScorer

    return lenskit(EASEScorer(**settings), train)


def lenskit_knn(train: csr_matrix, **settings: Any) -> Scores:
    from lenskit.knn import ItemKNNScorer

    return lenskit(ItemKNNScorer(feedback="implicit", **settings), train)


def lenskit_slim(train: csr_matrix, **settings: Any) -> Scores:
    from lenskit.knn.slim import SLIMScorer

    return lenskit(SLIMScorer(**settings), train)


def lenskit(scorer: Any, train: csr_matrix) -> Scores:
    import pandas as pd
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.training import TrainingOptions

    pairs = train.tocoo()
    frame = pd.DataFrame({"user_id": pairs.row, "item_id": pairs.col, "rating": pairs.data})
    data = from_interactions_df(frame)
    scorer.train(data, TrainingOptions(rng=42))
    items = data.items.ids().astype(np.int64)
    everything = ItemList(item_ids=items)

    def scores(histories: csr_matrix) -> Any:
        out = np.full(histories.shape, np.nan)
        for i in range(histories.shape[0]):
            row = histories[i]
            trained = np.isin(row.indices, items)
            known = ItemList(item_ids=row.indices[trained].astype(np.int64), rating=row.data[trained])
            query = RecQuery(history_items=known, user_items=known)
            out[i, items] = scorer(query, everything).scores("numpy")
        return out

    return scores


SCORERS = {f.__name__: f for f in (rectools_ease, lenskit_als, lenskit_ease, lenskit_knn, lenskit_slim)}

if __name__ == "__main__":
    os.environ.setdefault("LK_NUM_THREADS", "2")
    main()
