"""What can be tuned of each recipe, and over which range."""

from collections.abc import Mapping

from penchant.evaluation.tuning import Choice, Range, Space

_FADING = Choice(("", "360d", "180d", "90d", "60d", "30d"))
_ALPHA = Choice((0.0, 0.25, 0.5, 1.0))
_NEIGHBOURS = Choice((20, 50, 100, 200, 400))
_EASE: Space = {
    "regularization": Range(5.0, 5000.0),
    "dropout": Choice((0.0, 0.2, 0.4, 0.6, 0.75)),
    "alpha": _ALPHA,
}

_SGD: Space = {
    "factors": Choice((16, 32, 48, 64, 96, 128)),
    "epochs": Choice((10, 20, 30, 50)),
    "rate": Range(0.01, 0.3),
    "regularization": Range(0.0003, 0.1),
}

SPACES: Mapping[str, Space] = {
    "ials": {
        "factors": Choice((16, 32, 48, 64, 96, 128)),
        "epochs": Choice((6, 9, 12, 15)),
        "alpha": Range(0.05, 1.0),
        "unobserved_weight": Range(0.03, 10.0),
        "regularization": Range(0.01, 1.0),
        "frequency_exponent": Choice((0.25, 0.5, 0.75)),
        "half_life": _FADING,
    },
    "ease": {**_EASE, "half_life": _FADING},
    "recent": {
        **_EASE,
        "decay": Choice((0.8, 0.9, 0.95, 0.98, 0.99, 0.999)),
        "markov": Range(0.01, 3.0),
        "window": Choice((1, 3, 5, 8)),
    },
    "item_knn": {
        "similarity": Choice(("cosine", "tfidf", "bm25")),
        "neighbours": _NEIGHBOURS,
        "popularity_discount": Range(0.2, 0.8, log=False),
        "min_co_counts": Choice((1, 2, 3)),
        "shrinkage": Range(0.1, 100.0),
        "alpha": _ALPHA,
        "half_life": _FADING,
    },
    "rp3beta": {
        "neighbours": _NEIGHBOURS,
        "walk": Range(0.3, 1.5),
        "popularity_discount": Range(0.0, 1.0, log=False),
        "alpha": _ALPHA,
        "half_life": _FADING,
    },
    "bpr": {**_SGD, "negatives": Choice((1, 4, 8))},
    "mf_sgd": {
        **_SGD,
        "loss": Choice(("bpr", "logistic", "softmax")),
        "negatives": Choice((4, 16, 32, 64)),
    },
    "popularity": {"window": Choice(("1h", "6h", "1d", "3d", "7d", "14d", "30d", "90d", "all"))},
}
"""The name of a recipe -> the fields `penchant tune` searches."""
