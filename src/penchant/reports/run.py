"""The report of one run: the data and what is odd about it, who recommends best, one feed, what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from penchant import __version__
from penchant.data.insights import Insight
from penchant.data.snapshot import Snapshot
from penchant.evaluation.leaderboard import Leaderboard
from penchant.feed.types import Step
from penchant.kernel.clock import DAY
from penchant.models.base import Card
from penchant.reports.charts import Axis, Chart, Estimate, bars, histograms, intervals, lines
from penchant.reports.page import (
    Block,
    Facts,
    FeedItem,
    FeedView,
    Finding,
    Findings,
    Links,
    Prose,
    Section,
    Table,
    render_page,
)

_WEEK = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFeed:
    """One user's feed as a person reads it; ``who`` is a sentence about the user."""

    who: str
    items: Sequence[FeedItem]
    trace: Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that one run found out."""

    title: str
    lead: str
    snapshot: Snapshot
    insights: Sequence[Insight]
    leaderboard: Leaderboard
    feed: SampleFeed
    cards: Mapping[str, Card]  # by the recipe's name in the settings
    links: Sequence[tuple[str, str]] = ()


def run_report(run: Run) -> str:
    """Return the report as one self-contained HTML page."""
    sections = [
        _data(run.snapshot, run.insights),
        _quality(run.leaderboard),
        _feed(run.feed),
        _cost(run.cards),
    ]
    if run.links:
        sections.append(Section(title="More", blocks=[Links(rows=run.links)]))
    footer = (
        f"Penchant {__version__}. Snapshot {run.snapshot.digest[:12]}, "
        f"evaluation fingerprint {run.leaderboard.fingerprint[:12]}, seed {run.leaderboard.seed}: "
        "the same data, settings and seed give the same numbers."
    )
    return render_page(run.title, lead=run.lead, sections=sections, footer=footer)


def _data(snapshot: Snapshot, insights: Sequence[Insight]) -> Section:
    events = snapshot.interactions
    first, last = (_day(float(events.timestamp[i])) for i in (0, -1))
    used = len(np.unique(events.item))
    facts = Facts(
        rows=[
            ("Users", f"{snapshot.n_users:,}"),
            ("Items", f"{snapshot.n_items:,}"),
            ("Interactions", f"{len(events):,}"),
            ("Items taken", f"{used:,}"),
        ]
    )
    found = Findings(rows=[Finding(level=i.level, what=i.what, todo=i.what_to_do) for i in insights])
    return Section(
        title="The data",
        lead=f"What was imported, {first} to {last}, and what the check says about it.",
        blocks=[facts, found, _weekly(snapshot), _per_user(snapshot)],
    )


def _weekly(snapshot: Snapshot) -> Chart:
    times = snapshot.interactions.timestamp
    week = ((times - times[0]) // _WEEK).astype(np.int64)
    counts = np.bincount(week)[: max(int(week[-1]), 1)]  # the last week is only begun
    days = [_day(float(times[0]) + i * _WEEK) for i in range(len(counts))]
    low, high = int(counts.argmin()), int(counts.argmax())
    return lines(
        title="Interactions per week",
        see=f"From {counts[low]:,} in the week of {days[low]} to {counts[high]:,} in that of {days[high]}. "
        "A gap or a jump here would show in every model.",
        x=Axis(label="Week from", unit="UTC", options={"type": "utc"}),
        y=Axis(label="Interactions", unit="count", options={"zero": True}),
        series={"interactions": [(day, float(c)) for day, c in zip(days, counts, strict=True)]},
    )


def _per_user(snapshot: Snapshot) -> Chart:
    counts = np.diff(snapshot.by_user[0])
    counts = counts[counts > 0]
    edges = np.linspace(0, float(np.quantile(counts, 0.99)), 25)
    shares = np.histogram(counts, edges)[0] / max(len(counts), 1)
    middle = int(np.median(counts))
    few = float((counts < 5).mean())
    return histograms(
        title="Interactions per user",
        see=f"Half of the users have more than {middle:,}; {few:.1%} have fewer than five, too few to "
        "personalise well. The top 1% is cut off.",
        x=Axis(label="Interactions of a user", unit="count"),
        edges=edges.tolist(),
        shares={"users": shares.tolist()},
    )


def _quality(board: Leaderboard) -> Section:
    metric = board.metric
    label = f"NDCG@{board.k}"
    chart = intervals(
        title=f"{label} of each recipe",
        see=_verdict(board),
        x=Axis(label=f"{label}, mean and {board.level:.0%} interval", options={"zero": True}),
        y=Axis(label="Recipe"),
        rows=[
            Estimate(
                name=entry.name,
                value=entry.metrics[metric],
                low=entry.intervals[metric].low,
                high=entry.intervals[metric].high,
                group="baseline" if entry.kind == "baseline" else "recipe",
            )
            for entry in board.entries
        ],
    )
    heads, *rows = board.rows()
    table = Table(columns=["Recipe", *heads[1:]], rows=rows)
    lead = (
        f"Protocol {board.protocol}: {board.description}. "
        f"{board.requests:,} users were asked about, among {board.items:,} items."
    )
    return Section(title="Which recipe recommends best", lead=lead, blocks=[chart, table])


def _verdict(board: Leaderboard) -> str:
    best = board.best()
    others = {d.second: d for d in board.differences if d.first == best.name}
    rival = next((e.name for e in board.entries[1:] if e.name in others), None)
    if rival is None:
        return f"{best.name} is first."
    d = others[rival]
    sure = "zero is outside, so hardly chance" if d.low > 0 else "zero is inside, so it may be chance"
    return (
        f"{best.name} is {d.mean:.4f} above {rival}, the next best. The {board.level:.0%} interval of the "
        f"paired difference is {d.low:+.4f} to {d.high:+.4f}: {sure}."
    )


def _feed(feed: SampleFeed) -> Section:
    steps = Table(
        caption="What each step of the feed did",
        columns=["Step", "In", "Out", "Time (ms)", "Left out"],
        rows=[
            [
                step.stage,
                step.rows_in,
                step.rows_out,
                round(step.ms, 3),
                step.failure or ", ".join(f"{n:,} {why}" for why, n in step.dropped.items()) or None,
            ]
            for step in feed.trace
        ],
    )
    return Section(title="One feed", lead=feed.who, blocks=[FeedView(items=feed.items), steps])


def _cost(cards: Mapping[str, Card]) -> Section:
    slowest, most = max(cards.items(), key=lambda one: one[1].seconds)
    blocks: list[Block] = [
        bars(
            title="Time to train",
            see=f"All recipes together took {sum(c.seconds for c in cards.values()):.1f} s; "
            f"{slowest} took {most.seconds:.1f} s of it.",
            x=Axis(label="Wall time", unit="s"),
            y=Axis(label="Recipe"),
            rows=[(name, card.seconds) for name, card in cards.items()],
        ),
        bars(
            title="Memory",
            see=f"At most {max(c.peak_mb for c in cards.values()):,.0f} MB were in use, the data included.",
            x=Axis(label="Peak memory of the process", unit="MB"),
            y=Axis(label="Recipe"),
            rows=[(name, card.peak_mb) for name, card in cards.items()],
        ),
    ]
    notes = [Prose(text=f"{name}: {note}") for name, card in cards.items() for note in card.notes]
    return Section(
        title="What it cost",
        lead="From the model cards, on this machine.",
        blocks=[*blocks, *notes],
        columns=2,
    )


def _day(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
