"""Approximate nearest neighbours for catalogues too large to look at whole; the extra ``ann`` installs faiss.

What the index gives is scored again exactly, so that only its recall is in question; that is measured when it
is built, stands on the card, and is refused when it is low.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.errors import InputError, NotReady
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.kernel.topk import best_rows, dots
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored
from penchant.models.ials import Ials, IalsModel
from penchant.models.index import ExactIndex
from penchant.models.prod2vec import Prod2Vec, Prod2VecModel

INSTALL = "pip install 'penchant[ann]'"
_FACTORS: dict[str, type[Ials] | type[Prod2Vec]] = {"ials": Ials, "prod2vec": Prod2Vec}
_MODELS: dict[str, type[IalsModel] | type[Prod2VecModel]] = {"ials": IalsModel, "prod2vec": Prod2VecModel}
_SAMPLE = 256  # queries that recall is measured with
_DEPTH = 100  # recall at


class Ann(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recipe ``factors`` with the fields ``config``, answered from an approximate index.

    ``factory`` is a faiss factory string such as ``SQ8`` or ``HNSW32``; it is asked for ``rerank`` items
    beyond what a request needs, half as many again at least. Below ``exact_below`` items nothing is
    approximated. A recall@100 below ``least_recall`` is refused: lower it to say otherwise.
    """

    name: ClassVar[str] = "ann"

    factors: Literal["ials", "prod2vec"] = "ials"
    config: dict[str, Any] = {}
    factory: str = "SQ8"
    rerank: int = 50
    exact_below: int = 200_000
    least_recall: float = 0.98

    def __post_init__(self) -> None:
        if not 0 <= self.least_recall <= 1:
            raise ValueError(f"least_recall is {self.least_recall}: it must be between 0 and 1.")
        if self.rerank < 0:
            raise ValueError(f"rerank is {self.rerank}: it must be 0 or more.")
        try:
            self.inner()
        except msgspec.ValidationError as error:
            raise ValueError(f"config: {error}.") from error

    def inner(self) -> Ials | Prod2Vec:
        """Return the recipe of the factors."""
        return msgspec.convert(self.config, _FACTORS[self.factors])

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "AnnModel":
        """Train the factors, build the index and measure it.

        Raises:
            NotReady: faiss is not installed.
            InputError: faiss does not know the factory, or recall is below ``least_recall``.
        """
        approximate = snapshot.n_items >= self.exact_below
        if approximate:
            _faiss()  # before an hour of training, not after it
        old = previous.inner if isinstance(previous, AnnModel) else previous
        inner = self.inner().train(snapshot, rng=rng, progress=progress, previous=old)
        progress.start(f"{self.name}: {self.factory}", 1)
        index = Approximate.build(inner.index.factors, self.factory) if approximate else None
        metrics, notes = dict(inner.card.metrics), list(inner.card.notes)
        if index is not None:
            known = np.flatnonzero(_queries(inner).any(axis=1))
            sample = _queries(inner)[rng.choice(known, min(_SAMPLE, len(known)), replace=False)]
            recall = index.recall(inner.index, sample, self.rerank)
            metrics[f"recall_at_{_DEPTH}"] = recall
            notes.append(f"{self.factory}: recall@{_DEPTH} {recall:.4f} of {len(sample)} users' vectors.")
            if recall < self.least_recall:
                raise InputError(
                    f"recall@{_DEPTH} of the index '{self.factory}' is {recall:.4f}, "
                    f"below {self.least_recall}.",
                    fix="Raise rerank, choose another factory, or lower least_recall.",
                )
        progress.advance()
        card = msgspec.structs.replace(
            inner.card,
            recipe=self.name,
            config=msgspec.json.decode(msgspec.json.encode(self)),
            metrics=metrics,
            notes=notes,
        )
        return AnnModel(card=card, inner=inner, approximate=index)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise NotReady("approximate indexes need faiss.", fix=f"Run `{INSTALL}`.") from error
    return faiss


