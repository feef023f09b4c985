"""How far a cold start on Complete Journey could go if more were known than is, and what popularity trades.

Ceilings know what no feed can: one list for everybody, by what all other households buy after the cut; lists
by attributes, from a recipe that is taught by what those households buy after the cut; and the taste of each
new household in its own purchases before the cut. The frontier multiplies our preference by popularity to a
power, to trade the head for the tail.
"""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F64, Rows, readonly
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.lookalike_replay import Replay

POWERS = (-0.5, -0.2, 0.2, 0.5, 1.0)


def future(year: Snapshot, replay: Replay) -> Snapshot:
    """Return what all households but the new ones do after the cut, in the training part's vocabularies."""
    users = _rows_of(year, replay)
    users[np.isin(users, replay.new)] = -1
    events = _moved(year, replay, users)
    return replay.train.with_interactions(
        events.select(events.timestamp >= replay.train.cutoff), cutoff=year.cutoff
    )


def taught_by(snapshot: Snapshot, seed: int) -> LookalikeModel:
    """Return the recipe trained on ``snapshot``; of its tastes only those that attributes tell are used."""
    return Lookalike(factors=8, epochs=1).train(snapshot, rng=derive(seed, "future"), progress=Silent())


def own_taste(model: LookalikeModel, year: Snapshot, replay: Replay) -> F64:
    """Return the scores (n_new, n_items) of each new household's taste, from its purchases before the cut."""
    place = np.full(replay.train.n_users + 1, -1, np.int32)  # the last is for who is not there
    place[replay.new] = np.arange(len(replay.new), dtype=np.int32)
    events = _moved(year, replay, place[_rows_of(year, replay)])
    told = events.select(events.timestamp < replay.train.cutoff)
    nobody = np.full(len(replay.new), -1, np.int32)
    vectors = model.taste.vectors(Queries(users=nobody, histories=told, now=replay.train.cutoff))
    return (vectors @ model.taste.index.by_row().T).astype(np.float64)


def frontier(scores: F64, popularity: F64) -> list[F64]:
    """Return scores (n, n_items) times popularity (n_items,) to each of `POWERS`; below 0 rare items gain."""
    wanted = np.maximum(scores, 1e-6)
    return [wanted * np.maximum(popularity, 1.0) ** power for power in POWERS]


def _rows_of(year: Snapshot, replay: Replay) -> Rows:
    """Return the row in the training part of every user of the year, -1 where it has none."""
    return np.array(replay.train.users.rows(year.users.to_arrow()), np.int32)


def _moved(year: Snapshot, replay: Replay, users: Rows) -> Interactions:
    items = replay.train.items.rows(year.items.to_arrow())
    moved = year.interactions.mapped(users=readonly(users), items=items)
    return moved.select(np.lexsort((moved.timestamp, moved.user)))
