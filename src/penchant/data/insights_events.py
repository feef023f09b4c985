"""Insights into interactions: how many, whose, when, and which are doubtful."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np

from penchant.data.insights_finding import Insight, percent
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F64, I64
from penchant.kernel.clock import DAY, HOUR

MIN_INTERACTIONS = 1_000
MIN_USERS = 25  # with two interactions each
MAX_EVENT_TYPES = 10
_YEAR_1990 = 631_152_000.0
_DUPLICATES = 0.01  # share of interactions
_ONE_USER, _ONE_ITEM = 0.05, 0.20  # share of interactions ...
_TIMES_THE_MEAN = 10  # ... and this many times what one has on average
_NO_IDS = (
    *("nan", "NaN", "NAN", "none", "None", "NONE", "null", "Null", "NULL", "nil", "undefined"),
    *("n/a", "N/A", "NA", "<NA>", "unknown", "Unknown"),
)
_QUIET = 50  # interactions that a gap must have swallowed
_STRAY = 0.001  # share of interactions that may come long after all others
_STEADY = 0.6  # share of the other bins with events: five of seven days, sixteen of twenty-four hours


def event_insights(snapshot: Snapshot) -> Iterator[Insight]:
    """Yield what the interactions, their users and their items show."""
    if len(snapshot.interactions) == 0:
        yield Insight(
            rule="no_interactions",
            level="problem",
            what="There are no interactions.",
            numbers={"interactions": 0},
            what_to_do="Import some with `penchant import --interactions FILE`; nothing personal can be "
            "learned without them.",
        )
        return
    rules: tuple[Callable[[Snapshot], Iterator[Insight]], ...] = (
        _too_few,
        _event_types,
        _times,
        _gaps,
        _strays,
        _duplicates,
        _dominating,
        _ids_that_are_none,
    )
    for rule in rules:
        yield from rule(snapshot)


def _too_few(snapshot: Snapshot) -> Iterator[Insight]:
    n = len(snapshot.interactions)
    if n < MIN_INTERACTIONS:
        yield Insight(
            rule="few_interactions",
            level="problem",
            what=f"Only {_count(n, 'interaction')}; {MIN_INTERACTIONS:,} is the least to learn from.",
            numbers={"interactions": n, "least": MIN_INTERACTIONS},
            what_to_do="Import a longer period; until then serve popular and trending items.",
        )
    active = int((np.diff(snapshot.by_user[0]) >= 2).sum())
    if active < MIN_USERS:
        yield Insight(
            rule="few_users",
            level="problem",
            what=f"Only {_count(active, 'user')} with two interactions or more; {MIN_USERS} is the least.",
            numbers={"users": active, "least": MIN_USERS},
            what_to_do="Import a longer period, and check that user_id is the same for one person every time "
            "(not a session or an order number).",
        )


def _event_types(snapshot: Snapshot) -> Iterator[Insight]:
    names = snapshot.interactions.event_types
    used = np.flatnonzero(np.bincount(snapshot.interactions.event_type, minlength=len(names)))
    if len(used) > MAX_EVENT_TYPES:
        some = ", ".join(names[i] for i in used[:5])
        yield Insight(
            rule="many_event_types",
            level="warning",
            what=f"There are {len(used):,} event types ({some} ...); more than {MAX_EVENT_TYPES} are hard to "
            "weigh against each other.",
            numbers={"event_types": len(used), "most": MAX_EVENT_TYPES},
            what_to_do="Merge those that mean the same; move details such as a page name to another column.",
        )


def _times(snapshot: Snapshot) -> Iterator[Insight]:
    time = snapshot.interactions.timestamp
    n = len(time)
    if n > 1 and time[0] == time[-1]:
        yield Insight(
            rule="one_time",
            level="problem",
            what=f"All {n:,} interactions have the same time, {_moment(time[0])}.",
            numbers={"interactions": n, "timestamp": float(time[0])},
            what_to_do="Import when each interaction happened, not when it was exported: trends, splits by "
            "time and recency need it.",
        )
    early = int((time < _YEAR_1990).sum())
    if early:
        yield Insight(
            rule="early_times",
            level="warning",
            what=f"{_count(early, 'interaction')} before 1990 ({percent(early / n)}), the first on "
            f"{_moment(time[0])}.",
            numbers={"interactions": early, "first": float(time[0])},
            what_to_do="Check the unit of timestamp: seconds since 1970 are expected, not dates such as "
            "20240131, days or counters.",
        )


def _gaps(snapshot: Snapshot) -> Iterator[Insight]:
    time = snapshot.interactions.timestamp
    span = float(time[-1] - time[0])
    if span < 3 * DAY:
        return
    width, least = (HOUR, 24) if span < 14 * DAY else (DAY, 3)
    gaps = find_gaps(time, width=width, least=least)
    if gaps:
        start, stop = max(gaps, key=lambda gap: gap[1] - gap[0])
        quiet = sum(stop - start for start, stop in gaps) / DAY
        yield Insight(
            rule="gap_in_time",
            level="warning",
            what=f"Nothing happened for {quiet:.0f} days in {_count(len(gaps), 'gap')}; the longest is from "
            f"{_moment(start)} to {_moment(stop)}.",
            numbers={"gaps": len(gaps), "days": quiet, "start": start, "stop": stop},
            what_to_do="If you were not closed then, import what is missing; a lost day looks like a loss of "
            "interest.",
        )


def _strays(snapshot: Snapshot) -> Iterator[Insight]:
    time = snapshot.interactions.timestamp
    n = find_strays(time)
    if n:
        yield Insight(
            rule="stray_times",
            level="warning",
            what=f"{_count(n, 'interaction')} of {len(time):,}, from {_moment(time[-n])} on, long after the "
            f"others, which end at {_moment(time[-n - 1])}.",
            numbers={"interactions": n, "others_end": float(time[-n - 1]), "first": float(time[-n])},
            what_to_do="Check the clocks that they come from: what is recent, for trends, popularity and "
            "tests, counts back from the newest interaction.",
        )


def find_strays(time: F64) -> int:
    """Return how many of the last events, one in 1,000 at most, come long after all others.

    Long is a tenth of the time before, and 30 days at least. ``time`` (seconds) ascends.
    """
    last = int(len(time) * _STRAY)
    if last == 0:
        return 0
    end = time[-last - 1 :]
    long = np.flatnonzero(np.diff(end) >= np.maximum(30 * DAY, (end[:-1] - time[0]) / 10))
    return last - int(long[0]) if len(long) else 0


def find_gaps(time: F64, *, width: float, least: int) -> list[tuple[float, float]]:
    """Return (start, stop) of each run of ``least`` or more bins of ``width`` seconds without an event.

    ``time`` ascends. A run counts where it should have held at least 50 events, where they are frequent on
    both sides (a quarter of the usual over seven bins), and where most other bins are not empty.
    """
    bins = ((time - time[0]) // width).astype(np.int64)
    counts = np.bincount(bins)
    usual = float(np.median(counts[counts > 0]))
    starts, stops = _runs(counts == 0)
    found: list[tuple[float, float]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        long = stop - start >= least and (stop - start) * usual >= _QUIET
        busy = min(counts[max(0, start - 7) : start].sum(), counts[stop : stop + 7].sum()) / 7 >= usual / 4
        if long and busy:
            found.append((float(time[0] + start * width), float(time[0] + stop * width)))
    others = len(counts) - sum(stop - start for start, stop in found) / width
    return found if np.count_nonzero(counts) >= _STEADY * others else []


def _runs(which: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[I64, I64]:
    """Return where runs of True start and stop."""
    change = np.diff(np.concatenate([[0], which.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _duplicates(snapshot: Snapshot) -> Iterator[Insight]:
    events = snapshot.interactions
    same = np.ones(len(events) - 1, np.bool_)
    for column in (events.timestamp, events.user, events.item, events.event_type):
        same &= column[1:] == column[:-1]
    n, share = int(same.sum()), float(same.sum()) / len(events)
    if share >= _DUPLICATES:
        yield Insight(
            rule="duplicates",
            level="warning",
            what=f"{n:,} interactions ({percent(share)}) repeat another of the same user, item, time, type.",
            numbers={"duplicates": n, "share": share},
            what_to_do="If they are one event told twice, remove them or give each event an event_id; if "
            "they are lines of one purchase, no matter.",
        )


def _dominating(snapshot: Snapshot) -> Iterator[Insight]:
    for word, rows, vocab, limit, advice in (
        (
            "user",
            snapshot.interactions.user,
            snapshot.users,
            _ONE_USER,
            "Check whether it is a robot, a test account or a stand-in for unknown users, and leave it out.",
        ),
        (
            "item",
            snapshot.interactions.item,
            snapshot.items,
            _ONE_ITEM,
            "Check whether it is a real item (not a delivery fee, a home page or a stand-in), and leave it "
            "out if not.",
        ),
    ):
        counts = np.bincount(rows, minlength=len(vocab))
        top = int(counts.argmax())
        share = float(counts[top]) / len(rows)
        if share >= limit and counts[top] >= _TIMES_THE_MEAN * counts[counts > 0].mean():
            yield Insight(
                rule=f"dominating_{word}",
                level="warning",
                what=f"The {word} {vocab.id(top)!r} has {counts[top]:,} interactions ({percent(share)}).",
                numbers={"interactions": int(counts[top]), "share": share},
                what_to_do=advice,
            )


def _ids_that_are_none(snapshot: Snapshot) -> Iterator[Insight]:
    for word, rows, vocab in (
        ("user", snapshot.interactions.user, snapshot.users),
        ("item", snapshot.interactions.item, snapshot.items),
    ):
        for id_ in _NO_IDS:
            row = vocab.row(id_)
            n = int((rows == row).sum()) if row >= 0 else 0
            if n:
                yield Insight(
                    rule=f"{word}_called_none",
                    level="warning",
                    what=f"{n:,} interactions are of a {word} called {id_!r}, which looks like a missing id.",
                    numbers={"interactions": n},
                    what_to_do="Export missing ids as empty fields; the import then leaves such rows out.",
                )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"
