"""The demo's household: who it is, what it bought, the feed it gets, and the report about the whole run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penchant.cli.demo_audience import FOLDER
from penchant.cli.demo_audience import REPORT as AUDIENCE
from penchant.cli.feeds import item_detail, item_name, show_feed
from penchant.cli.session import Session
from penchant.data.insights import Insight
from penchant.data.snapshot import Snapshot
from penchant.evaluation.leaderboard import Leaderboard
from penchant.feed.types import Feed
from penchant.models.base import Card
from penchant.reports.page import FeedItem, write_page
from penchant.reports.run import Run, SampleFeed, run_report
from penchant.workspace.service import Workspace

REPORT = "report.html"
_FEED, _RECENT = "home", 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One household and its feed; ``items`` are the properties of the feed's slots."""

    who: str
    recent: list[str]
    feed: Feed
    items: list[dict[str, Any]]
    snapshot: Snapshot


def take_sample(workspace: Workspace, *, k: int) -> Sample:
    """Return the feed of a household of middling activity among those whose demographics are known."""
    serving = workspace.serving()
    try:
        registry = workspace.registry
        snapshot = Snapshot.open(registry.snapshot_folder(registry.current().snapshot))
        user = _middling(snapshot)
        user_id = snapshot.users.id(user)
        feed = serving.feed(_FEED, user_id, k=k, explain=True)
        items = [serving.item(slot.item_id) for slot in feed.slots]
        latest = dict.fromkeys(snapshot.history(user).item[::-1].tolist())
        ids = [snapshot.items.id(item) for item in list(latest)[:_RECENT]]
        recent = [item_name(item_id, serving.item(item_id)) for item_id in ids]
    finally:
        serving.close()
    return Sample(who=_who(snapshot, user), recent=recent, feed=feed, items=items, snapshot=snapshot)


def show_sample(here: Session, sample: Sample) -> None:
    """Print the household, what it bought lately and its feed with the reasons."""
    here.say(sample.who)
    here.say(f"Bought last: {'; '.join(sample.recent)}.")
    here.say()
    show_feed(here, sample.feed, sample.items, explain=True)


def write_report(
    workspace: Workspace,
    sample: Sample,
    insights: Sequence[Insight],
    board: Leaderboard,
    cards: Mapping[str, Card],
) -> Path:
    """Write the report about the run into the workspace and return where it is."""
    slots = [
        FeedItem(
            name=item_name(slot.item_id, properties),
            detail=item_detail(properties),
            source=slot.source,
            why=slot.why,
        )
        for slot, properties in zip(sample.feed.slots, sample.items, strict=True)
    ]
    page = run_report(
        Run(
            title="Penchant on the Complete Journey",
            lead="A year of grocery purchases, from raw tables to one household's feed.",
            snapshot=sample.snapshot,
            insights=insights,
            leaderboard=board,
            feed=SampleFeed(
                who=f"{sample.who} It bought last: {'; '.join(sample.recent)}.",
                items=slots,
                trace=sample.feed.trace,
            ),
            cards=cards,
            links=[("The audience of 300 households most like coupon redeemers", f"{FOLDER}/{AUDIENCE}")],
        )
    )
    target = workspace.folder / REPORT
    write_page(target, page)
    return target


def _middling(snapshot: Snapshot) -> int:
    """Return the user with the median number of interactions among those of whom most is known."""
    counts = np.diff(snapshot.by_user[0])
    table = snapshot.user_table
    known = np.zeros(snapshot.n_users, np.int64)
    for name in table.column_names[1:]:
        known += table[name].is_valid().to_numpy()
    best = np.flatnonzero((known == known.max()) & (counts > 0))
    ordered = best[np.argsort(counts[best], kind="stable")]
    return int(ordered[len(ordered) // 2])


def _who(snapshot: Snapshot, user: int) -> str:
    row: dict[str, Any] = snapshot.user_table.slice(user, 1).to_pylist()[0]
    told = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in row.items() if name != "user_id" and value
    )
    bought = len(np.unique(snapshot.history(user).item))
    return f"Household {row['user_id']} ({told}) has bought {bought:,} different products."
