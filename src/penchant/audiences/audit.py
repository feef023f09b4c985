"""What an audience does to groups of people, and what has moved since the last run."""

import csv
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penchant.audiences.config import AudienceCard, Bias, Drift
from penchant.audiences.divergence import histogram
from penchant.audiences.quality import auc
from penchant.features.matrix import FeatureName
from penchant.kernel.arrays import F32, F64, Rows
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

MOST_VALUES = 12


def require(users: ArrowTable, attributes: Sequence[str]) -> None:
    """Check that the attributes are columns.

    Raises:
        InputError: users have no such column.
    """
    for attribute in attributes:
        if attribute not in users.column_names[1:]:
            raise InputError(
                f"users have no column '{attribute}'.", fix=did_you_mean(attribute, users.column_names[1:])
            )


def bias(
    users: ArrowTable, attributes: Sequence[str], *, seeds: Rows, audience: Rows, score: F64, eligible: Rows
) -> list[Bias]:
    """Compare each value of each protected attribute among seeds, audience and the eligible population.

    Numbers are cut into fourths. Users without a value are left out of all shares.
    """
    found: list[Bias] = []
    for attribute in attributes:
        groups = _groups(users[attribute])
        known = groups != ""
        for value in sorted(set(groups[known].tolist()))[:MOST_VALUES]:
            has = groups == value
            shares = [
                float(has[rows[known[rows]]].mean()) if known[rows].any() else 0.0
                for rows in (seeds, audience, eligible)
            ]
            measured = eligible[known[eligible]]
            found.append(
                Bias(
                    attribute=attribute,
                    value=value,
                    seeds=shares[0],
                    audience=shares[1],
                    population=shares[2],
                    ratio=shares[1] / shares[2] if shares[2] else None,
                    proxy_auc=auc(score[measured], has[measured]).value,
                )
            )
    return found


def _groups(column: Any) -> Any:
    """Return each user's value as text, empty where there is none; numbers as the fourth they are in."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        number = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        known = number[~np.isnan(number)]
        if len(np.unique(known)) > MOST_VALUES:
            cuts = np.quantile(known, [0.25, 0.5, 0.75])
            names = np.array([f"up to {cuts[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(cuts))])
            names = np.append(names, f"above {cuts[2]:g}")
            return np.where(np.isnan(number), "", names[np.searchsorted(cuts, np.nan_to_num(number))])
    texts = pc.fill_null(pc.cast(column, pa.string()), "")
    return np.asarray(texts.to_pylist(), dtype=object).astype(str)


def drift(
    book: Sequence[FeatureName],
    values: Callable[[Rows], F32],
    audience_ids: Sequence[str],
    previous: Path,
    card: AudienceCard,
) -> Drift:
    """Compare with an earlier run's folder and its card.

    ``values`` gives (k, m) of some columns of the ``book``, of everybody or a sample.

    PSI = sum (p - q) ln(p / q) over the bins of the earlier run, "never" included, shares at least 0.0001.
    """
    columns = {feature.name: j for j, feature in enumerate(book)}
    known = [top for top in card.top if top.feature in columns]
    psi: dict[str, float] = {}
    if known:
        now = values(np.array([columns[top.feature] for top in known], np.int32))
        for top, column in zip(known, now, strict=True):
            psi[top.feature] = stability_index(column, top.edges, top.population_share)
    stayed = None
    audience_file = previous / "audience.csv"
    if audience_file.exists():
        with audience_file.open(newline="", encoding="utf-8") as file:
            earlier = [row["user_id"] for row in csv.DictReader(file)]
        stayed = len(set(earlier) & set(audience_ids)) / max(len(earlier), 1)
    return Drift(psi=psi, stayed=stayed)


def stability_index(values: Any, edges: Sequence[float], shares: Sequence[float]) -> float:
    """Return the PSI of values (n,), NaN = never, against shares over the bins of ``edges`` and never."""
    counts = histogram(values, edges[0], edges[-1], len(edges) - 1)
    now = np.maximum(counts / max(len(values), 1), 1e-4)
    then = np.maximum(np.asarray(shares, np.float64), 1e-4)
    return float(((now - then) * np.log(now / then)).sum())
