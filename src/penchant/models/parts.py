"""Recipes within a recipe: how models made of others name, train, ask and keep their parts."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split
from penchant.kernel.arrays import F32, AnyArray
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.answering import Block, ByScores
from penchant.models.base import Card, Queries, Query, Recipe, Retriever
from penchant.models.best import apart
from penchant.models.ease import Ease, EaseModel
from penchant.models.ials import Ials, IalsModel
from penchant.models.item_knn import ItemKnn
from penchant.models.mf_sgd import Bpr, MfModel, MfSgd
from penchant.models.neighbours import NeighbourModel
from penchant.models.popularity import Popularity, PopularityModel
from penchant.models.recent import Recent, RecentModel
from penchant.models.rp3beta import Rp3Beta

_MODELS: dict[type[Recipe], type[Retriever]] = {
    Bpr: MfModel,
    Ease: EaseModel,
    Ials: IalsModel,
    ItemKnn: NeighbourModel,
    MfSgd: MfModel,
    Popularity: PopularityModel,
    Recent: RecentModel,
    Rp3Beta: NeighbourModel,
}
PARTS: dict[str, type[Recipe]] = {recipe.name: recipe for recipe in _MODELS}
"""What can be a part."""


def three_parts() -> dict[str, dict[str, Any]]:
    """Return the parts of who names none."""
    return {name: {"recipe": name} for name in ("ease", "ials", "popularity")}


def recipes_of(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Recipe]:
    """Return the recipes of tables such as ``{ recipe = "ease", dropout = 0.3 }``.

    Raises:
        ValueError: there is no part, one names no recipe that can be a part, or a field of it is wrong.
    """
    if not parts:
        raise ValueError("parts is empty: name at least one recipe.")
    return {name: _recipe(name, table) for name, table in parts.items()}


def _recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    kind = table.get("recipe")
    if kind not in PARTS:
        raise ValueError(f"parts.{name}: recipe is {kind!r}: use one of {', '.join(PARTS)}.")
    fields = {key: value for key, value in table.items() if key != "recipe"}
    try:
        return msgspec.convert(fields, PARTS[kind])
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"parts.{name}: {error}") from error


def train_part(recipe: Recipe, snapshot: Snapshot, seed: int, progress: Progress) -> Retriever:
    """Train one part."""
    model = recipe.train(snapshot, rng=np.random.default_rng(seed), progress=progress)
    assert isinstance(model, Retriever)  # every one of PARTS is
    return model


def query_of(split: Split, i: int) -> Query:
    """Return request i of a split: by its user where that was trained, else by its history."""
    if split.users[i] >= 0:
        return Query(user=int(split.users[i]), now=split.now)
    bounds = np.searchsorted(split.histories.user, [i, i + 1])
    return Query(history=split.histories.select(slice(int(bounds[0]), int(bounds[1]))), now=split.now)


def raw(models: Sequence[Retriever], query: Query) -> F32:
    """Return every part's score of every item, (parts, n_items), NaN = cannot."""
    everything = np.arange(len(models[0].items), dtype=np.int32)
    return np.stack([model.score(query, everything) for model in models])


def standard(scores: F32, *, log: bool = False) -> F32:
    """Return z = (s - mean) / deviation of scores (parts, n_items); zeros where a part can score nothing.

    What a part cannot score counts as the least it gave. With ``log`` z is taken once more, of
    ln(1 + z - least z).
    """
    out = np.zeros_like(scores)
    for z, s in zip(out, scores, strict=True):
        known = ~np.isnan(s)
        if known.any():
            mean, deviation = s[known].mean(), max(float(s[known].std()), 1e-12)
            z[:] = (np.where(known, s, s[known].min()) - mean) / deviation
    return standard(np.log1p(out - out.min(axis=1, keepdims=True))) if log else out


class _Whole(Protocol):
    @property
    def parts(self) -> Mapping[str, Retriever]: ...

    def all_scores(self, query: Query) -> F32: ...


class ByParts(ByScores):
    """For a model made of ``parts`` whose ``all_scores`` (n_items,) answers one request at a time."""

    __slots__ = ()

    @property
    def items(self: _Whole) -> Vocab:
        """Return the items it can give."""
        return next(iter(self.parts.values())).items

    @property
    def users(self: _Whole) -> Vocab:
        """Return the users it was trained with."""
        return next(iter(self.parts.values())).users

    def block(self: _Whole, queries: Queries) -> Block:
        """Return the scores of each request."""
        asked = apart(queries)
        return lambda start, stop: np.stack([self.all_scores(query) for query in asked[start:stop]])


def part_arrays(models: Mapping[str, Retriever]) -> dict[str, AnyArray]:
    """Return the arrays of all parts to save."""
    return {
        f"part{place}_{name}": array
        for place, model in enumerate(models.values())
        for name, array in model.arrays().items()
    }


def open_parts(
    recipes: Mapping[str, Recipe], card: Card, arrays: Mapping[str, AnyArray]
) -> dict[str, Retriever]:
    """Return the models of ``recipes`` that `part_arrays` was taken from, in place."""
    models: dict[str, Retriever] = {}
    for place, (name, recipe) in enumerate(recipes.items()):
        prefix = f"part{place}_"
        own = {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
        told = msgspec.structs.replace(
            card, recipe=recipe.name, config=msgspec.to_builtins(recipe), metrics={}, notes=[]
        )
        models[name] = _kind(recipe, own).open(told, own)
    return models


def _kind(recipe: Recipe, arrays: Mapping[str, AnyArray]) -> type[Retriever]:
    """Return the class of a part's model; EASE has two."""
    if isinstance(recipe, Ease) and "neighbours_data" in arrays:
        return NeighbourModel
    return _MODELS[type(recipe)]
