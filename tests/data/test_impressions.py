"""How often items were shown, against the readable oracle: one event after the other."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.events import Acted, AnyEvent, ItemPut, Served, ServedSlot
from penchant.data.log_rows import to_batch
from penchant.data.log_snapshot import snapshot_of
from penchant.data.sqlite_log import SqliteLog
from penchant.testing.memory_log import MemoryLog

ITEMS = ["plain", 'quo"te\\', "ä😀", "line\nend", "tab\t/", "item_id"]
items = st.sampled_from(ITEMS)
times = st.sampled_from([1.0, 5.0, 9.0])
feeds = st.sampled_from(["s0", "s1", "s2", "s3"])


def served(slots: list[tuple[str, str]], timestamp: float) -> Served:
    return Served(
        event_id="",
        timestamp=timestamp,
        user_id="u",
        feed="home",
        model_version="v",
        slots=[ServedSlot(item_id=i, position=n, source=s, score=0.5) for n, (i, s) in enumerate(slots)],
    )


def acted(impression: list[str] | None, feed: str | None, timestamp: float) -> Acted:
    return Acted(
        event_id="",
        timestamp=timestamp,
        user_id="u",
        item_id="plain",
        impression=impression,
        recommendation_id=feed,
    )


shown = st.builds(served, st.lists(st.tuples(items, items), max_size=4), times)
told = st.builds(acted, st.one_of(st.none(), st.lists(items, max_size=3)), st.one_of(st.none(), feeds), times)


def oracle(events: list[AnyEvent], cutoff: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    named: set[str] = set()
    for event in events:
        if isinstance(event, Acted) and event.impression is not None and event.timestamp <= cutoff:
            feed = event.recommendation_id
            if feed is None or feed not in named:
                counts.update(event.impression)
            if feed is not None:
                named.add(feed)
    for event in events:
        if isinstance(event, Served) and event.event_id not in named and event.timestamp <= cutoff:
            counts.update(slot.item_id for slot in event.slots)
    return counts


@settings(max_examples=40)
@given(st.lists(shown, max_size=4), st.lists(told, max_size=6), st.sampled_from([None, 0.5, 5.0]))
def test_impressions_are_those_of_the_oracle(
    feeds: list[Served], actions: list[Acted], cutoff: float | None
) -> None:
    events: list[AnyEvent] = [
        ItemPut(event_id=f"p{n}", timestamp=0.0, item_id=item) for n, item in enumerate(ITEMS)
    ]
    events += [Served(**{**fields(one), "event_id": f"s{n}"}) for n, one in enumerate(feeds)]
    events += [Acted(**{**fields(one), "event_id": f"a{n}"}) for n, one in enumerate(actions)]
    counts = oracle(events, float("inf") if cutoff is None else cutoff)
    log = MemoryLog()
    log.append(events)
    snapshot = snapshot_of(log, cutoff=cutoff)
    assert [counts[item] for item in snapshot.items.ids(range(len(ITEMS)))] == snapshot.impressions.tolist()


def fields(event: AnyEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def test_sealed_bulk_and_new_feeds_count_alike() -> None:
    parts = [[served([("plain", "a"), ("ä😀", "b")], 1.0)] * 3, [served([("plain", "a")], 2.0)] * 2]
    events = [
        Served(**{**fields(one), "event_id": f"s{n}"}) for n, one in enumerate(e for p in parts for e in p)
    ]
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteLog.open(Path(folder))
        log.append([ItemPut(event_id=item, timestamp=0.0, item_id=item) for item in ITEMS])
        log.append(events[:2])
        log.seal()
        log.append_bulk("served", [to_batch("served", events[2:4])])
        log.append(events[4:])
        log.append([Acted(event_id="a", timestamp=3.0, user_id="u", item_id="plain", impression=["plain"],
                          recommendation_id="s4")])  # fmt: skip
        snapshot = snapshot_of(log)
        log.close()
    counts = dict(zip(snapshot.items.ids(range(len(ITEMS))), snapshot.impressions.tolist(), strict=True))
    assert {item: n for item, n in counts.items() if n} == {"plain": 3 + 1 + 1, "ä😀": 3}
