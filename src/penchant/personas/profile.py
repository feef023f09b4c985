"""What a cluster looks like to a person: size, level of every attribute, preferred categories, a plain name.

The rules, stated once:

- text: one value held by at least 60% is the level; two that together hold 80% are ``A/B``; else ``Mix``.
- number: where the cluster's median lies among all users: below 20% ``Very Low``, 40% ``Low``, 60%
  ``Medium``, 80% ``High``, else ``Very High``; ``Mix`` when its middle half spans over 70% of all users.
- labels: those held by at least 10% of the cluster and most over-represented, three at most.
- preferred categories: by share of the cluster's activity over the share in everybody's, at least 1% of it.
- name: the two attributes furthest from everybody's distribution (total variation) that are not ``Mix``, then
  the first preferred category.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penchant.features.user_features import MISSING, UserColumn, levels_of
from penchant.kernel.arrays import F32, AnyArray, Bools, Rows
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc
from penchant.personas.behaviour import Behaviour

MIX = "Mix"
_BANDS = ((0.2, "Very Low"), (0.4, "Low"), (0.6, "Medium"), (0.8, "High"), (1.01, "Very High"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One attribute of a persona: its level, and how far it is from everybody (total variation, 0 to 1)."""

    attribute: str
    level: str
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One cluster as a person reads it. ``lifts`` are of ``categories``: 2.0 = twice everybody's share."""

    id: int
    name: str
    users: int
    share: float
    levels: tuple[Level, ...]
    categories: tuple[str, ...]
    lifts: tuple[float, ...]
    medoids: tuple[str, ...]


def describe_clusters(
    table: ArrowTable,
    columns: Sequence[UserColumn],
    labels: Rows,
    k: int,
    *,
    behaviour: Behaviour | None,
    points: F32,
    centres: F32,
) -> tuple[Persona, ...]:
    """Describe each of ``k`` clusters of the users that ``labels`` (n,) number; -1 = in no cluster.

    ``table`` has a row a user; ``points`` (n, r) and ``centres`` (k, r) find the medoids.
    """
    personas: list[Persona] = []
    ids = table.column(0)
    total = max(int((labels >= 0).sum()), 1)
    for cluster in range(k):
        inside = labels == cluster
        levels = tuple(_level(table, column, inside, labels >= 0) for column in columns)
        categories, lifts = _preferred(behaviour, inside) if behaviour is not None else ((), ())
        personas.append(
            Persona(
                id=cluster,
                name=_name(levels, categories, cluster),
                users=int(inside.sum()),
                share=float(inside.sum()) / total,
                levels=levels,
                categories=categories,
                lifts=lifts,
                medoids=tuple(ids[int(row)].as_py() for row in _medoids(points, centres[cluster], inside)),
            )
        )
    return tuple(personas)


def _level(table: ArrowTable, spec: UserColumn, inside: Bools, everybody: Bools) -> Level:
    column = table[spec.column].combine_chunks()
    if spec.how in ("buckets", "number"):
        return _number_level(spec.column, column.cast(pa.float64()), inside, everybody)
    if spec.how == "labels":
        return _labels_level(spec.column, column, inside, everybody)
    names, codes = levels_of(column, rare=spec.rare)
    mine = _distribution(codes[inside], len(names))
    theirs = _distribution(codes[everybody], len(names))
    distance = float(np.abs(mine - theirs).sum()) / 2
    order = np.argsort(-mine, kind="stable")
    if mine[order[0]] >= 0.6:
        level = names[order[0]]
    elif len(order) > 1 and mine[order[:2]].sum() >= 0.8:
        level = "/".join(names[i] for i in order[:2])
    else:
        level = MIX
    return Level(attribute=spec.column, level=level, distance=distance)


def _number_level(name: str, column: ArrowColumn, inside: Bools, everybody: Bools) -> Level:
    values = column.to_numpy(zero_copy_only=False)
    present = ~np.isnan(values)
    mine, theirs = np.sort(values[inside & present]), np.sort(values[everybody & present])
    if len(mine) == 0:
        return Level(attribute=name, level=MISSING, distance=0.0)

    def position(value: float) -> float:
        left, right = (
            np.searchsorted(theirs, [value], "left")[0],
            np.searchsorted(theirs, [value], "right")[0],
        )
        return float(left + right) / (2 * len(theirs))

    low, middle, high = (position(float(q)) for q in np.quantile(mine, [0.25, 0.5, 0.75]))
    band = next(word for bound, word in _BANDS if middle < bound)
    # The largest gap between the two distribution functions, on the same 0 to 1 scale as total variation.
    gap = np.abs(
        np.searchsorted(mine, theirs, "right") / len(mine) - np.arange(1, len(theirs) + 1) / len(theirs)
    )
    return Level(attribute=name, level=MIX if high - low > 0.7 else band, distance=float(gap.max()))


def _labels_level(name: str, column: ArrowColumn, inside: Bools, everybody: Bools) -> Level:
    lists = pc.split_pattern(column, "|") if pa.types.is_string(column.type) else column
    flat = pc.list_flatten(lists).cast(pa.string())
    names, codes = levels_of(flat, rare=0.0)
    owner = np.asarray(pc.list_parent_indices(lists))
    mine = np.bincount(codes[inside[owner]], minlength=len(names)) / max(int(inside.sum()), 1)
    theirs = np.bincount(codes[everybody[owner]], minlength=len(names)) / max(int(everybody.sum()), 1)
    lift = np.divide(mine, theirs, out=np.zeros_like(mine), where=theirs > 0)
    top = [i for i in np.argsort(-lift, kind="stable") if mine[i] >= 0.1 and lift[i] > 1.1][:3]
    return Level(
        attribute=name,
        level=", ".join(names[i] for i in top) or MIX,
        distance=float(np.abs(mine - theirs).mean()) if len(names) else 0.0,
    )


def _distribution(codes: AnyArray, n: int) -> AnyArray:
    return np.bincount(codes, minlength=n) / max(len(codes), 1)


def _preferred(behaviour: Behaviour, inside: Bools) -> tuple[tuple[str, ...], tuple[float, ...]]:
    mine, theirs = behaviour.scores[inside].sum(axis=0), behaviour.scores.sum(axis=0)
    mine, theirs = mine / max(float(mine.sum()), 1e-12), theirs / max(float(theirs.sum()), 1e-12)
    lift = np.divide(mine, theirs, out=np.zeros_like(mine), where=theirs > 0)
    chosen = [i for i in np.argsort(-lift, kind="stable") if mine[i] >= 0.01 and lift[i] > 1.0]
    return tuple(behaviour.categories[i] for i in chosen[:5]), tuple(float(lift[i]) for i in chosen[:5])


def _name(levels: Sequence[Level], categories: Sequence[str], cluster: int) -> str:
    told = [v for v in levels if v.level != MIX and MISSING not in v.level and v.distance >= 0.05]
    told.sort(key=lambda v: -v.distance)
    words = [f"{v.attribute.replace('_', ' ')} {v.level}" for v in told[:2]]
    if categories:
        words.append(f"more {categories[0]}")
    return ", ".join(words) or f"group {cluster}: like everybody"


def _medoids(points: F32, centre: F32, inside: Bools, n: int = 3) -> AnyArray:
    rows = np.flatnonzero(inside)
    distance = ((points[rows] - centre) ** 2).sum(axis=1)
    return rows[np.argsort(distance, kind="stable")[:n]]
