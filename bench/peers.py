"""Recommenders of other packages, in the form `penchant.evaluation.leaderboard` compares with."""

import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from penchant.data.interactions import Interactions
from penchant.data.splits import Split
from penchant.kernel.arrays import Csr, Rows
from penchant.kernel.clock import DAY

Weights = Literal["binary", "log", "count"]


@dataclass(frozen=True, kw_only=True)
class ImplicitAls:
    """ALS of the package implicit, used as its documentation does: counts, weighted, times ``alpha``.

    ``weights``: ``binary`` 1, ``log`` 1 + ln(count), ``count``. ``half_life_days`` (0 = never) lets a count
    decay before it is weighted, which implicit leaves to its user: with it, the peer gets the same matrix
    that Penchant's own recipe may learn from.
    """

    factors: int = 64
    regularization: float = 0.01
    alpha: float = 1.0
    iterations: int = 15
    weights: Weights = "log"
    half_life_days: float = 0.0
    seed: int = 42
    name: str = field(default="implicit ALS")

    def top_many(self, split: Split, k: int) -> Rows:
        """Train and answer; users that the training part hides are folded in from what they show."""
        model = self._model()
        train = self._matrix(split, split.train.interactions, split.train.n_users)
        with threadpool_limits(limits=1, user_api="blas"):  # as implicit's own warning asks for
            model.fit(train, show_progress=False)
        if (split.users >= 0).all():
            asked, users, fold = train[split.subjects], split.subjects, False
        else:
            asked, users, fold = self._matrix(split, split.histories, len(split)), np.arange(len(split)), True
        lists, scores = model.recommend(
            users, asked, N=k, filter_already_liked_items=split.exclude.nnz > 0, recalculate_user=fold
        )
        # implicit fills a list that runs dry with the items it was told to leave out, at the lowest score.
        return np.where(scores > np.finfo(np.float32).min / 2, lists, -1).astype(np.int32)

    def _model(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from implicit.cpu.als import AlternatingLeastSquares

            return AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                random_state=self.seed,
            )

    def _matrix(self, split: Split, events: Interactions, n_users: int) -> csr_matrix:
        return weighted(split, events, n_users, self.weights, self.half_life_days)


@dataclass(frozen=True, kw_only=True)
class ImplicitKnn:
    """Item neighbours of the package implicit."""

    kind: Literal["cosine", "tfidf", "bm25"] = "bm25"
    neighbours: int = 20
    k1: float = 1.2
    b: float = 0.75
    weights: Weights = "count"
    name: str = field(default="implicit kNN")

    def top_many(self, split: Split, k: int) -> Rows:
        """Train and answer."""
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

        model: Any
        if self.kind == "bm25":
            model = BM25Recommender(K=self.neighbours, K1=self.k1, B=self.b)
        else:
            model = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender}[self.kind](K=self.neighbours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it converts formats with a warning
            model.fit(
                weighted(split, split.train.interactions, split.train.n_users, self.weights),
                show_progress=False,
            )
        asked = weighted(split, split.histories, len(split), self.weights)
        out = np.full((len(split), k), -1, np.int32)
        for i in range(len(split)):  # its own batches stop at the first user with fewer than k items
            lists, scores = model.recommend(
                i, asked[i], N=k, filter_already_liked_items=split.exclude.nnz > 0
            )
            good = lists[scores > 0]
            out[i, : len(good)] = good
        return out


@dataclass(frozen=True, kw_only=True)
class ImplicitBpr:
    """BPR of the package implicit, for users it was trained with."""

    factors: int = 96
    iterations: int = 100
    learning_rate: float = 0.01
    regularization: float = 0.01
    seed: int = 42
    name: str = field(default="implicit BPR")

    def top_many(self, split: Split, k: int) -> Rows:
        """Train and answer."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model: Any = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            random_state=self.seed,
            num_threads=1,  # with more its result is another each time
        )
        train = weighted(split, split.train.interactions, split.train.n_users, "binary")
        model.fit(train, show_progress=False)
        lists, scores = model.recommend(
            split.subjects, train[split.subjects], N=k, filter_already_liked_items=split.exclude.nnz > 0
        )
        return np.where(scores > np.finfo(np.float32).min / 2, lists, -1).astype(np.int32)


def weighted(
    split: Split, events: Interactions, n_users: int, weights: Weights, half_life_days: float = 0.0
) -> csr_matrix:
    """Return the (n_users, n_items) matrix a peer learns from."""
    age = np.maximum(split.now - events.timestamp, 0.0) / DAY
    each = 0.5 ** (age / half_life_days) if half_life_days else np.ones(len(events))
    pairs: Csr = events.pairs(each.astype(np.float32), n_users=n_users, n_items=split.train.n_items)
    value = {
        "binary": np.ones(pairs.nnz),
        "log": 1 + np.log(np.maximum(pairs.data, 1.0)) if not half_life_days else np.log1p(pairs.data),
        "count": pairs.data,
    }[weights]
    shape = (pairs.n_rows, pairs.n_columns)
    # implicit's kernels take writeable arrays only.
    return csr_matrix((value.astype(np.float32), pairs.indices.copy(), pairs.indptr.copy()), shape=shape)
