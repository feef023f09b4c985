"""What each user was shown lately: the feeds served to it, or the lists that an app says it showed."""

from collections import OrderedDict
from typing import final

import numpy as np

from penchant.feed.types import NOTHING_SHOWN, Impressions
from penchant.kernel.arrays import Rows, readonly

_FEEDS_KEPT = 50


@final
class Showings:
    """The newest 50 feeds of each of ``max_users`` users, those shown something last. One thread adds.

    A feed is known by its request id; said again, it is replaced: what an app says it showed counts, not what
    it was sent.
    """

    def __init__(self, *, max_users: int) -> None:
        self._max_users = max_users
        self._users: OrderedDict[str, dict[str, tuple[float, Rows]]] = OrderedDict()

    def add(self, user_id: str, request_id: str, time: float, rows: Rows) -> None:
        """Take one feed or list that a user was shown."""
        feeds = self._users.setdefault(user_id, {})
        self._users.move_to_end(user_id)
        before = feeds.get(request_id)
        feeds[request_id] = (time if before is None else before[0], rows)
        if len(feeds) > _FEEDS_KEPT:
            del feeds[next(iter(feeds))]
        if len(self._users) > self._max_users:
            self._users.popitem(last=False)

    def join(self, user_id: str, stranger: str) -> None:
        """Give a user what it was shown before it was known by name."""
        for request_id, (time, rows) in self._users.pop(stranger, {}).items():
            self.add(user_id, request_id, time, rows)

    def of(self, user_id: str) -> Impressions:
        """Return all impressions of a user that are kept, oldest first."""
        feeds = sorted(self._users.get(user_id, {}).values(), key=lambda feed: feed[0])
        if not feeds:
            return NOTHING_SHOWN
        times = np.repeat([time for time, _ in feeds], [len(rows) for _, rows in feeds])
        return Impressions(
            items=readonly(np.concatenate([rows for _, rows in feeds])), timestamps=readonly(times)
        )
