"""PinnerSage: a user as a handful of interests, each an item the user took, instead of one mean vector.

Pal et al., 2020, arXiv:2007.03634. The clustering is `penchant.models.pinnersage_kernels`.

    importance(C) = Σ_{i in C} exp(-λ (now - t_i))        t in days
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, I64, AnyArray, Csr, Rows, readonly
from penchant.kernel.clock import DAY
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.parallel import spread
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored, card_for
from penchant.models.best import apart
from penchant.models.ials import Ials, IalsModel
from penchant.models.index import ExactIndex
from penchant.models.pinnersage_kernels import cluster_users
from penchant.models.prod2vec import Prod2Vec, Prod2VecModel, unit

_EMBEDDINGS: dict[str, type[Ials] | type[Prod2Vec]] = {"ials": Ials, "prod2vec": Prod2Vec}
_USERS = 2_000  # clustered at once: what a batch holds in memory beside its answer


class PinnerSage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ward clusters of each user's items of the last ``window``, merged while nearer than ``limit``.

    Items have the vectors of the recipe ``embedding`` with the fields ``embedding_config``, at length 1;
    ``limit`` is a distance that grows with clusters. ``decay`` is λ. A request samples ``interests``
    medoids by importance, anew every day. At most ``most_actions`` of a user are looked at, the newest;
    ``online_actions`` of those since training join the nearest medoid or open a new one.
    """

    name: ClassVar[str] = "pinnersage"

    embedding: Literal["ials", "prod2vec"] = "ials"
    embedding_config: dict[str, Any] = {}
    window: str = "90d"
    limit: float = 1.0
    decay: float = 0.01
    interests: int = 3
    most_actions: int = 300
    online_actions: int = 20

    def __post_init__(self) -> None:
        for field in ("limit", "interests", "most_actions"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be above 0.")
        for field in ("decay", "online_actions"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be 0 or more.")
        seconds_of(self.window, field="window")
        try:
            self.embed()
        except msgspec.ValidationError as error:
            raise ValueError(f"embedding_config: {error}.") from error

    def embed(self) -> Ials | Prod2Vec:
        """Return the recipe that gives the items their vectors."""
        return msgspec.convert(self.embedding_config, _EMBEDDINGS[self.embedding])

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "PinnerSageModel":
        """Find the items' vectors, then the interests of all users. ``previous`` is not needed."""
        space = self.embed().train(snapshot, rng=rng, progress=progress)
        assert isinstance(space, IalsModel | Prod2VecModel)
        index = ExactIndex.build(unit(space.index.by_row()))
        progress.start(self.name, snapshot.n_users)
        found = self.interests_of(snapshot.interactions, index, snapshot.n_users, snapshot.cutoff, progress)
        return PinnerSageModel(
            card=card_for(self, snapshot, seed=int(rng.integers(2**31))),
            items=snapshot.items,
            users=snapshot.users,
            index=index,
            interests=found,
        )

    def interests_of(
        self, events: Interactions, index: ExactIndex, n_users: int, now: float, progress: Progress
    ) -> "Interests":
        """Return the interests of users 0..n_users - 1 from what they did up to ``now``."""
        places = index.position[events.item]
        kept = (events.timestamp > now - seconds_of(self.window)) & (events.timestamp <= now) & (places >= 0)
        user, place, time = events.user[kept], places[kept], events.timestamp[kept]
        order = np.lexsort((time, user))
        user, place, time = user[order], place[order], time[order]
        # The newest of each user: how many of the same user follow.
        bounds = np.searchsorted(user, np.arange(n_users + 1))
        new = bounds[1:][user] - np.arange(len(user)) <= self.most_actions
        user, place, time = user[new], place[new], time[new]
        indptr = np.searchsorted(user, np.arange(n_users + 1)).astype(np.int64)
        weight = np.exp(-self.decay * (now - time) / DAY)
        rows, importance = np.empty(len(place), np.int32), np.empty(len(place))
        counts = np.zeros(n_users, np.int64)

        def batch(start: int, stop: int) -> None:
            part = slice(int(indptr[start]), int(indptr[stop]))
            cluster_users(
                index.factors,
                readonly(place[part]),
                readonly(weight[part]),
                indptr[start : stop + 1] - indptr[start],
                self.limit,
                rows[part],
                importance[part],
                counts[start:stop],
            )
            progress.advance(stop - start)

        spread(batch, n_users, chunk=_USERS)
        owner = np.repeat(np.arange(n_users), np.diff(indptr))
        first = np.arange(len(place)) - indptr[owner] < counts[owner]
        return Interests(
            indptr=readonly(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            places=readonly(rows[first]),
            importance=readonly(importance[first]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interests:
    """The medoids of n users, places in the index; a user's most important first."""

    indptr: I64  # (n + 1,)
    places: Rows  # (m,)
    importance: F64  # (m,)

    def of(self, user: int) -> tuple[Rows, F64]:
        """Return the medoids and importances of a user; none for -1."""
        if user < 0:
            return self.places[:0], self.importance[:0]
        part = slice(int(self.indptr[user]), int(self.indptr[user + 1]))
        return self.places[part], self.importance[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnerSageModel:
    """Interests of all users and the vectors of all items.

    A request gets the nearest items of each sampled medoid in turn: an item's score is 1 / the best rank that
    it has by cosine to one of them. Who is unknown is clustered from the query's history; of whom is known
    the newest actions since training are added to the interests of the day.
    """

    kind: ClassVar[str] = "pinnersage"

    card: Card
    items: Vocab
    users: Vocab
    index: ExactIndex
    interests: Interests

    @property
    def recipe(self) -> PinnerSage:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, PinnerSage)

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return k items, those nearest to each sampled medoid in turn."""
        gone = np.zeros(0, np.int32) if exclude is None else np.unique(exclude)
        ranked = self._ranked(query, max(k, 0) + len(gone))
        items = np.array(list(ranked), np.int32)
        scores = np.array([1.0 / rank for rank in ranked.values()], np.float32)
        keep = ~np.isin(items, gone)
        order = np.lexsort((items[keep], -scores[keep]))[: max(k, 0)]
        return Scored(items=readonly(items[keep][order]), scores=readonly(scores[keep][order]))

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return k items for each request; padding only for who is unknown."""
        items = np.full((len(queries), max(k, 0)), -1, np.int32)
        values = np.full(items.shape, -np.inf, np.float32)
        for i, query in enumerate(apart(queries)):
            found = self.top(query, k, exclude=None if exclude is None else exclude.row(i))
            items[i, : len(found.items)], values[i, : len(found.items)] = found.items, found.scores
        return Batch(items=readonly(items), scores=readonly(values))

    def score(self, query: Query, items: Rows) -> F32:
        """Return 1 / the best rank of each item, NaN for an item without a vector or an unknown user."""
        ranked = self._ranked(query, len(self.index.rows))
        return readonly(np.array([1.0 / ranked.get(i, np.nan) for i in items.tolist()], np.float32))

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items of the largest cosine."""
        return self.index.similar(item, k, exclude=exclude)

    def medoids(self, query: Query) -> tuple[Rows, F64]:
        """Return the places in the index and the importances of the user's interests at the moment."""
        recipe = self.recipe
        now = query.now or self.card.cutoff
        if query.history is None or len(query.history) == 0:
            return self.interests.of(query.user)
        if query.user < 0:
            alone = Interactions.of(
                user=np.zeros(len(query.history)),
                item=query.history.item,
                timestamp=query.history.timestamp,
            )
            return recipe.interests_of(alone, self.index, 1, now, Silent()).of(0)
        new = query.history.select(query.history.timestamp > self.card.cutoff)
        places = self.index.position[new.item]
        latest = np.flatnonzero(places >= 0)[-recipe.online_actions or len(places) :]
        return self._joined(*self.interests.of(query.user), places[latest], new.timestamp[latest], now)

    def sampled(self, query: Query) -> Rows:
        """Return the medoids of a request: sampled by importance, the same for a user all day."""
        places, importance = self.medoids(query)
        n = self.recipe.interests
        if len(places) <= n:
            return places
        day = int((query.now or self.card.cutoff) // DAY)
        who = str(query.user) if query.user >= 0 else ",".join(map(str, places.tolist()))
        rng = derive(self.card.seed, "interests", who, day)
        chosen = rng.choice(len(places), n, replace=False, p=importance / importance.sum())
        return places[np.sort(chosen)]

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **self.index.arrays(),
            "interest_indptr": self.interests.indptr,
            "interest_places": self.interests.places,
            "interest_importance": self.interests.importance,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            index=ExactIndex.open(arrays),
            interests=Interests(
                indptr=np.asarray(arrays["interest_indptr"]),
                places=np.asarray(arrays["interest_places"]),
                importance=np.asarray(arrays["interest_importance"]),
            ),
        )

    def _joined(self, places: Rows, importance: F64, new: Rows, times: F64, now: float) -> tuple[Rows, F64]:
        """Return the interests after new actions: each joins the nearest medoid or opens a new one."""
        recipe, known, worth = self.recipe, places.tolist(), importance.tolist()
        for place, time in zip(new.tolist(), times.tolist(), strict=True):
            weight = float(np.exp(-recipe.decay * (now - time) / DAY))
            if known:
                away = np.linalg.norm(self.index.factors[known] - self.index.factors[place], axis=1)
                nearest = int(away.argmin())
                if away[nearest] <= recipe.limit:
                    worth[nearest] += weight
                    continue
            known.append(place)
            worth.append(weight)
        order = np.argsort(-np.array(worth), kind="stable")
        return np.array(known, np.int32)[order], np.array(worth)[order]

    def _ranked(self, query: Query, depth: int) -> dict[int, int]:
        """Return the best rank, from 1, of each item among the first ``depth`` of a sampled medoid."""
        best: dict[int, int] = {}
        for place in self.sampled(query).tolist():
            found = self.index.top(self.index.factors[place], depth)
            for rank, item in enumerate(found.items.tolist(), start=1):
                best[item] = min(rank, best.get(item, rank))
        return best