def _queries(model: IalsModel | Prod2VecModel) -> F32:
    return model.user_factors if isinstance(model, IalsModel) else model.user_vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate:
    """A faiss index over the positions of an `ExactIndex`, and its bytes as they are saved."""

    data: AnyArray  # (n,) uint8
    index: Any

    @classmethod
    def build(cls, factors: F32, factory: str) -> Self:
        """Index ``factors`` (m, d) by inner product.

        Raises:
            InputError: faiss does not know the factory, or cannot build it from so few items.
        """
        faiss = _faiss()
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # graphs grow in the order of threads: one, for the same bytes each time
        try:
            index = faiss.index_factory(factors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(factors)
            index.add(factors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"faiss cannot build '{factory}' ({reason}).", fix="SQ8 and HNSW32 always can."
            ) from error
        finally:
            faiss.omp_set_num_threads(before)
        return cls(data=readonly(faiss.serialize_index(index)), index=index)

    @classmethod
    def open(cls, data: AnyArray) -> Self:
        """Return the index that was saved as ``data``."""
        return cls(data=data, index=_faiss().deserialize_index(np.array(data)))

    def near(self, queries: F32, depth: int) -> Rows:
        """Return up to ``depth`` positions (n, depth) for each of ``queries`` (n, d), -1 = no more."""
        _, found = self.index.search(np.ascontiguousarray(queries, np.float32), min(depth, self.index.ntotal))
        return readonly(found.astype(np.int32))

    def recall(self, exact: ExactIndex, queries: F32, rerank: int) -> float:
        """Return the mean part of the exact best 100 that it gives when asked for ``rerank`` more."""
        if len(queries) == 0:
            return 1.0
        wanted = exact.top_many(queries, _DEPTH).items
        found = exact.rows[self.near(queries, wider(_DEPTH, rerank))]
        parts = [np.isin(w[w >= 0], f).mean() for w, f in zip(wanted, found, strict=True)]
        return float(np.mean(parts))


def wider(k: int, rerank: int) -> int:
    """Return how many to ask an index for when ``k`` are wanted."""
    return max(k + rerank, k + k // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnModel:
    """A factor model whose best items are found approximately and scored exactly."""

    kind: ClassVar[str] = "ann"

    card: Card
    inner: IalsModel | Prod2VecModel
    approximate: Approximate | None  # None: exact

    @property
    def items(self) -> Vocab:
        """Return the items it can give."""
        return self.inner.items

    @property
    def users(self) -> Vocab:
        """Return the users it was trained with."""
        return self.inner.users

    @property
    def recipe(self) -> Ann:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, Ann)

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k best items of those the index finds, scored exactly."""
        if self.approximate is None or k <= 0:
            return self.inner.top(query, k, exclude=exclude)
        vector = self.inner.vector(query)
        if vector is None:
            return Scored.none()
        gone = np.zeros(0, np.int32) if exclude is None else exclude
        near = self.approximate.near(vector[None], wider(k + len(gone), self.recipe.rerank))[0]
        return self._best(vector, near, k, gone)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the k best items of each request; padding only for who is unknown."""
        if self.approximate is None or k <= 0:
            return self.inner.top_many(queries, k, exclude=exclude)
        vectors = self.inner.vectors(queries)
        deepest = 0 if exclude is None or not len(queries) else int(np.diff(exclude.indptr).max())
        near = self.approximate.near(vectors, wider(k + deepest, self.recipe.rerank))
        items = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for i in np.flatnonzero(vectors.any(axis=1)).tolist():
            gone = np.zeros(0, np.int32) if exclude is None else exclude.row(i)
            # As many as a single request would have asked for, so that the answer is the same.
            mine = near[i, : wider(k + len(gone), self.recipe.rerank)]
            found = self._best(vectors[i], mine, k, gone)
            items[i, : len(found.items)], scores[i, : len(found.items)] = found.items, found.scores
        return Batch(items=readonly(items), scores=readonly(scores))

    def score(self, query: Query, items: Rows) -> F32:
        """Return the exact inner products."""
        return self.inner.score(query, items)

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items of the largest cosine, exactly."""
        return self.inner.similar(item, k, exclude=exclude)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        own = {} if self.approximate is None else {"ann_index": self.approximate.data}
        return {**self.inner.arrays(), **own}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named.

        Raises:
            NotReady: faiss is not installed.
        """
        recipe = msgspec.convert(card.config, Ann)
        inside = msgspec.structs.replace(
            card, recipe=recipe.factors, config=msgspec.json.decode(msgspec.json.encode(recipe.inner()))
        )
        saved = arrays.get("ann_index")
        return cls(
            card=card,
            inner=_MODELS[recipe.factors].open(inside, arrays),
            approximate=None if saved is None else Approximate.open(saved),
        )

    def _best(self, vector: F32, near: Rows, k: int, gone: Rows) -> Scored:
        index = self.inner.index
        places = near[near >= 0]
        items = index.rows[places]
        kept = ~np.isin(items, gone)
        order = np.argsort(items[kept])  # by row, so that equal scores stay in row order
        items, places = items[kept][order], places[kept][order]
        scores = dots(vector, index.factors, readonly(places))
        best = best_rows(scores, k)
        return Scored(items=readonly(items[best]), scores=readonly(scores[best]))
