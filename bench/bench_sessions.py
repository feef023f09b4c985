"""Globo news, the next click within sessions, replayed click by click (`penchant.evaluation.sessions`).

The recipes' defaults were chosen on the day before the one tested, among a few settings each.
"""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from bench.paired import ROOT, versions
from penchant.data.interactions import Interactions
from penchant.evaluation.sessions import Replayable, SessionTable, compare_sessions, session_replay
from penchant.kernel.arrays import Rows
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.co_visitation import CoVisitation
from penchant.models.session_blend import SessionBlend
from penchant.models.vsknn import VsKnn

THE_DAY = 1_507_593_600.0  # 2017-10-10 00:00 UTC
BAR = 0.31
READERS = {"session_gap": "1h", "sessions": 262_144}  # near what the data calls a session
STRANGERS = {"session_gap": "2d", "sessions": 262_144}  # each session somebody else, however long it rests

# What knows the clicks of the last minutes alone: nothing else outlives a second.
POPULAR = CoVisitation(click_half_lives=("2m",), near_half_lives=("1s",), next_half_lives=("1s",), **READERS)
RECIPES: dict[str, Replayable] = {
    "session_blend": SessionBlend(**READERS),
    "co_visitation": CoVisitation(**READERS),
    "vsknn": VsKnn(**READERS),
    "clicks of 2 minutes": POPULAR,
}
UNKNOWN: dict[str, Replayable] = {
    "session_blend": SessionBlend(**STRANGERS),
    "co_visitation": CoVisitation(**STRANGERS),
    "vsknn": VsKnn(**STRANGERS),
}


def globo() -> tuple[Interactions, Rows, int]:
    """Return all clicks, the session of each, and the number of articles."""
    folder = Path(os.environ.get("PENCHANT_DATA", ROOT.parent / "shared" / "data"))
    table = pq.read_table(folder / "globo_news" / "clicks.parquet")
    _, session = np.unique(table["session_id"].to_numpy(), return_inverse=True)
    _, user = np.unique(table["user_id"].to_numpy(), return_inverse=True)
    articles, item = np.unique(table["click_article_id"].to_numpy(), return_inverse=True)
    events = Interactions.of(user=user, item=item, timestamp=table["click_timestamp"].to_numpy() / 1000)
    return events, session.astype(np.int32), len(articles)


def main(*, quick: bool) -> dict[str, object]:
    events, session, n_items = globo()
    tables: list[SessionTable] = []
    for user, recipes in ((events.user, RECIPES), (session, UNKNOWN)):
        split = session_replay(
            replace(events, user=user),
            sessions=session,
            start=THE_DAY,
            end=THE_DAY + (DAY / 24 if quick else DAY),
            n_items=n_items,
            rng=derive(42, "sessions"),
            sample=500 if quick else 20_000,
            warm=DAY / 4 if quick else 9.5 * DAY,
        )
        tables.append(compare_sessions(recipes, split, progress=Silent()))
        print(tables[-1].text())
    ours = next(entry for entry in tables[0].entries if entry.name == "session_blend")
    return {
        "bar": f"MRR@10 of session_blend at least {BAR}",
        "met": ours.mrr.mean >= BAR,
        "data": "Globo news clicks (G1), sessions that begin on 2017-10-10 UTC",
        "protocol": tables[0].description,
        **msgspec.to_builtins(tables[0]),
        "readers_unknown": msgspec.to_builtins(tables[1]),
        "versions": versions(),
    }
