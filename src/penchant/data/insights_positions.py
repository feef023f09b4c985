"""Insights into where in a list users act: a log that says always the same place was filled in wrongly."""

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.eventlog import EventLog
from penchant.data.events import ServedSlot
from penchant.data.insights_finding import Insight, percent
from penchant.kernel.arrow import ArrowBatch, pc

_LEAST = 100  # actions on lists of two or more
_ONE_POSITION, _NOT_SHOWN = 0.9, 0.2  # share of them
_JOINED = 100_000  # actions looked up among the feeds served
_SLOTS = msgspec.json.Decoder(list[ServedSlot])
_ABSENT = -1


def position_insights(log: EventLog, *, upto: int | None = None) -> Iterator[Insight]:
    """Yield what the places of items acted on, in impressions and in served feeds, give away."""
    places: Counter[int] = Counter()
    feeds: dict[str, list[str]] = {}
    columns = ["item_id", "impression", "recommendation_id"]
    for batch in log.scan("acted", upto=upto, columns=columns):
        places.update(_in_impressions(batch))
        if sum(map(len, feeds.values())) < _JOINED:
            _collect(batch, feeds)
    if feeds:
        for batch in log.scan("served", upto=upto, columns=["event_id", "slots"]):
            places.update(_in_feeds(batch, feeds))
    yield from _judged(places)


def _in_impressions(batch: ArrowBatch) -> Counter[int]:
    """Return how often the item stood at each place of the impression, `_ABSENT` where it did not."""
    batch = batch.filter(pc.greater(pc.list_value_length(batch["impression"]), 1))
    if batch.num_rows == 0:
        return Counter()
    shown, item = batch["impression"], batch["item_id"]
    parent = pc.list_parent_indices(shown)
    length = pc.list_value_length(shown).to_numpy()
    within = np.arange(len(parent)) - np.repeat(np.cumsum(length) - length, length)
    hit = pc.equal(pc.list_flatten(shown), item.take(parent)).to_numpy(zero_copy_only=False)
    place = np.full(batch.num_rows, _ABSENT)
    owner = np.asarray(parent)[hit]
    place[owner[::-1]] = within[hit][::-1]  # the first place wins where an item was shown twice
    values, counts = np.unique(place, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _collect(batch: ArrowBatch, feeds: dict[str, list[str]]) -> None:
    """Add the items acted on in each feed, where there is no impression."""
    batch = batch.filter(pc.and_(batch["recommendation_id"].is_valid(), batch["impression"].is_null()))
    for feed, item in zip(batch["recommendation_id"].to_pylist(), batch["item_id"].to_pylist(), strict=True):
        feeds.setdefault(feed, []).append(item)


def _in_feeds(batch: ArrowBatch, feeds: dict[str, list[str]]) -> Counter[int]:
    places: Counter[int] = Counter()
    batch = batch.filter(pc.is_in(batch["event_id"], pa.array(list(feeds), pa.string())))
    for feed, slots in zip(batch["event_id"].to_pylist(), batch["slots"].to_pylist(), strict=True):
        place = {slot.item_id: slot.position for slot in reversed(_SLOTS.decode(slots))}
        if len(place) > 1:
            places.update(place.get(item, _ABSENT) for item in feeds[feed])
    return places


def _judged(places: Counter[int]) -> Iterator[Insight]:
    absent = places.pop(_ABSENT, 0)
    n = places.total()
    if n + absent >= _LEAST and absent / (n + absent) >= _NOT_SHOWN:
        share = absent / (n + absent)
        yield Insight(
            rule="acted_on_not_shown",
            level="warning",
            what=f"{absent:,} interactions ({percent(share)}) are on an item that their list did not show.",
            numbers={"interactions": absent, "share": share},
            what_to_do="Check that impression and recommendation_id belong to the list that the user saw.",
        )
    if n < _LEAST:
        return
    place, most = places.most_common(1)[0]
    if most / n >= _ONE_POSITION:
        yield Insight(
            rule="one_position",
            level="problem",
            what=f"{percent(most / n)} of {n:,} interactions with lists are on position {place + 1}.",
            numbers={"interactions": n, "share": most / n, "position": place + 1},
            what_to_do="Check that impression lists the items in the order shown, not the item acted on "
            "first; effects of position cannot be told from taste otherwise.",
        )
