"""What an audience is asked for with, and what comes back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
import numpy as np

from penchant.audiences.coupang import Coupang
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.quality import Quality
from penchant.audiences.seeds import Finding
from penchant.audiences.selection import Selection
from penchant.features.purchase import PurchaseFeatures
from penchant.kernel.arrays import F64, Rows
from penchant.kernel.errors import InputError

Method: TypeAlias = Literal["auto", "coupang", "embedding", "trees", "linear", "taste"]
METHODS: Final[tuple[str, ...]] = get_args(Method)
FORMAT = 2


class AudienceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to grow a seed list.

    ``hide`` leaves out features by name, pattern or category: those that the list was defined by. ``fine``
    names the item column of the finest groups worth counting for taste. ``protected`` names user columns to
    report bias for. ``neighbours`` is how many nearest seeds ``embedding`` averages. ``stability`` grows the
    audience from two halves of the list as well, which doubles the work.
    """

    size: int
    method: Method = "auto"
    features: PurchaseFeatures = PurchaseFeatures()
    fine: str | None = None
    hide: tuple[str, ...] = ()
    max_features: int = 20
    threshold: float = 0.05
    focus: float = 1.0
    distance: Literal["euclidean", "cosine", "mahalanobis"] = "euclidean"
    selection: Selection = Selection()
    ensemble: Ensemble = Ensemble()
    neighbours: int = 5
    include_seeds: bool = False
    protected: tuple[str, ...] = ()
    stability: bool = True

    @property
    def coupang(self) -> Coupang:
        """Return the settings of the published method; wrong ones are named."""
        return Coupang(
            threshold=self.threshold,
            max_features=self.max_features,
            focus=self.focus,
            distance=self.distance,
        )

    def __post_init__(self) -> None:
        _ = self.coupang
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {self.neighbours}.")


class TopFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One feature that tells the seeds from everybody, and how.

    ``log_odds`` compares seeds with the rest on one question (``contrast``): who has ever done it, or who is
    above the middle. ``steady`` says that the means point the same way and the interval leaves 0 out.
    """

    feature: str
    idx: int
    symbol: str
    code: int
    category: str
    js_div: float
    weight: float
    contrast: str
    log_odds: float
    low: float
    high: float
    support: int  # seeds that answer yes
    direction: Literal["more", "less"]
    steady: bool
    seed_mean: float | None
    audience_mean: float | None
    population_mean: float | None
    edges: list[float]
    seed_share: list[float]  # over the bins between the edges, then "never"
    audience_share: list[float]
    population_share: list[float]


class Bias(msgspec.Struct, frozen=True, kw_only=True):
    """A protected attribute's value among seeds, audience and population (shares of those with a value)."""

    attribute: str
    value: str
    seeds: float
    audience: float
    population: float
    ratio: float | None  # audience / population
    proxy_auc: float  # how well the score alone tells who has the value; 0.5 = not at all


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """The audience grown again without an attribute among the features."""

    attribute: str
    overlap: float  # share of the audience that stays
    auc: float


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Against an earlier run: population stability index of its top features, and who came and went.

    Below 0.1 a feature is steady, above 0.25 it has moved.
    """

    psi: dict[str, float]
    stayed: float | None  # share of the earlier audience that is in this one


class AudienceCard(msgspec.Struct, frozen=True, kw_only=True):
    """How an audience came to be; ``card.json``."""

    config: AudienceConfig
    snapshot: str
    cutoff: float
    seed: int
    users: int
    seeds: int
    excluded: dict[str, int]
    size: int
    p_overall: float  # chance that seeds drawn at random look this different
    quality: Quality
    findings: list[Finding]
    top: list[TopFeature]
    bias: list[Bias] = []
    reruns: list[Rerun] = []
    drift: Drift | None = None
    format: int = FORMAT


def read_card(path: Path) -> AudienceCard:
    """Return the card of an earlier run.

    Raises:
        InputError: there is none, or another version wrote it.
    """
    try:
        card = msgspec.json.decode(path.read_bytes(), type=AudienceCard)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"no readable card of an earlier run ({error}).", where=str(path), fix="Grow the audience again."
        ) from error
    return card


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """The people found, best first; ties by id."""

    rows: Rows  # (size,) of the snapshot's users
    ids: list[str]
    scores: F64  # (size,)
    unknown: tuple[str, ...]
    card: AudienceCard
    features: Any = field(default=None, repr=False)  # (size, top) values of the top features, NaN = never

    def __len__(self) -> int:
        return len(self.rows)


def best_rows(score: F64, eligible: Any, size: int) -> Rows:
    """Return the ``size`` best eligible rows, best first, ties by row and so by id; in O(n).

    ``score`` (n,) without NaN among the eligible, ``eligible`` (n,) mask with at least ``size`` set.
    """
    rows = np.flatnonzero(eligible)
    values = score[rows]
    if size < len(rows):
        bound = np.partition(values, len(values) - size)[len(values) - size]
        above = rows[values > bound]
        rows = np.concatenate([above, rows[values == bound][: size - len(above)]])
    return rows[np.lexsort((rows, -score[rows]))].astype(np.int32)
