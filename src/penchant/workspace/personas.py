"""Personas that are served: their ids stay the same when a model is trained anew, and their feeds are kept.

A model numbers its clusters as it finds them. When it is published, each cluster takes the id of the cluster
of the model before that shares most users with it (Hungarian matching); ``personas/<recipe>.json`` remembers
the ids of each version.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

import msgspec
import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.feed.bridge import Bridge
from penchant.feed.groups import Groups, ModelGroups, NoGroups
from penchant.feed.live import Live
from penchant.kernel.arrays import Rows, readonly
from penchant.kernel.errors import InputError, NotFound, NotReady
from penchant.kernel.folders import write_atomically
from penchant.kernel.names import did_you_mean
from penchant.models.base import Card, Placing
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.store import read_card
from penchant.models.user_clusters import Clusters, keep_ids
from penchant.workspace.registry import Registry

FOLDER = "personas"
_VERSIONS_KEPT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaShare:
    """One persona of a model: how many of the users with attributes belong to it."""

    id: int
    users: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaFeed:
    """What a persona's users want on average; ``tag`` changes when the answer may."""

    persona: int
    model: str
    tag: str
    items: tuple[tuple[str, float], ...]  # (item id, score), best first


@final
class PersonaBook:
    """The personas of the models of one view."""

    def __init__(self, bridges: Mapping[str, Bridge], ids: Mapping[str, Rows]) -> None:
        self._bridges = bridges
        self._ids = ids  # by model, of each cluster
        self._feeds: dict[tuple[str, int, int], PersonaFeed] = {}

    @classmethod
    def of(cls, models: Mapping[str, Bridge], registry: Registry, versions: Mapping[str, str]) -> Self:
        """Return the personas of those of the models that have any."""
        bridges = {name: bridge for name, bridge in models.items() if bridge.placer is not None}
        ids = {
            name: ids_of(registry.folder, name, versions[name], bridge.placer.n_personas)
            for name, bridge in bridges.items()
            if bridge.placer is not None
        }
        return cls(bridges, ids)

    def after(self, models: Mapping[str, Bridge]) -> Self:
        """Return the personas of the same models once these have learnt from new events."""
        learnt = {name: models[name] for name in self._bridges}
        if all(learnt[name] is bridge for name, bridge in self._bridges.items()):
            return self
        return type(self)(learnt, self._ids)

    def groups(self, name: str | None, live: Live) -> Groups:
        """Return the personas of the named model, or of the first that has any."""
        if name is None:
            name = next(iter(self._bridges), None)
        bridge = None if name is None else self._bridges.get(name)
        if name is None or bridge is None or bridge.placer is None:
            return NoGroups()
        return ModelGroups(bridge, bridge.placer, live, self._ids[name])

    def model(self, name: str | None = None) -> str:
        """Return the name of the asked model, or of the first that has personas.

        Raises:
            NotFound: there is none.
        """
        found = next(iter(self._bridges), None) if name is None else name
        if found is None or found not in self._bridges:
            raise NotFound(
                "no trained model has personas." if name is None else f"no model '{name}' has personas.",
                fix='Add a recipe "lookalike", import users with attributes, and run `penchant train`.'
                if not self._bridges
                else did_you_mean(found or "", self._bridges),
            )
        return found

    def losses(self, name: str) -> Mapping[str, float]:
        """Return what a persona's feed loses against users' own, NDCG at 20 on the replay at training."""
        return losses_of(self._bridges[name].model.card)

    def shares(self, name: str) -> list[PersonaShare]:
        """Return the personas of a model by id."""
        placer = self._placer(name)
        counts = np.bincount(placer.personas + 1, minlength=placer.n_personas + 1)[1:]
        total = max(int(counts.sum()), 1)
        found = [
            PersonaShare(id=int(id_), users=int(n), share=float(n) / total)
            for id_, n in zip(self._ids[name], counts, strict=True)
        ]
        return sorted(found, key=lambda persona: persona.id)

    def feed(self, name: str, persona: int, k: int, live: Live) -> PersonaFeed:
        """Return the best k items of a persona, kept until the model learns or is made anew.

        Raises:
            NotFound: there is no such persona.
        """
        known = self._feeds.get((name, persona, k))
        if known is None:
            own = np.flatnonzero(self._ids[name] == persona)
            if len(own) == 0:
                ids = ", ".join(map(str, sorted(self._ids[name].tolist())))
                raise NotFound(f"there is no persona {persona}.", fix=f"Known: {ids}.")
            bridge = self._bridges[name]
            found = bridge.outward(self._placer(name).persona_top(int(own[0]), k + bridge.spare), k)
            ids = [live.catalogue.id(row) for row in found.items.tolist()]
            items = tuple(zip(ids, found.scores.tolist(), strict=True))
            content = msgspec.json.encode((name, persona, items))
            tag = hashlib.blake2b(content, digest_size=8).hexdigest()
            known = self._feeds[name, persona, k] = PersonaFeed(
                persona=persona, model=name, tag=tag, items=items
            )
        return known

    def _placer(self, name: str) -> Placing:
        placer = self._bridges[name].placer
        assert placer is not None
        return placer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPersonas:
    """A model that is served and has personas, their ids (k,), and the snapshot it is served with."""

    name: str
    model: LookalikeModel
    ids: Rows
    snapshot: Snapshot


