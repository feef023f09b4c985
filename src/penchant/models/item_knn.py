"""Item neighbours: two items are alike when the same users took both.

    bm25    w_ui = x_ui (k1 + 1) / (k1 (1 - b + b L_i / mean L) + x_ui) · idf_u
    tfidf   w_ui = sqrt(x_ui) · idf_u           idf_u = ln(n_items / (1 + n_u))
    cosine  w_ui = x_ui                         L_i = Σ_u x_ui

    s_ij = w_i·w_j / (|w_i|^(2 (1 - d)) |w_j|^(2 d) + h)

d = .5 gives the cosine, other d the asymmetric one of Aiolli (2013). An item is a document and its users are
the terms, so that users who take everything say little (the reading of the package implicit). With co-counts
and a popularity discount as Amazon Personalize's SIMS has them.
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import Csr, readonly
from penchant.kernel.progress import Progress
from penchant.models.base import Model, card_for
from penchant.models.histories import Weighing, above, at_least
from penchant.models.item_knn_kernels import nearest
from penchant.models.neighbours import NeighbourModel


class ItemKnn(Weighing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nearest ``neighbours`` of each item.

    ``popularity_discount`` d: at .5 (the cosine) both items' popularity counts against a pair, towards 1 only
    that of the neighbour, towards 0 only that of the item asked about. Items with fewer than
    ``min_co_counts`` common users are no neighbours; ``shrinkage`` lets the similarity of little-known pairs
    fade instead. ``k1`` and ``b`` are those of ``bm25``.
    """

    name: ClassVar[str] = "item_knn"

    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    neighbours: int = 100
    popularity_discount: float = 0.5
    min_co_counts: int = 3
    shrinkage: float = 0.0
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "shrinkage", "b", "popularity_discount")
        at_least(self, 1, "neighbours", "min_co_counts")
        above(self, 0, "k1")
        for field in ("popularity_discount", "b"):
            if getattr(self, field) > 1:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be at most 1.")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> NeighbourModel:
        """Find the neighbours. ``rng`` and ``previous`` are not needed: they are exact."""
        progress.start(self.name, 1)
        histories = self.matrix(
            snapshot.interactions, snapshot.n_users, snapshot.n_items, now=snapshot.cutoff
        )
        weights = self.weighted(histories)
        squares = np.bincount(
            weights.indices, weights=weights.data.astype(np.float64) ** 2, minlength=snapshot.n_items
        )
        squares[squares == 0] = 1.0
        found = nearest(
            weights,
            source=(squares ** (1 - self.popularity_discount)).astype(np.float32),
            target=(squares**self.popularity_discount).astype(np.float32),
            k=min(self.neighbours, snapshot.n_items),
            shrinkage=self.shrinkage,
            least=self.min_co_counts,
        )
        progress.advance(note=f"{found.nnz:,} neighbours")
        alone = int((np.diff(found.indptr) == 0).sum())
        return NeighbourModel(
            card=card_for(
                self,
                snapshot,
                metrics={"neighbours": float(found.nnz)},
                notes=[f"{alone:,} items have no neighbours."] if alone else [],
            ),
            items=snapshot.items,
            users=snapshot.users,
            neighbours=found,
            histories=histories,
        )

    def weighted(self, x: Csr) -> Csr:
        """Return w of the module's equations, (n_users, n_items)."""
        if self.similarity == "cosine":
            return x
        n_u = np.diff(x.indptr)
        idf = np.log(x.n_columns / (1.0 + n_u)).clip(min=0.0)
        by_user = np.repeat(idf, n_u)
        if self.similarity == "tfidf":
            w = np.sqrt(x.data) * by_user
        else:
            length = np.bincount(x.indices, weights=x.data, minlength=x.n_columns)
            norm = 1 - self.b + self.b * length / max(float(length.mean()), 1e-30)
            w = x.data * (self.k1 + 1) / (self.k1 * norm[x.indices] + x.data) * by_user
        return Csr(
            indptr=x.indptr, indices=x.indices, data=readonly(w.astype(np.float32)), n_columns=x.n_columns
        )
