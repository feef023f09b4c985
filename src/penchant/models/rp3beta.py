"""RP3beta: where three random steps from an item end, items of many users counted less.

    P_iu = x_ui / L_i        P_uj = x_uj / L_u        L_i = Σ_u x_ui    L_u = Σ_j x_uj
    W_ij = Σ_u P_iu^a P_uj^a / L_j^b

(Paudel, Christoffel, Newell, Bernstein: Updatable, accurate, diverse and scalable recommendations, 2017.)
With y_ui = x_ui^a / L_u^(a/2) the sum is y_i·y_j / L_i^a: the product that item neighbours need too.
"""

from typing import ClassVar

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import Csr, readonly
from penchant.kernel.progress import Progress
from penchant.models.base import Model, card_for
from penchant.models.histories import Weighing, above, at_least
from penchant.models.item_knn_kernels import nearest
from penchant.models.neighbours import NeighbourModel


class Rp3Beta(Weighing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``neighbours`` where a walk from an item ends most often.

    ``walk`` is a, the power of the chances of a step; ``popularity_discount`` is b.
    """

    name: ClassVar[str] = "rp3beta"

    neighbours: int = 200
    walk: float = 1.0
    popularity_discount: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "neighbours")
        at_least(self, 0, "popularity_discount")
        above(self, 0, "walk")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> NeighbourModel:
        """Find the neighbours. ``rng`` and ``previous`` are not needed: they are exact."""
        progress.start(self.name, 1)
        n = snapshot.n_items
        x = self.matrix(snapshot.interactions, snapshot.n_users, n, now=snapshot.cutoff)
        owner = np.repeat(np.arange(x.n_rows), np.diff(x.indptr))
        of_user = np.bincount(owner, weights=x.data, minlength=x.n_rows)
        of_item = np.bincount(x.indices, weights=x.data, minlength=n)
        of_item[of_item == 0] = 1.0
        y = x.data**self.walk / of_user[owner] ** (self.walk / 2)
        found = nearest(
            Csr(indptr=x.indptr, indices=x.indices, data=readonly(y.astype(np.float32)), n_columns=n),
            source=(of_item**self.walk).astype(np.float32),
            target=(of_item**self.popularity_discount).astype(np.float32),
            k=min(self.neighbours, n),
        )
        progress.advance(note=f"{found.nnz:,} neighbours")
        return NeighbourModel(
            card=card_for(self, snapshot, metrics={"neighbours": float(found.nnz)}),
            items=snapshot.items,
            users=snapshot.users,
            neighbours=found,
            histories=x,
        )
