"""What a category bandit knows, folded from the log: the feeds it gave and what came of them.

The same events give the same state in every worker, whatever was asked in between, and it outlives snapshots:
all is known by name. A checkpoint is only a shorter way to the same state.
"""

import threading
from collections.abc import Callable, Iterable
from typing import final

import msgspec

from penchant.bandits.delayed import Delayed, DelayedState, RewardRules
from penchant.bandits.evidence import Evidence, EvidenceState
from penchant.data.events import Acted, AnyEvent, Served

CATEGORIES = "categories"  # the source whose places are the bandit's
EVERYBODY = "all"
FORMAT = 1


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state after event ``head``; of use only for the same ``settings`` (a digest of them)."""

    format: int
    settings: str
    head: int
    evidence: EvidenceState
    delayed: DelayedState


def persona_node(group: int) -> str:
    """Return the name of a persona's node."""
    return f"persona:{group}"


def user_node(user_id: str) -> str:
    """Return the name of a user's node."""
    return f"user:{user_id}"


@final
class CategoryState:
    """The evidence of one feed. One thread folds at a time, any number read."""

    def __init__(
        self,
        feed: str,
        *,
        half_life: Callable[[str], float],
        rules: RewardRules,
        max_users: int,
        settings: str,
    ) -> None:
        self.feed = feed
        self.evidence = Evidence(half_life, most_passing=max_users)
        self.delayed = Delayed(self.evidence, rules)
        self.head = 0
        self._settings = settings
        self._lock = threading.Lock()

    def fold(
        self,
        events: Iterable[tuple[int, AnyEvent]],
        *,
        arm_of: Callable[[str], int],
        group_of: Callable[[str], int],
    ) -> None:
        """Take numbered events, those at or below ``head`` skipped.

        ``arm_of`` gives the arm of an item id, -1 for an unknown item; ``group_of`` the persona of a user id,
        -1 for none.
        """
        with self._lock:
            for number, event in events:
                if number <= self.head:
                    continue
                if isinstance(event, Served) and event.feed == self.feed:
                    self._show(event, arm_of, group_of)
                elif isinstance(event, Acted):
                    self.delayed.act(
                        event.item_id,
                        kind=event.event_type,
                        value=event.event_value,
                        time=event.timestamp,
                        request_id=event.recommendation_id,
                        who=user_node(event.user_id),
                        visible=event.impression,
                    )
                self.head = number

    def saved(self) -> bytes:
        """Return a checkpoint."""
        with self._lock:
            return msgspec.msgpack.encode(
                Checkpoint(
                    format=FORMAT,
                    settings=self._settings,
                    head=self.head,
                    evidence=self.evidence.state(),
                    delayed=self.delayed.state(),
                )
            )

    def restore(self, saved: bytes) -> bool:
        """Take over a checkpoint; return False when it is damaged or of other settings."""
        try:
            found = msgspec.msgpack.decode(saved, type=Checkpoint)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return False
        if (found.format, found.settings) != (FORMAT, self._settings):
            return False
        self.evidence.restore(found.evidence)
        self.delayed.restore(found.delayed)
        self.head = found.head
        return True

    def _show(self, event: Served, arm_of: Callable[[str], int], group_of: Callable[[str], int]) -> None:
        slots = sorted(event.slots, key=lambda slot: slot.position)
        group = group_of(event.user_id)
        self.delayed.show(
            event.event_id,
            path=[EVERYBODY, *([persona_node(group)] if group >= 0 else [])],
            passing=user_node(event.user_id),
            arms=[arm_of(slot.item_id) if slot.source == CATEGORIES else -1 for slot in slots],
            ids=[slot.item_id for slot in slots],
            time=event.timestamp,
        )
