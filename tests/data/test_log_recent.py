"""A log's tail is the same whether its events are still known to who appended them or read from disk."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from penchant.data.deletion import Gone
from penchant.data.events import Acted, AnyEvent
from penchant.data.log_recent import Recent
from penchant.data.sqlite_log import SqliteLog


def event(name: object) -> Acted:
    return Acted(event_id=str(name), timestamp=1.0, user_id="u", item_id="i")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=8),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 20),
)
def test_between_is_all_or_nothing(runs: list[tuple[int, int]], after: int, more: int, kept: int) -> None:
    recent = Recent(kept)
    added: list[tuple[int, int]] = []  # number of the first, events
    number = 1
    for gap, n in runs:
        number += gap
        recent.add(number, [event(i) for i in range(number, number + n)])
        added.append((number, n))
        number += n
    while sum(n for _, n in added) > kept:
        added.pop(0)
    known = {i for first, n in added for i in range(first, first + n)}
    wanted = list(range(after + 1, after + more + 1))
    expected = [(i, event(i)) for i in wanted] if known.issuperset(wanted) else None
    assert recent.between(after, after + more) == expected


def test_own_events_others_known_ones_and_removed_ones(tmp_path: Path) -> None:
    mine, other = SqliteLog.open(tmp_path), SqliteLog.open(tmp_path)
    given_: list[AnyEvent] = [event("a"), Acted(event_id="b", timestamp=2, user_id="u", item_id="j")]
    mine.append(given_)
    mine.append([event("c"), event("a")])  # one of them known: read from the disk
    other.append([event("d")])
    mine.append([event("e")])
    for after in range(6):
        for limit in range(1, 7):
            assert mine.tail(after, limit) == other.tail(after, limit)
    assert [number for number, _ in mine.tail(0)] == [1, 2, 3, 4, 5]
    assert isinstance(mine.tail(1, 1)[0][1].timestamp, float), "as it reads back, not as it was given"
    mine.rewrite(Gone.of({"u"}, author="author"), note=lambda _: b"")
    mine.settle()
    assert mine.tail(0) == other.tail(0) == []
    mine.close()
    other.close()
