"""The report of one run, from a tiny dataset: dates on its axis, recipes by their names in the settings."""

import re

import msgspec
import numpy as np

from penchant.evaluation.leaderboard import evaluate
from penchant.kernel.progress import Silent
from penchant.models.popularity import Popularity
from penchant.reports.page import FeedItem
from penchant.reports.run import Run, SampleFeed, run_report
from penchant.testing.data import random_snapshot


def test_weeks_are_dates_and_recipes_have_their_own_names() -> None:
    snapshot = random_snapshot(1)
    card = Popularity().train(snapshot, rng=np.random.default_rng(1), progress=Silent()).card
    page = run_report(
        Run(
            title="A run",
            lead="",
            snapshot=snapshot,
            insights=[],
            leaderboard=evaluate({"loved": Popularity()}, snapshot),
            feed=SampleFeed(
                who="Somebody.", items=[FeedItem(name="x", detail="", source="loved", why="")], trace=[]
            ),
            cards={"loved": card},
        )
    )
    charts = [msgspec.json.decode(found) for found in re.findall(r'application/json">(.*?)</script>', page)]
    weekly = next(chart for chart in charts if chart["title"] == "Interactions per week")
    assert weekly["x"]["type"] == "utc"
    first = snapshot.interactions.timestamp[0]
    assert weekly["marks"][0]["data"][0]["x"] == str(np.datetime64(int(first), "s"))[:10]
    cost = next(chart for chart in charts if chart["title"] == "Time to train")
    assert [row["name"] for row in cost["marks"][0]["data"]] == ["loved"]
