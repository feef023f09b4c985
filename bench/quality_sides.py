"""Who takes part in the quality benchmark, and over what each is tuned: as many trials for everybody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.peers import ImplicitAls, ImplicitBpr, ImplicitKnn
from bench.peers_elsewhere import elsewhere, here
from penchant.evaluation.protocols import Peer
from penchant.evaluation.tuning import Choice, Range, Space
from penchant.models.base import Recipe
from penchant.models.ease import Ease
from penchant.models.ials import Ials
from penchant.models.item_knn import ItemKnn
from penchant.models.mf_sgd import Bpr, MfSgd
from penchant.models.popularity import Popularity
from penchant.models.recent import Recent
from penchant.models.rp3beta import Rp3Beta

FACTORS = Choice((16, 32, 48, 64, 96))
EPOCHS = Choice((6, 9, 12, 15))
WEIGHTS = Choice(("binary", "log", "count"))
NEIGHBOURS = Choice((20, 50, 100, 200, 400))
FADING = Choice(("", "360d", "180d", "90d", "60d", "45d", "30d"))


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A recipe and the fields it is tuned over; ``timed`` ones only where there are times."""

    recipe: Recipe
    space: Space
    timed: Space = field(default_factory=dict[str, Any])

    def over(self, timed: bool) -> Space:
        """Return the fields to tune."""
        return {**self.space, **(self.timed if timed else {})}

    def first(self, timed: bool) -> dict[str, Any]:
        """Return the recipe's own defaults, which are tried first."""
        return {name: getattr(self.recipe, name) for name in self.over(timed)}

    def with_(self, fields: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other fields."""
        return msgspec.structs.replace(self.recipe, **fields)  # pyright: ignore[reportArgumentType]  a struct


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A peer, the fields it is tuned over and the defaults of its package."""

    make: Callable[..., Peer]
    space: Space
    first: Mapping[str, Any]
    protocols: tuple[str, ...] = ("time", "user")
    most_items: int = 1_000_000
    here: Callable[[], bool] = lambda: True


_EASE: Space = {
    "regularization": Range(5.0, 5000.0),
    "dropout": Choice((0.0, 0.2, 0.4, 0.6, 0.75)),
    "alpha": Choice((0.0, 0.25, 0.5)),
}
_SGD: Space = {
    "factors": Choice((16, 32, 48, 64)),
    "epochs": Choice((10, 20, 30)),
    "rate": Range(0.01, 0.3),
    "regularization": Range(0.0003, 0.1),
}
OURS: dict[str, Ours] = {
    "ials": Ours(
        recipe=Ials(),
        space={
            "factors": FACTORS,
            "epochs": EPOCHS,
            "alpha": Range(0.05, 1.0),
            "unobserved_weight": Range(0.03, 10.0),
            "regularization": Range(0.01, 1.0),
            "frequency_exponent": Choice((0.25, 0.5, 0.75)),
        },
        timed={"half_life": FADING},
    ),
    "ease": Ours(recipe=Ease(), space=_EASE, timed={"half_life": FADING}),
    "recent": Ours(
        recipe=Recent(),
        space=_EASE,
        timed={
            "decay": Choice((0.8, 0.9, 0.95, 0.98, 0.99, 0.999)),
            "markov": Range(0.01, 3.0),
        },
    ),
    "item_knn": Ours(
        recipe=ItemKnn(),
        space={
            "similarity": Choice(("cosine", "tfidf", "bm25")),
            "neighbours": NEIGHBOURS,
            "popularity_discount": Range(0.2, 0.8, log=False),
            "min_co_counts": Choice((1, 2, 3)),
            "shrinkage": Range(0.1, 100.0),
            "alpha": Choice((0.0, 0.25, 0.5)),
        },
        timed={"half_life": FADING},
    ),
    "rp3beta": Ours(
        recipe=Rp3Beta(),
        space={
            "neighbours": NEIGHBOURS,
            "walk": Range(0.3, 1.5),
            "popularity_discount": Range(0.0, 1.0, log=False),
            "alpha": Choice((0.0, 0.25, 0.5)),
        },
        timed={"half_life": FADING},
    ),
    "bpr": Ours(recipe=Bpr(), space={**_SGD, "negatives": Choice((1, 4, 8))}),
    "mf_sgd": Ours(
        recipe=MfSgd(epochs=20, negatives=8),  # its defaults take eight times as long
        space={
            **_SGD,
            "loss": Choice(("bpr", "logistic", "softmax")),
            "negatives": Choice((4, 8, 16)),
        },
    ),
    "popularity (tuned)": Ours(
        recipe=Popularity(window="14d"),
        space={},
        timed={"window": Choice(("1h", "6h", "1d", "3d", "7d", "14d", "21d", "60d"))},
    ),
}

THEIRS: dict[str, Theirs] = {
    # The defaults of implicit 0.7.3 (96 factors for its 100), and counts as its documentation takes them.
    "implicit ALS": Theirs(
        make=ImplicitAls,
        space={
            "factors": FACTORS,
            "iterations": EPOCHS,
            "alpha": Range(0.1, 20.0),
            "regularization": Range(0.01, 300.0),
            "weights": WEIGHTS,
        },
        first={"factors": 96, "iterations": 15, "alpha": 1.0, "regularization": 0.01, "weights": "count"},
    ),
    "implicit kNN": Theirs(
        make=ImplicitKnn,
        space={
            "kind": Choice(("cosine", "tfidf", "bm25")),
            "neighbours": NEIGHBOURS,
            "k1": Range(0.3, 200.0),
            "b": Range(0.0, 1.0, log=False),
            "weights": WEIGHTS,
        },
        first={"kind": "bm25", "neighbours": 20, "k1": 1.2, "b": 0.75, "weights": "count"},
    ),
    "implicit BPR": Theirs(
        make=ImplicitBpr,
        space={
            "factors": FACTORS,
            "iterations": Choice((50, 100, 200)),
            "learning_rate": Range(0.003, 0.1),
            "regularization": Range(0.0003, 0.1),
        },
        first={"factors": 96, "iterations": 100, "learning_rate": 0.01, "regularization": 0.01},
        protocols=("time",),  # it cannot fold in users that training did not know
    ),
    "RecTools EASE": Theirs(
        make=elsewhere("RecTools EASE", "rectools_ease"),
        space={"regularization": Range(5.0, 5000.0), "weights": WEIGHTS},
        first={"regularization": 500.0, "weights": "binary"},
        most_items=2_000,  # it inverts in double precision; LensKit's is the same recipe
        here=here,
    ),
    "LensKit EASE": Theirs(
        make=elsewhere("LensKit EASE", "lenskit_ease"),
        space={"regularization": Range(5.0, 5000.0)},
        first={"regularization": 1.0},
        most_items=10_000,
        here=here,
    ),
    "LensKit ALS": Theirs(
        make=elsewhere("LensKit ALS", "lenskit_als"),
        space={
            "embedding_size": FACTORS,
            "epochs": EPOCHS,
            "weight": Range(0.1, 100.0),
            "regularization": Range(0.01, 300.0),
            "weights": WEIGHTS,
        },
        # Its own are 50 and 10.
        first={
            "embedding_size": 48,
            "epochs": 9,
            "weight": 40.0,
            "regularization": 0.1,
            "weights": "binary",
        },
        here=here,
    ),
    "LensKit kNN": Theirs(
        make=elsewhere("LensKit kNN", "lenskit_knn"),
        space={"max_nbrs": NEIGHBOURS, "min_sim": Range(1e-6, 0.1)},
        first={"max_nbrs": 20, "min_sim": 1e-6},
        here=here,
    ),
    "LensKit SLIM": Theirs(
        make=elsewhere("LensKit SLIM", "lenskit_slim"),
        space={
            "l1_reg": Range(0.01, 30.0),
            "l2_reg": Range(0.1, 300.0),
            "max_nbrs": Choice((50, 100, 200, 400)),
        },
        # Its own default has no limit of neighbours, which takes minutes a trial on the larger sets.
        first={"l1_reg": 1.0, "l2_reg": 1.0, "max_nbrs": 200},
        here=here,
    ),
}