def served_personas(registry: Registry, name: str | None) -> ServedPersonas | None:
    """Return the personas of the named recipe, or of the first that has any; None when none has.

    Raises:
        NotFound: the named recipe is not served, or has no personas.
    """
    try:
        pointer = registry.current()
    except (NotReady, InputError):
        pointer = None
    for asked, version in ({} if pointer is None else pointer.models).items():
        if name not in (None, asked) or pointer is None or not registry.has(asked, version):
            continue
        if read_card(registry.model_folder(asked, version)).card.recipe != Lookalike.name:
            continue
        model = registry.open(asked, version)
        if isinstance(model, LookalikeModel) and model.n_personas:
            ids = ids_of(registry.folder, asked, version, model.n_personas)
            snapshot = Snapshot.open(registry.snapshot_folder(pointer.snapshot))
            return ServedPersonas(name=asked, model=model, ids=ids, snapshot=snapshot)
    if name is not None:
        raise NotFound(
            f"no trained recipe '{name}' has personas.",
            fix='Name a trained recipe "lookalike", or leave out --model.',
        )
    return None


def losses_of(card: Card) -> dict[str, float]:
    """Return what a persona's feed loses: for ``new`` users and for ``known`` ones, where it was measured."""
    keys = {"new": "persona_loss_new_ndcg_at_20", "known": "persona_loss_known_ndcg_at_20"}
    return {short: card.metrics[key] for short, key in keys.items() if key in card.metrics}


def served_losses(registry: Registry) -> dict[str, dict[str, float]]:
    """Return the losses of every recipe that is served and has personas; none before the first training."""
    try:
        served = registry.current().models
    except (NotReady, InputError):
        return {}
    cards = {
        name: read_card(registry.model_folder(name, version)).card
        for name, version in served.items()
        if registry.has(name, version)
    }
    return {name: losses for name, card in cards.items() if (losses := losses_of(card))}


def ids_of(folder: Path, name: str, version: str, n: int) -> Rows:
    """Return the persona id of each of a model's ``n`` clusters."""
    ids = _read(folder, name).get(version, list(range(n)))
    return readonly(np.array(ids if len(ids) == n else list(range(n)), np.int32))


def keep_persona_ids(registry: Registry, name: str, version: str, before: str | None) -> None:
    """Number the clusters of a new version like those before; the caller holds the training lock."""
    known = _read(registry.folder, name)
    model = registry.open(name, version)
    if version in known or not isinstance(model, Placing):
        return
    ids = list(range(model.n_personas))
    if before is not None and before in known and registry.has(name, before):
        old = registry.open(name, before)
        if isinstance(old, Placing):
            ids = _matched(model, old, np.array(known[before], np.int32))
    known[version] = ids
    kept = dict(list(known.items())[-_VERSIONS_KEPT:])
    write_atomically(_file(registry.folder, name), msgspec.json.encode(kept))


def _matched(model: Placing, old: Placing, old_ids: Rows) -> list[int]:
    inside = np.flatnonzero(model.personas >= 0)
    rows = old.users.rows(model.users.to_arrow())[inside]
    before = np.where(rows >= 0, old.personas[rows], -1)
    before = np.where(before >= 0, old_ids[before], -1).astype(np.int32)
    k = model.n_personas
    labels = readonly(model.personas[inside])
    new = keep_ids(Clusters(labels=labels, centres=np.zeros((k, 1), np.float32), inertia=0.0), before)
    taken = {int(c): int(new.labels[np.argmax(labels == c)]) for c in np.unique(labels)}
    free = (i for i in range(2 * k) if i not in taken.values())
    return [taken[c] if c in taken else next(free) for c in range(k)]


def _read(folder: Path, name: str) -> dict[str, list[int]]:
    try:
        return msgspec.json.decode(_file(folder, name).read_bytes(), type=dict[str, list[int]])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.json"
