"""One model seen in the rows of the serving catalogue."""

from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.types import Request
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.errors import Defect
from penchant.models.base import Model, Online, OpenEnded, Placing, Query, Retriever, Scored, Similar
from penchant.models.index import ExactIndex

_DEEP = 512  # what is asked of a model that answers the same for everybody, to be cut to size


class _Abilities(TypedDict):
    placer: Placing | None
    open_ended: bool
    retriever: Retriever | None
    kin: Similar | None
    learner: Online | None
    index: ExactIndex | None


def _abilities(model: Model) -> _Abilities:
    index = getattr(model, "index", None)
    return _Abilities(
        retriever=model if isinstance(model, Retriever) else None,
        kin=model if isinstance(model, Similar) else None,
        learner=model if isinstance(model, Online) else None,
        placer=model if isinstance(model, Placing) else None,
        open_ended=isinstance(model, OpenEnded),
        index=index if isinstance(index, ExactIndex) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A model and the maps between its rows and the catalogue's; None where the vocabularies are equal.

    Items of the catalogue that the model does not know map to -1, and so do items put after the snapshot,
    unless the model is open-ended: then these, and users who came since, have rows past its vocabularies.
    A model older than the snapshot is asked with the user's history whenever that is newer than the model.
    """

    name: str
    model: Model
    personal: bool  # answers differently for different users
    n_items: int  # rows of the snapshot
    current: bool  # trained on the snapshot that is served
    items_in: Rows | None  # (n_items,) model row of a catalogue row
    items_out: Rows | None  # (model items,) catalogue row of a model row
    n_users: int  # of the snapshot
    users_in: Rows | None  # (n_users,) model row of a snapshot user
    spare: int  # items of the model that the catalogue does not have
    open_ended: bool
    retriever: Retriever | None  # the model as what it can do, found once: a protocol check is slow
    kin: Similar | None
    learner: Online | None
    placer: Placing | None
    index: ExactIndex | None
    latest: dict[int, Scored] = field(default_factory=dict[int, Scored], repr=False, compare=False)

    @classmethod
    def of(cls, name: str, model: Model, snapshot: Snapshot, *, personal: bool = True) -> "Bridge":
        """Return the bridge between a model and a snapshot; events the model is older than are folded in."""
        same = model.items == snapshot.items
        outward = None if same else readonly(snapshot.items.rows(model.items.to_arrow()))
        users = None
        if model.users != snapshot.users:
            users = readonly(model.users.rows(snapshot.users.to_arrow()))
        current = model.card.head == snapshot.head and model.card.cutoff == snapshot.cutoff
        bridge = cls(
            name=name,
            model=model,
            personal=personal,
            n_items=snapshot.n_items,
            current=current,
            items_in=None if same else readonly(model.items.rows(snapshot.items.to_arrow())),
            items_out=outward,
            spare=0 if outward is None else int((outward < 0).sum()),
            n_users=snapshot.n_users,
            users_in=users,
            **_abilities(model),
        )
        if current:
            return bridge
        return bridge.fold(snapshot.interactions.select(snapshot.interactions.timestamp > model.card.cutoff))

    def fold(self, events: Interactions) -> "Bridge":
        """Return the bridge after ``events`` (catalogue and snapshot rows) when the model learns online."""
        if self.learner is None or len(events) == 0:
            return self
        own = self._inward(events)
        own = replace(own, user=readonly(self._users(own.user)))
        model = self.learner.fold(own) if len(own) else self.model
        return self if model is self.model else replace(self, model=model, latest={}, **_abilities(model))

    def query(self, request: Request) -> Query | None:
        """Return the request in the model's rows; None when the model can say nothing about this user."""
        user = self._user(request.user)
        stale = request.fresh or (not self.current and len(request.history) > 0)
        history = self._inward(request.history) if stale or user < 0 else None
        attributes = request.attributes
        if self.placer is None or (attributes and self.placer.persona_of(attributes) < 0):
            attributes = None  # nothing that the model knows
        nothing = not attributes and not (history is not None and len(history))
        if self.personal and not self.open_ended and user < 0 and nothing:
            return None
        anchor = self.row(request.item)
        return Query(user=user, history=history, item=anchor, now=request.now, attributes=attributes)

    def top(self, request: Request, k: int) -> Scored:
        """Return up to ``k`` catalogue rows, best first."""
        if self.retriever is None:
            return Scored.none()
        if not self.personal:
            return self._for_all(self.retriever, request.now, k)
        query = self.query(request)
        return Scored.none() if query is None else self.outward(self.retriever.top(query, k + self.spare), k)

    def _for_all(self, retriever: Retriever, now: float, k: int) -> Scored:
        """Return what everybody gets, asked of the model once a second."""
        second = int(now)
        known = self.latest.get(second)
        if known is None or len(known.items) < k:
            deep = max(k, _DEEP)
            known = self.outward(retriever.top(Query(now=float(second)), deep + self.spare), deep)
            self.latest.clear()
            self.latest[second] = known
        return Scored(items=known.items[:k], scores=known.scores[:k])

    def everyone(self) -> Rows:
        """Return the items a model gives to somebody it knows nothing of, best first; none if it cannot."""
        if self.personal or self.retriever is None:
            return Scored.none().items
        found = self.retriever.top(Query(now=self.model.card.cutoff), len(self.model.items))
        return self.outward(found, len(self.model.items)).items

    def score(self, request: Request, items: Rows) -> F32:
        """Return the model's score of each catalogue row, NaN where it has none."""
        scores = np.full(len(items), np.nan, np.float32)
        query = self.query(request)
        if query is None or self.retriever is None or len(items) == 0:
            return readonly(scores)
        own = self.rows(items)
        known = own >= 0
        scores[known] = self.retriever.score(query, readonly(own[known]))
        return readonly(scores)

    def similar(self, item: int, k: int) -> tuple[Rows, F32]:
        """Return up to ``k`` catalogue rows most like a catalogue row, best first."""
        if self.kin is None:
            raise Defect(f"the model '{self.name}' does not know which items are alike.")
        own = self.row(item)
        if own < 0:
            return Scored.none().items, Scored.none().scores
        found = self.outward(self.kin.similar(own, k + self.spare), k)
        return found.items, found.scores

    @property
    def embeds(self) -> bool:
        """Return whether the model places items in a space."""
        return self.index is not None

    def directions(self, items: Rows) -> F32:
        """Return the vectors of catalogue rows (m, d) at length 1, zeros for those the model has none of."""
        if self.index is None:
            raise Defect(f"the model '{self.name}' has no vectors of items.")
        return self.index.directions(self.rows(items))

    def row(self, item: int) -> int:
        """Return the model's row of a catalogue row, -1 when there is none."""
        if item >= self.n_items and self.open_ended:
            return item - self.n_items + len(self.model.items)
        if not 0 <= item < self.n_items:
            return -1
        return item if self.items_in is None else int(self.items_in[item])

    def rows(self, items: Rows) -> Rows:
        """Return the model's rows of catalogue rows, -1 where there is none."""
        return self._past_the_end(items, self.n_items, self.items_in, len(self.model.items))

    def catalogue_rows(self, own: Rows) -> Rows:
        """Return the catalogue's rows of the model's rows, -1 where there is none."""
        return self._past_the_end(own, len(self.model.items), self.items_out, self.n_items)

    def _past_the_end(self, rows: Rows, n: int, mapped: Rows | None, n_other: int) -> Rows:
        """Return ``mapped[rows]``; rows from ``n`` on follow the other side's own for an open-ended model."""
        inside = np.where((rows >= 0) & (rows < n), rows, -1).astype(np.int32)
        found = inside if mapped is None else np.append(mapped, np.int32(-1))[inside]
        if not self.open_ended:
            return found
        return np.where(rows >= n, rows - n + n_other, found).astype(np.int32)

    def _users(self, users: Rows) -> Rows:
        return self._past_the_end(users, self.n_users, self.users_in, len(self.model.users))

    def _user(self, user: int) -> int:
        return user if self.users_in is None or user < 0 else int(self.users_in[user])

    def _inward(self, events: Interactions) -> Interactions:
        """Return events in the model's item rows; those of items it does not know go."""
        item = self.rows(events.item)
        moved = replace(events, item=readonly(item))
        keep = item >= 0
        return moved if keep.all() else moved.select(keep)

    def outward(self, found: Scored, k: int) -> Scored:
        """Return up to ``k`` of what the model gave in catalogue rows, those the catalogue has."""
        if self.items_out is None:
            return found
        items = self.catalogue_rows(found.items)
        keep = np.flatnonzero(items >= 0)[:k]
        return Scored(items=readonly(items[keep]), scores=readonly(found.scores[keep]))
