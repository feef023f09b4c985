"""Which persona a user belongs to, also one who came a moment ago."""

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from penchant.feed.bridge import Bridge
from penchant.feed.live import Live
from penchant.kernel.arrays import Rows, readonly
from penchant.models.base import Placing


class Groups(Protocol):
    """Numbers personas 0, 1, 2 ...; -1 is nobody's."""

    @property
    def labels(self) -> Rows | None:
        """Return the persona of each user of the serving snapshot, (n_users,); None when there are none."""
        ...

    def of(self, user_id: str, user: int) -> int:
        """Return the persona of a user: its id, and its row in the snapshot or -1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoGroups:
    """Nobody belongs to any persona."""

    labels: Rows | None = None

    def of(self, user_id: str, user: int) -> int:
        """Return -1."""
        return -1


@final
class ModelGroups:
    """The personas of a model, by the ids given to its clusters."""

    def __init__(self, bridge: Bridge, placer: Placing, live: Live, ids: Rows) -> None:
        self._placer = placer
        self._live = live
        self._ids = ids
        own = placer.personas
        if bridge.users_in is not None:
            own = np.append(own, np.int32(-1))[bridge.users_in]
        self.labels: Rows = readonly(np.append(ids, np.int32(-1))[own])

    def of(self, user_id: str, user: int) -> int:
        """Return the persona of a user, by the latest that was said of it."""
        put = self._live.put_since(user_id)
        if put is not None:
            cluster = self._placer.persona_of(put)
            return -1 if cluster < 0 else int(self._ids[cluster])
        return int(self.labels[user]) if user >= 0 else -1
