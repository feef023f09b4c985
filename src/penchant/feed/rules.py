"""What must not be in a feed, each with its reason."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penchant.feed.likeness import VectorSpace
from penchant.feed.limits import TextGroups
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns, says_yes
from penchant.feed.types import Candidates, Request, Verdict
from penchant.kernel.arrays import Bools, Rows, readonly

_MOST_COMPARED = 2000


def outside(candidates: Candidates, removed: Rows) -> Bools:
    """Return which candidates are not among the ``removed`` rows; the size of the catalogue costs nothing."""
    if len(removed) == 0:
        return readonly(np.ones(len(candidates), np.bool_))
    gone = np.sort(removed)
    at = np.searchsorted(gone, candidates.items)
    return readonly(gone[np.minimum(at, len(gone) - 1)] != candidates.items)


class Removing(Protocol):
    """A rule that removes items by their rows, whatever else is asked about."""

    @property
    def name(self) -> str:
        """Return the name it is declared by."""
        ...

    def gone(self, request: Request) -> Rows:
        """Return the rows that it removes, the latest reason last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Not what the user acted on already.

    Only actions of ``event_types`` count (all when empty), and only those of the last ``again_after``
    seconds when given: after that the item may come again.
    """

    name: str = "seen"
    event_types: tuple[str, ...] = ()
    again_after: float | None = None

    def gone(self, request: Request) -> Rows:
        """Return what the user has acted on, the latest last."""
        history = request.history
        if not self.event_types and self.again_after is None:
            return history.item
        counts = np.ones(len(history), np.bool_)
        if self.event_types:
            wanted = np.array([name in self.event_types for name in history.event_types] or [False])
            counts &= wanted[history.event_type]
        if self.again_after is not None:
            counts &= history.timestamp > request.now - self.again_after
        return history.item[counts]

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what the user has not acted on."""
        return Verdict(keep=outside(candidates, self.gone(request)), reason=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Not what the user was shown ``hide_after`` times within ``again_after`` seconds and did nothing with.

    Only impressions after the user's last action on the item count.
    """

    name: str = "shown"
    hide_after: int = 5
    again_after: float

    def gone(self, request: Request) -> Rows:
        """Return what the user was shown too often."""
        rows, times = np.unique(request.shown.since(request.now - self.again_after), return_counts=True)
        tired = rows[times >= self.hide_after]
        if len(tired):
            tired = tired[[not self._taken_since(request, row) for row in tired.tolist()]]
        return tired

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what the user was not shown too often."""
        return Verdict(keep=outside(candidates, self.gone(request)), reason=self.name)

    def _taken_since(self, request: Request, row: int) -> bool:
        """Return whether too few of an item's impressions came after the user's last action on it."""
        taken = request.history.timestamp[request.history.item == row]
        if len(taken) == 0:
            return False
        since = max(float(taken.max()), request.now - self.again_after)
        return int((request.shown.since(since) == row).sum()) < self.hide_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Nothing that is a near-duplicate of what another rule removes: the same posted again stays hidden, too.

    Near is what says the same (``groups``), or is at least so similar by vectors (``space``) to one of the
    latest 2,000 of them.
    """

    name: str
    to: Removing
    groups: TextGroups | None
    space: VectorSpace | None
    at_least: float = 1.0

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what is like nothing that the other rule removes."""
        gone, keep = self.to.gone(request), np.ones(len(candidates), np.bool_)
        if len(gone) and self.groups is not None:
            said = {self.groups.key(row) for row in np.unique(gone).tolist()} - {0}
            key = self.groups.key
            keep &= np.array([key(row) not in said for row in candidates.items.tolist()], np.bool_)
        if len(gone) and self.space is not None:
            keep &= self.space.nearest(candidates.items, gone[-_MOST_COMPARED:]) < self.at_least
        return Verdict(keep=readonly(keep), reason=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitive:
    """No items whose ``property`` says yes, except for users whose property ``allowed_by`` does.

    An item without the property is not sensitive, a user without it is not allowed.
    """

    name: str = "sensitive"
    property: str
    allowed_by: str | None
    live: Live
    columns: LiveColumns

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what is not sensitive, or everything."""
        if self.allowed_by is not None:
            about = self.live.properties(request.user_id, request.user)
            if says_yes(about.get(self.allowed_by)):
                return Verdict(keep=readonly(np.ones(len(candidates), np.bool_)), reason=self.name)
        keep = ~self.columns.flagged(self.property, candidates.items, request.now)
        return Verdict(keep=readonly(keep), reason=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclude:
    """Not what the request excludes, nor the item it starts from."""

    name: str = "exclude"

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what is not excluded."""
        rows = request.exclude if request.item < 0 else np.append(request.exclude, np.int32(request.item))
        return Verdict(keep=outside(candidates, rows), reason="excluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Only items that can be shown: those of which ``property`` was given."""

    name: str = "known"
    property: str

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep the items that have the property."""
        look = request.catalogue.property
        keep = [look(row, self.property) is not None for row in candidates.items.tolist()]
        return Verdict(keep=readonly(np.array(keep, np.bool_)), reason="unknown item")
